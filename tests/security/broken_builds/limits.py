"""Limits without one of their protections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from services.rpc import arrival, elements, unknown_paths
from tests.security.broken_builds import BrokenBuild

__all__ = ["BUILDS"]


def _look_at_paths() -> None:
    del unknown_paths._Core._make_request_call_future  # the one of the library comes back


def _wait_for_ever() -> None:
    async def message(_: Any, decode: Any, context: Any) -> Any:
        return decode(await context.read())

    arrival.ArrivalInterceptor._message = message  # type: ignore[method-assign]


def _count_nothing() -> None:
    def check(_: elements.ElementLimit, data: bytes) -> None:
        """Whatever it is."""

    elements.ElementLimit.check = check  # type: ignore[method-assign]


BUILDS: Final[Mapping[str, BrokenBuild]] = {
    "paths": BrokenBuild(
        "paths that nobody serves are decoded",
        _look_at_paths,
        ("tests/security/test_unknown_paths.py", "-k", "no_text", "--timeout=30"),
    ),
    "arrival": BrokenBuild(
        "requests may take for ever to come",
        _wait_for_ever,
        ("tests/security/test_arrival.py", "-k", "pauses or free_again", "--timeout=10"),
    ),
    "elements": BrokenBuild(
        "elements are not counted",
        _count_nothing,
        ("tests/unit/rpc/test_elements.py",),
    ),
}
