"""Pages over index queries with a filter: complete, resumable, bounded work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from services.kernel import Kernel
from services.records.record import Page, Record
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size

__all__ = ["Found", "Pager", "every"]

T = TypeVar("T")
_SCAN_LIMIT = 2000
_BATCH = 500

Query = Callable[[int, str | None], Awaitable[Page[Any]]]
Keep = Callable[[Sequence[Record[Any]]], Awaitable[list[T]]]


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """Items of a page and the token of the next one ('' at the end)."""

    items: list[T]
    next_page_token: str


class Pager:
    """Opens and issues page tokens of the current call around a scan."""

    def __init__(self, kernel: Kernel) -> None:
        self._tokens = kernel.page_tokens

    async def page(self, request: Any, query: Query, keep: Keep[T]) -> Found[T]:
        """Items that `keep` makes of the rows of `query(limit, after)`.

        Scans at most about 2,000 rows: a page may be short and still have a
        next one. Raises INVALID_PAGE_TOKEN.
        """
        after = self.position(request) or None
        wanted, items, scanned = page_size(request), list[T](), 0
        while True:
            # Never more rows than places left: a page ends where a query ended.
            page = await query(wanted - len(items), after)
            items += await keep(page.records)
            scanned += max(len(page.records), 1)
            after = page.next
            if after is None or len(items) >= wanted or scanned >= _SCAN_LIMIT:
                return Found(items, self.token(request, after))

    def position(self, request: Any) -> str:
        """Where the page begins; '' at the start. Raises INVALID_PAGE_TOKEN."""
        call = current_call()
        return self._tokens.open(call.method, call.user_id, request, request.page_token)

    def token(self, request: Message, position: str | None) -> str:
        call = current_call()
        if not position:
            return ""
        return self._tokens.issue(call.method, call.user_id, request, position)


async def every(query: Query, *, at_most: int) -> list[Record[Any]]:
    """All rows of a query, or the first `at_most` of them."""
    rows: list[Record[Any]] = []
    after: str | None = None
    while len(rows) < at_most:
        page = await query(min(_BATCH, at_most - len(rows)), after)
        rows += page.records
        after = page.next
        if after is None:
            break
    return rows
