"""Bad tokens and bad `authorization` over real gRPC and HTTP ports: one refusal for all.

The tokens are those of the lists that the verifiers refuse (test_bad_tokens.py,
test_provider_tokens.py), from issuers of every kind whose keys come over TLS.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final

import pytest
import pytest_asyncio

from services.tokens.compact import MAX_TOKEN_BYTES
from tests.security.refusing import by_name
from tests.security.test_bad_tokens import NOW, sized
from tests.security.token_wire import DOORS, GOOD, Wire, deployment, sendable

pytestmark = pytest.mark.asyncio(loop_scope="module")

_DEPLOYMENTS: Final = (
    {"cognito": "access", "entra": "access"},
    {"cognito": "id", "entra": "id"},
    {"entra": "strict"},
)
_NOT_IN_A_TOKEN: Final = {1, 7, 17, 18, 24, 26, 34, 35, 36, 54, 61}
_NUMBERS: Final = sorted(set(range(1, 71)) - _NOT_IN_A_TOKEN)
_CASES: Final = [
    pytest.param(f"T{number:02}", marks=pytest.mark.case(f"T{number:02}")) for number in _NUMBERS
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wires(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[Wire]]:
    async with AsyncExitStack() as stack:
        found = list[Wire]()
        for forms in _DEPLOYMENTS:
            folder = tmp_path_factory.mktemp("wire")
            opened = deployment(folder, again=bool(found), **forms)
            found.append(await stack.enter_async_context(opened))
        for wire in found:
            for kit in wire.kits.values():
                await wire.sign_in(kit.token())
        yield found


@pytest.fixture
def wire(wires: list[Wire]) -> Wire:
    return wires[0]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("case", _CASES)
async def test_a_bad_token_opens_no_door(case: str, door: str, wires: list[Wire]) -> None:
    tried = [(wire, *each) for wire in wires for each in wire.named(case) if sendable(each[1])]
    answers = await asyncio.gather(
        *(wire.refuses(door, f"Bearer {token}") for wire, _, token in tried)
    )
    assert tried
    assert [what for (_, what, _), refused in zip(tried, answers, strict=True) if not refused] == []


@pytest.mark.parametrize("door", DOORS)
async def test_good_tokens_of_every_issuer_are_taken(door: str, wires: list[Wire]) -> None:
    """What the refusals mean something beside."""
    for wire in wires:
        for form, kit in wire.kits.items():
            assert await wire.ask(door, f"Bearer {kit.token()}") == GOOD[door], form


@pytest.mark.case("P02")
@pytest.mark.parametrize("door", DOORS)
async def test_clocks_may_differ_by_a_minute(door: str, wire: Wire) -> None:
    for form, kit in wire.kits.items():
        soon = kit.token(iat=NOW + 60, nbf=NOW + 60, exp=NOW + 600)
        assert await wire.ask(door, f"Bearer {soon}") == GOOD[door], form


@pytest.mark.case("P03")
@pytest.mark.parametrize("door", DOORS)
async def test_a_token_with_two_hundred_groups_comes_through(door: str, wire: Wire) -> None:
    groups = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(200)]
    for form, claim in (("oidc", "groups"), ("cognito", "cognito:groups"), ("entra", "groups")):
        token = wire.kits[form].token(**{claim: groups})
        assert len(token) > 10_000
        for _ in range(20):  # a limit that is no sharp one would let some of them pass
            assert await wire.ask(door, f"Bearer {token}") == GOOD[door], form


@pytest.mark.case("P04")
@pytest.mark.parametrize("door", DOORS)
async def test_a_token_of_exactly_the_limit_comes_through(door: str, wire: Wire) -> None:
    for form, kit in wire.kits.items():
        longest = sized(kit, MAX_TOKEN_BYTES)
        assert await wire.ask(door, f"Bearer {longest}") == GOOD[door], form
        assert await wire.refuses(door, f"Bearer {sized(kit, MAX_TOKEN_BYTES + 1)}"), form


_BAD_FIELDS: Final[dict[str, Callable[[str], Sequence[str]]]] = {
    "T01 empty": lambda _: [""],
    "T01 the scheme alone": lambda _: ["Bearer"],
    "T01 no scheme": lambda good: [good],
    "T01 another scheme": lambda good: [f"Basic {good}"],
    "T01 a longer scheme": lambda good: [f"Bearer2 {good}"],
    "T01 a colon": lambda good: [f"Bearer: {good}"],
    "T01 no blank": lambda good: [f"Bearer{good}"],
    "T01 quotes": lambda good: [f'Bearer "{good}"'],
    "T01 two with a comma": lambda good: [f"Bearer {good}, Bearer {good}"],
    "T01 a comma behind": lambda good: [f"Bearer {good},"],
    "T01 a parameter": lambda good: [f"Bearer {good} realm=x"],
    "T07 a blank within": lambda good: [f"Bearer {good[:40]} {good[40:]}"],
    "T17 good and bad": lambda good: [f"Bearer {good}", "Bearer x"],
    "T17 bad and good": lambda good: ["Bearer x", f"Bearer {good}"],
    "T17 good and good": lambda good: [f"Bearer {good}", f"Bearer {good}"],
    "T17 good and empty": lambda good: [f"Bearer {good}", ""],
    "T17 empty and good": lambda good: ["", f"Bearer {good}"],
    "T17 good and basic": lambda good: [f"Bearer {good}", "Basic YTpi"],
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("case", [by_name(case) for case in _BAD_FIELDS])
async def test_a_bad_authorization_is_refused_alike(case: str, door: str, wire: Wire) -> None:
    good = wire.kits["local"].token()
    assert await wire.refuses(door, *_BAD_FIELDS[case](good))


@pytest.mark.case("T01")
@pytest.mark.parametrize("door", DOORS)
async def test_the_scheme_counts_in_any_case(door: str, wire: Wire) -> None:
    good = wire.kits["local"].token()
    for scheme in ("bearer", "BEARER", "bEaReR"):
        assert await wire.ask(door, f"{scheme} {good}") == GOOD[door]
    assert await wire.refuses(door)  # with none at all


@pytest.mark.case("T01", "T17")
@pytest.mark.parametrize("door", DOORS)
async def test_what_is_public_looks_at_no_credentials(door: str, wire: Wire) -> None:
    """Who asks for a first token has none; a bad one does not keep him from it."""
    for values in ([], ["Basic YTpi"], ["Bearer x"], ["Bearer x", "Bearer y"]):
        assert await wire.issue(door, *values) == GOOD[door][0], values


@pytest.mark.case("T18")
@pytest.mark.parametrize("name", ["access_token", "authorization", "token", "bearer_token"])
async def test_no_token_is_taken_from_a_url(name: str, wire: Wire) -> None:
    good = wire.kits["local"].token()
    for value in (good, f"Bearer%20{good}"):
        answer = await wire.client.get(f"/api/session?{name}={value}")
        assert answer.status_code == 400
        assert good not in answer.text
    both = {"authorization": f"Bearer {good}"}
    assert (await wire.client.get(f"/api/session?{name}={good}", headers=both)).status_code == 400
    for cookie in (f"{name}={good}", f"authorization=Bearer {good}"):
        answer = await wire.client.get("/api/session", headers={"cookie": cookie})
        assert answer.status_code == 401
