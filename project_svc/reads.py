"""Reads below the record store: heads of many partitions, runs of index keys.

They take no decoded record, so they go to the driver; what it raises becomes a
documented reason here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from services.model.errors import Reason, WorkspaceError
from services.model.indexes import Index
from services.records.plan import head_of
from services.records.port import DriverUnavailable, ItemPage, Key
from services.records.record import Head
from services.records.store import RecordStore

__all__ = ["heads", "index_run"]

_KEYS_A_READ = 500


async def heads(records: RecordStore, pks: Sequence[str]) -> list[Head]:
    """The commit counters of many partitions by strong reads, in order."""
    found: list[Head] = []
    for at in range(0, len(pks), _KEYS_A_READ):
        part = pks[at : at + _KEYS_A_READ]
        with _answering():
            items = await records.driver.batch_get([Key(pk, "#HEAD") for pk in part])
        found += map(head_of, part, items)
    return found


async def index_run(
    records: RecordStore,
    index: Index,
    partition: str,
    *,
    lower: str,
    upper: str,
    limit: int,
    after: str | None,
) -> ItemPage:
    """Items with lower <= sort < upper; tombstones included."""
    with _answering():
        return await records.driver.query(
            index, partition, lower=lower, upper=upper, limit=limit, after=after
        )


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except DriverUnavailable as error:
        raise WorkspaceError(
            Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
            "the record store does not answer; repeat the call",
            metadata={"backend": "records"},
            retry_after=1.0,
        ) from error
