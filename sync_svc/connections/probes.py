"""What a run needs of a surface, one probe at a time. Each raises what is wrong.

The write probes take away what they wrote: the row expires at once and is removed,
the object is deleted.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from workspace.sync.v1.connection_pb2 import Connection

from services.model.errors import Reason, WorkspaceError
from services.records.instance import check_readable, check_writable
from services.records.port import (
    ABSENT,
    Condition,
    ConditionFailed,
    DriverUnavailable,
    Key,
    Match,
    Put,
)
from sync_svc.connections import probes_aws, probes_azure
from sync_svc.connections.notable import Notable
from sync_svc.connections.providers import folder_of, is_loopback
from sync_svc.surfaces.surface import Surface

__all__ = ["READING", "Notable", "Probe", "probes_of"]

_EXPIRY_SECONDS = 60
_SWEEP = 100
_SKEW_SECONDS = 300.0
_MOST_SKEW_SECONDS = 24 * 3600.0


async def _instance(surface: Surface, connection: Connection, _: float) -> None:
    known, found = connection.instance, surface.instance
    if known.instance_id and known.instance_id != found.instance_id:
        raise WorkspaceError(
            Reason.ERROR_REASON_SURFACE_CHANGED,
            f"this is another surface than the one registered ({found.instance_id}, not "
            f"{known.instance_id}); mount the right one, or run once with reinitialise",
            metadata={"resource": f"connections/{connection.connection_id}"},
        )
    if known.instance_id and known.provider_identity != found.provider_identity:
        raise Notable(
            "the surface was restored or moved since it was first seen; the next run compares "
            "everything"
        )


async def _format(surface: Surface, _: Connection, __: float) -> None:
    (check_readable if surface.read_only else check_writable)(surface.instance)


async def _records_read(surface: Surface, _: Connection, __: float) -> None:
    await surface.records.scan(None, 1)
    await surface.records.tail()


async def _objects_read(surface: Surface, _: Connection, __: float) -> None:
    page = await surface.objects.list("", limit=1)
    for each in page.objects:
        await surface.objects.head(each.key)


async def _records_write(surface: Surface, _: Connection, now: float) -> None:
    async with _row(surface, now) as key:
        await surface.records.get_row(key)


async def _objects_write(surface: Surface, _: Connection, __: float) -> None:
    async with _object(surface) as (key, sha256):
        found = await surface.objects.head(key)
        if found.sha256 not in ("", sha256):
            raise _unfit("the object store gave other bytes back than were written")


async def _consistency(surface: Surface, _: Connection, now: float) -> None:
    """A commit is seen at once, and one under a stale condition is refused."""
    async with _row(surface, now) as key:
        row = await surface.records.get_row(key)
        if row is None:
            raise _unfit("the record store does not show a commit that it acknowledged")
        with suppress(ConditionFailed):
            await _put(surface, key, ABSENT, "again", now)
            raise _unfit("the record store took a write whose condition did not hold")


async def _clock(surface: Surface, _: Connection, now: float) -> None:
    async with _object(surface) as (key, _sha256):
        skew = (await surface.objects.head(key)).modified_at - now
    text = f"the surface's clock is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
    if abs(skew) > _MOST_SKEW_SECONDS:
        raise _unfit(f"{text}; set the clocks: versions from a day ahead are kept aside")
    if abs(skew) > _SKEW_SECONDS:
        raise Notable(f"{text}; set the clocks, or order and times shown will mislead")


async def _encryption(surface: Surface, connection: Connection, _: float) -> None:
    asked: Callable[[], Awaitable[bool]] | None = getattr(
        surface.records.driver, "is_encrypted", None
    )
    near = is_loopback(connection.settings.get("host", "localhost"))
    if asked is not None and not near and not await asked():
        raise _unfit("the connection to the database is not encrypted; set sslmode=verify-full")
    folder = folder_of(connection)
    store = _store(connection)
    if store is not None:
        await store.closed(surface, connection)
    elif folder is not None and stat.S_IMODE(folder.stat().st_mode) & 0o077:
        raise Notable(f"{folder} can be read by other users of this machine; chmod 700 it")


Probe = Callable[[Surface, Connection, float], Awaitable[None]]
"""Of a surface, its manifest, and now in unix seconds."""

_PROBES: dict[str, Probe] = {
    "instance": _instance,
    "format": _format,
    "records_read": _records_read,
    "objects_read": _objects_read,
    "records_write": _records_write,
    "objects_write": _objects_write,
    "consistency": _consistency,
    "clock": _clock,
    "encryption": _encryption,
}


@dataclass(frozen=True, slots=True)
class _Store:
    """What is asked of the objects of a cloud: who else can read them, and the ways back."""

    closed: Callable[[Surface, Connection], Awaitable[None]]
    recovery: Probe


_STORES: dict[str, _Store] = {
    "bucket": _Store(probes_aws.bucket_is_closed, probes_aws.can_be_recovered),
    "storage_container": _Store(probes_azure.container_is_closed, probes_azure.can_be_recovered),
}
"""By the setting that names the objects."""

READING = frozenset(
    {"instance", "format", "records_read", "objects_read", "encryption", "recovery"}
)
"""Those that write nothing."""


def probes_of(connection: Connection) -> dict[str, Probe]:
    """By the name of the check, in order."""
    store = _store(connection)
    return _PROBES | ({"recovery": store.recovery} if store else {})


def _store(connection: Connection) -> _Store | None:
    """None for a folder."""
    found = (store for name, store in _STORES.items() if name in connection.settings)
    return next(found, None)


@asynccontextmanager
async def _row(surface: Surface, now: float) -> AsyncIterator[Key]:
    """A row that is gone afterwards, also when its probe fails."""
    key = Key(f"TEST#{secrets.token_hex(8)}", "TEST")
    await _put(surface, key, ABSENT, "there", now)
    try:
        yield key
    finally:
        found = await surface.records.get_row(key)
        if found is not None:
            gone = now - 1 - _EXPIRY_SECONDS
            await _put(surface, key, Match(found.token), "gone", gone)
        sweep = getattr(surface.records.driver, "collect_expired", None)
        if sweep is not None:
            await sweep(_SWEEP)


async def _put(
    surface: Surface, key: Key, condition: Condition, word: str, now: float
) -> None:
    body = json.dumps({"test": word})
    until = int(now) + _EXPIRY_SECONDS
    await surface.records.put_row(Put(key, condition, "connection_test", body, expires_at=until))


@asynccontextmanager
async def _object(surface: Surface) -> AsyncIterator[tuple[str, str]]:
    """(key, SHA-256) of an object that is gone afterwards."""
    data = secrets.token_bytes(64)
    key, sha256 = f"connection-tests/{secrets.token_hex(8)}", hashlib.sha256(data).hexdigest()

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    try:
        await surface.objects.write(
            key, chunks(), size=len(data), sha256=sha256, content_type="application/octet-stream"
        )
        yield key, sha256
    finally:
        with suppress(WorkspaceError, DriverUnavailable):
            await surface.objects.delete(key)


def _unfit(message: str) -> WorkspaceError:
    return WorkspaceError(Reason.ERROR_REASON_INVALID_STATE, message)
