"""The change feed in latest version mode (Microsoft Learn, "Change feed in Azure Cosmos DB"):
every item once, where it was changed last; a page never ends inside of a transaction."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from tests.fakes.cosmos.errors import Refused, bad_request
from tests.fakes.cosmos.pages import PAGE_BYTES, Scope
from tests.fakes.cosmos.ranges import PhysicalPartition

__all__ = ["changes", "start_of"]

_PAGE_ITEMS = 100


def start_of(partition: PhysicalPartition, if_none_match: str, since: str) -> int:
    """The transaction after which to read. Raises 304 where the service answers a first
    request with nothing but the position."""
    if if_none_match == "*":
        raise Refused(304, "", headers={"etag": f'"{partition.lsn}"'})
    if if_none_match:
        text = if_none_match.strip('"')
        if not text.isdecimal():
            raise bad_request(f"The continuation '{if_none_match}' of the change feed is invalid")
        return int(text)
    if since:
        moment = parsedate_to_datetime(since).timestamp()
        first = next((entry[0] for entry in partition.log if entry[3].ts >= moment), None)
        reached = partition.lsn if first is None else first - 1
        raise Refused(304, "", headers={"etag": f'"{reached}"'})
    return 0


def changes(
    partition: PhysicalPartition, scope: Scope, *, after: int, count: int
) -> tuple[list[bytes], int]:
    """Items as JSON with their `_lsn`, and the transaction that was read last."""
    limit = _PAGE_ITEMS if count == 0 else count if count > 0 else 1 << 60
    found: list[bytes] = []
    size, reached = 0, after
    for lsn, _, _, item in partition.log.irange((after + 0.5,)):
        if lsn != reached and (len(found) >= limit or size > PAGE_BYTES):
            return found, reached
        reached = lsn
        if scope.has(item):
            text = item.text[:-1] + b',"_lsn":%d}' % lsn
            found.append(text)
            size += len(text)
    return found, max(partition.lsn, after)
