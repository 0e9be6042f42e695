"""Publishes activity events on an Event Grid topic: a consumer of the relay.

* At least once, and in order per partition: requests go one after the other, events of
  a request in their order. The topic takes a request as a whole or not at all; after an
  answer that was lost all of it is sent again.
* When the topic does not take events (throttled, denied, missing, away) the relay waits,
  with growing pauses, as long as it takes; the log says what helps. A request that the
  topic will never take is repeated event by event, and the bad one parked by the relay.

Event Grid itself promises no order to its subscribers: `sequence` (in `partitionkey`) has
it, and `id` tells repeats.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from azure.core.exceptions import HttpResponseError
from azure.eventgrid.aio import EventGridPublisherClient

from services.azure.clients import AzureClients
from services.azure.failures import Failure, Kind, failure_of
from services.azure.roles import ROLES
from services.events.buses import EntryRefused, Taken
from services.events.event_grid.batches import Sendable, batches, sendable
from services.events.outbox import OutboxEvent
from services.events.relay import NotNow
from services.model.errors import WorkspaceError

__all__ = ["EventGridPublisher"]

_SERVICE: Final = "eventgrid"
_PATH: Final = "/api/events"
_WITHOUT_ROLE: Final = "does not have permission"
_OTHER_SCHEMA: Final = "is configured to receive event in '"
_CLOUD_EVENTS: Final = f"{_OTHER_SCHEMA}CloudEvent"
_SAY_AGAIN_SECONDS: Final = 60.0
_log = logging.getLogger("workspace.event_grid")


class EventGridPublisher:
    """See the module. `topic` is the URL of a custom topic of schema
    `CloudEventSchemaV1_0`; `environment` labels the log, `instance_id` names the workspace
    in the CloudEvents. `clock` is monotonic: the same trouble is told once a minute."""

    name = "eventgrid"

    def __init__(
        self,
        clients: AzureClients,
        *,
        topic: str,
        environment: str,
        instance_id: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._topic = topic if urlsplit(topic).path not in ("", "/") else topic.rstrip("/") + _PATH
        self._environment = environment
        self._workspace = f"/workspaces/{instance_id}"
        self._clock = clock
        self._client: EventGridPublisherClient | None = None
        self._taken = Taken()
        self._said = ("", 0.0)

    async def deliver(self, events: Sequence[OutboxEvent]) -> None:
        """Publish those that were not before. Raises NotNow while the topic takes nothing,
        and EntryRefused for what it will never take."""
        new = (event for event in events if event.event_id not in self._taken)
        for batch in batches(sendable(event, workspace=self._workspace) for event in new):
            await self._send(batch)
            for each in batch:
                self._taken.add(each.event_id)

    async def close(self) -> None:
        """End the clients."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        await self._clients.close()

    async def _send(self, batch: Sequence[Sendable]) -> None:
        try:
            await self._opened().send([each.document for each in batch])
        except WorkspaceError as error:  # of the settings of the credentials
            raise self._waits(error.message, "settings") from None
        except Exception as error:
            raise self._failed(error) from None  # its text may name the subscription

    def _opened(self) -> EventGridPublisherClient:
        if self._client is None:
            self._client = EventGridPublisherClient(
                self._topic, self._clients.credential, **self._clients.options()
            )
        return self._client

    def _failed(self, error: BaseException) -> NotNow | EntryRefused:
        if isinstance(error.__cause__, HttpResponseError):
            error = error.__cause__  # of a 404 the SDK keeps nothing but this
        failure = failure_of(error, _SERVICE)
        helps = _remedy(failure, str(error))
        if isinstance(error, HttpResponseError) and failure.kind is Kind.INVALID and not helps:
            return EntryRefused(failure.code)
        return self._waits(helps or str(failure), failure.code)

    def _waits(self, text: str, code: str) -> NotNow:
        if self._said[0] != text or self._clock() - self._said[1] >= _SAY_AGAIN_SECONDS:
            self._said = text, self._clock()
            _log.warning(
                "events of %s wait for the topic %s: %s",
                self._environment, urlsplit(self._topic).hostname, text,
            )  # fmt: skip
        return NotNow(code)


def _remedy(failure: Failure, said: str) -> str:
    """What the code alone does not tell; '' for nothing."""
    if failure.kind is Kind.BAD_CREDENTIALS and _WITHOUT_ROLE in said:
        role = ROLES[_SERVICE].label
        return f"{_SERVICE} failed ({failure.code}): {Kind.DENIED.value}: '{role}'"
    if _OTHER_SCHEMA in said and _CLOUD_EVENTS not in said:
        return (
            f"{_SERVICE} failed ({failure.code}): the topic is of another schema, which a topic "
            "keeps: make one of schema CloudEventSchemaV1_0, as `wm setup azure` and "
            "deploy/azure do"
        )
    return ""
