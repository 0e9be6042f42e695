"""Walks page by page over a store that somebody else may hold: they come to an end.

A store that answers with the same place for ever, or goes in a circle, would hold a run
until a person stops it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

from services.model.errors import Reason, WorkspaceError
from services.records.port import Item

__all__ = ["Progress"]

_SAME_PAGES: Final = 8
"""So often may rows that were delivered once come again, under another place: feeds
deliver at least once."""


class Progress:
    """Of one walk, in little memory: a place that is met again ends it (Brent's way: the
    remembered one is replaced after 1, 2, 4, 8, ... pages). `what` is walked over."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._place: Hashable = None
        self._page = 0
        self._repeated = 0
        self._pages, self._until = 0, 1

    def reached(self, place: Hashable, items: Sequence[Item] = ()) -> None:
        """The walk goes on behind `place` (key, cursor, page token), after `items` were
        read. Raises INVALID_STATE when it does not get on."""
        page = hash(tuple((item.key, item.token) for item in items)) if items else 0
        self._repeated += bool(items) and page == self._page
        if (self._pages and place == self._place) or self._repeated > _SAME_PAGES:
            raise _in_circles(self._what)
        self._pages += 1
        if self._pages == self._until:
            self._place, self._page, self._until = place, page, 2 * self._until


def _in_circles(what: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        f"the surface shows {what} that it has shown before, again and again, and never an end: "
        "it is damaged, or its server is. What was taken stays; mend it, then run again",
        metadata={"state": "no_progress"},
    )
