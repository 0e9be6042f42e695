"""Builds that look at a token less well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import services.http.headers
import services.rpc.headers
from services.elapsed import Elapsed, Moment
from services.tokens import verifier
from tests.security.broken_builds import BrokenBuild

_LISTS = "tests/security/test_bad_tokens.py"
_FIELDS = "tests/unit/rpc/test_authentication.py"
_CLOCKS = "tests/unit/tokens/test_clocks_set_back.py"


def _for_anybody() -> None:
    checked = verifier._check_parties

    def unchecked(payload: Mapping[str, Any], rules: Any, _: object) -> None:
        checked(payload, rules, next(iter(rules.audiences)))

    verifier._check_parties = unchecked


def _first_of_two() -> None:
    checked = services.rpc.headers.bearer_in

    def first(values: Sequence[str | bytes]) -> str:
        return checked(values[:1])

    services.rpc.headers.bearer_in = services.http.headers.bearer_in = first


def _by_the_wall() -> None:
    def since(self: Elapsed, moment: Moment) -> float:
        return self._now() - moment.wall

    Elapsed.since = since  # type: ignore[method-assign]


BUILDS: Final[Mapping[str, BrokenBuild]] = {
    "for-anybody": BrokenBuild(
        "for whom a token was made is not looked at", _for_anybody,
        (f"{_LISTS}::test_bad_token_is_refused[oidc-T51 aud of another]",),
    ),
    "first-of-two": BrokenBuild(
        "the first of two authorization entries counts", _first_of_two,
        (f"{_FIELDS}::test_anything_but_one_bearer_token_is_refused",),
    ),
    "by-the-wall": BrokenBuild(
        "the monotonic clock is not asked how old something is", _by_the_wall, (_CLOCKS,)
    ),
}  # fmt: skip
