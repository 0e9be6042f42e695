"""What a service is given: the opened kernel, and what it gives back.

A `*_svc` package has an entry point in the group `workspace.services`, a
function `build(kernel, peers) -> ServiceModule`. Plain constructors do the
rest: there is no registry and no injection framework.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import grpc.aio
from prometheus_client import CollectorRegistry

from services.events.due import DueHandler, DueWork
from services.events.feed import Feed
from services.events.relay import Consumer
from services.mail.port import MailDriver
from services.objects.store import ObjectStore
from services.records.mutation import Mutations
from services.records.store import RecordStore
from services.rpc.authentication import Authenticator
from services.rpc.consistency import ConsistencyTokens
from services.rpc.page_tokens import PageTokens
from services.rpc.policy import Rule
from services.settings import Settings

__all__ = ["Kernel", "Peers", "Registration", "ServiceModule"]


@dataclass(frozen=True, slots=True)
class Kernel:
    """Opened stores and what stands on them; shared by the services of one
    process. `now` is unix seconds. `keys_dir` holds key files (0600). `mail` takes
    mail to people (None: switched off); links in it begin with `public_url`. `metrics`
    is the registry that the process shows at `/metrics`."""

    settings: Settings
    records: RecordStore
    objects: ObjectStore
    mutations: Mutations
    page_tokens: PageTokens
    consistency: ConsistencyTokens
    instance_id: str
    instance_key: bytes
    keys_dir: Path
    now: Callable[[], float]
    feed: Feed
    due: DueWork
    mail: MailDriver | None = None
    public_url: str = ""
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)


class Peers(Protocol):
    """Channels to the other services, as the asking service."""

    def __call__(self, target: str, *, asking: str) -> grpc.aio.Channel:
        """`target` is `identity`, `project` or `storage`; `asking` is the name
        of the calling service, for example `project_svc`. The channel forwards
        the user's token of the current call."""
        ...


@dataclass(frozen=True, slots=True)
class Registration:
    """A servicer and the generated function that adds it to a server."""

    add: Callable[[Any, Any], None]
    servicer: object
    full_name: str


@dataclass(frozen=True, slots=True)
class ServiceModule:
    """What a `*_svc` package contributes to a process.

    `policy` has a row for every RPC that is served. `authenticator` is given
    by identity alone, `url_revocation` (principal, scope, revision) by storage.
    `background` coroutines belong to the servicers: they run in each process that has
    them. The rest is done where the relay is, once for a deployment: `chores` are more
    such loops, `due` has a handler for each kind of due work that this package
    schedules, `consumers` are given the activity events of this instance
    (services/events/relay.py).
    """

    name: str
    registrations: Sequence[Registration]
    policy: Mapping[str, Rule]
    authenticator: Authenticator | None = None
    url_revocation: Callable[[str, str, int], Awaitable[bool]] | None = None
    background: Sequence[Callable[[], Awaitable[None]]] = field(default_factory=tuple)
    chores: Sequence[Callable[[], Awaitable[None]]] = field(default_factory=tuple)
    due: Mapping[str, DueHandler] = field(default_factory=dict)
    consumers: Sequence[Consumer] = field(default_factory=tuple)
