"""What a process serves of the deployment, and whom it has to call for that.

One process may serve everything (the default), or some targets: the four services,
`gateway` (HTTP/JSON and gRPC for the world, forwarded to the services) and `relay`
(what is done once for the whole deployment: outbox, due work, collection).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from services.model.errors import invalid_field

__all__ = ["CALLS", "SERVICES", "Target", "Targets", "service_identity", "target_of"]


class Target(enum.StrEnum):
    """A name of `wm serve --target`."""

    IDENTITY = "identity"
    PROJECT = "project"
    STORAGE = "storage"
    SYNC = "sync"
    GATEWAY = "gateway"
    RELAY = "relay"


SERVICES: Final = frozenset({Target.IDENTITY, Target.PROJECT, Target.STORAGE, Target.SYNC})
"""Targets with servicers of their own."""
_RELAYED: Final = SERVICES - {Target.SYNC}
"""What due work and relays call; the relay has them in its own process."""

CALLS: Final[Mapping[Target, frozenset[Target]]] = MappingProxyType(
    {
        Target.IDENTITY: frozenset({Target.PROJECT, Target.STORAGE}),
        Target.PROJECT: frozenset({Target.IDENTITY, Target.STORAGE}),
        Target.STORAGE: frozenset({Target.IDENTITY, Target.PROJECT}),
        Target.SYNC: frozenset({Target.IDENTITY, Target.PROJECT}),
        Target.GATEWAY: SERVICES,
        Target.RELAY: frozenset(),
    }
)
"""Who calls whom over the network when each is a process of its own."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The targets of one process."""

    chosen: frozenset[Target]

    @classmethod
    def parse(cls, text: str) -> Targets:
        """Of `WM_TARGETS`: `project,storage`; empty for everything.

        Raises INVALID_FIELD naming a word that is no target.
        """
        words = [word.strip() for word in text.split(",") if word.strip()]
        for word in words:
            if word not in set(Target):
                raise invalid_field(
                    "WM_TARGETS", f"{word!r} is none of {', '.join(Target)}; mend --target"
                )
        return cls(frozenset(map(Target, words)) or frozenset(Target))

    @property
    def everything(self) -> bool:
        """One process is the whole deployment."""
        return self.chosen == frozenset(Target)

    @property
    def served(self) -> frozenset[Target]:
        """Services that this process serves to others."""
        return self.chosen & SERVICES

    @property
    def inside(self) -> frozenset[Target]:
        """Services that this process has for itself, without a network."""
        return self.served | (_RELAYED if self.relays else frozenset())

    @property
    def publishes(self) -> bool:
        """Whether clients from outside come to this process."""
        return Target.GATEWAY in self.chosen

    @property
    def relays(self) -> bool:
        """Whether this process does what is done once for the deployment."""
        return Target.RELAY in self.chosen

    @property
    def has_stores(self) -> bool:
        """A gateway alone has neither records nor objects nor keys."""
        return self.chosen != {Target.GATEWAY}

    @property
    def peers(self) -> frozenset[Target]:
        """Services that this process calls over the network."""
        called = [CALLS[target] for target in self.chosen]
        return frozenset().union(*called) - self.inside

    def identities(self, trust_domain: str) -> frozenset[str]:
        """The names that the certificate of this process has to prove."""
        return frozenset(service_identity(trust_domain, target) for target in self.chosen)


def target_of(name: str) -> Target | None:
    """The service behind `workspace.project.v1.GrantService`, `project_svc` or
    `project`; None for what is no part of it (health, services of tests)."""
    word = name.split(".")[1] if name.startswith("workspace.") else name.removesuffix("_svc")
    return Target(word) if word in SERVICES else None


def service_identity(trust_domain: str, target: Target) -> str:
    """Its name in certificates: a SPIFFE id
    (https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md)."""
    return f"spiffe://{trust_domain}/{target}"
