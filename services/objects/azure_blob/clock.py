"""The time of the service: it decides when a URL begins and ends.

A clock of ours that is wrong by minutes would make URLs that are not valid yet, or that
end early. What the service says of its own (`Date`) is learned now and then.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime

__all__ = ["ServiceClock"]

_IGNORED_SECONDS = 30.0
"""`Date` has whole seconds, and an answer takes time."""


class ServiceClock:
    """`now` returns our unix seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._ahead = 0.0

    def __call__(self) -> float:
        """Unix seconds as the service counts them."""
        return self._now() + self._ahead

    def ours(self, moment: float) -> float:
        """A moment of the service in our time."""
        return moment - self._ahead

    def learn(self, date: str) -> None:
        """From a `Date` header (RFC 9110); anything else is ignored."""
        try:
            ahead = parsedate_to_datetime(date).timestamp() - self._now()
        except (ValueError, TypeError, OverflowError):
            return
        self._ahead = ahead if abs(ahead) > _IGNORED_SECONDS else 0.0
