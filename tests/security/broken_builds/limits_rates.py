"""Builds in which one client may take what he likes: calls, room, the end of a walk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from services.records.progress import Progress
from services.rpc.rates import CallRates
from storage_svc.open_uploads import OpenUploads
from tests.security.broken_builds import BrokenBuild

_RATES = "tests/security/test_call_rates.py"


def _nothing(*_: Any) -> None:
    pass


async def _anything(*_: Any) -> None:
    pass


def _users_are_not_counted() -> None:
    CallRates.take_user = _nothing  # type: ignore[method-assign]


def _good_tokens_are_locked_out() -> None:
    CallRates._was_good = lambda *_: False  # type: ignore[method-assign]


def _walks_never_end() -> None:
    Progress.reached = _nothing  # type: ignore[method-assign]


def _uploads_are_not_counted() -> None:
    OpenUploads.require = _anything  # type: ignore[method-assign]


BUILDS: Final[Mapping[str, BrokenBuild]] = {
    "users-are-not-counted": BrokenBuild(
        "the limit of calls of one user",
        _users_are_not_counted,
        (f"{_RATES}::test_ten_times_too_many_calls_of_one_user_leave_the_others_alone",),
    ),
    "good-tokens-are-locked-out": BrokenBuild(
        "that who shares an address with an attacker goes on",
        _good_tokens_are_locked_out,
        (f"{_RATES}::test_bad_tokens_use_up_an_address_and_nobody_is_locked_out",),
    ),
    "walks-never-end": BrokenBuild(
        "that a surface which goes in circles ends a run",
        _walks_never_end,
        ("tests/security/test_sync_endless.py::test_a_feed_without_an_end_ends_the_run",),
    ),
    "uploads-are-not-counted": BrokenBuild(
        "the limit of uploads under way",
        _uploads_are_not_counted,
        (
            "tests/integration/storage/test_open_uploads.py"
            "::test_after_the_last_is_told_what_helps_and_that_helps",
        ),
    ),
}
