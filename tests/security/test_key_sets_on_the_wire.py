"""The key sets of issuers under abuse, in outages and in change: servers and issuers are real,
and the issuers count (T71, T72, P01)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final
from uuid import uuid4

import pytest
import pytest_asyncio

from services.tokens import key_sets
from tests.oidc_issuer import HttpsIssuer, made_key
from tests.security.test_bad_tokens import Kit, dumps
from tests.security.token_wire import DOORS, GOOD, Wire, deployment

pytestmark = pytest.mark.asyncio(loop_scope="module")

_REMOTE: Final = ("oidc", "cognito", "entra")
_ABUSE: Final = 1000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Wire]:
    folder = tmp_path_factory.mktemp("keys")
    async with deployment(folder, cognito="access", entra="access") as made:
        for kit in made.kits.values():
            await made.sign_in(kit.token())
        yield made


def fresh(kit: Kit) -> str:
    """A good token that was not seen before."""
    return f"Bearer {kit.token(x=str(uuid4()))}"


def unknown(kit: Kit) -> str:
    """A token of a key that nobody has."""
    header = dumps(kit.header | {"kid": str(uuid4())})
    return f"Bearer {kit.raw(header, dumps(kit.claims), lambda _: bytes(256))}"


@pytest.mark.case("T71")
@pytest.mark.parametrize("form", _REMOTE)
async def test_random_kids_do_not_make_it_read_again(form: str, wire: Wire) -> None:
    kit, issuer = wire.kits[form], wire.issuers[form]
    began, before = time.monotonic(), len(issuer.asked)
    for _ in range(_ABUSE // 50):
        bad = [wire.refuses("grpc", unknown(kit)) for _ in range(50)]
        good = wire.ask("grpc", fresh(kit))
        assert await asyncio.gather(good, *bad) == [GOOD["grpc"], *[True] * 50]
    windows = 1 + int((time.monotonic() - began) // key_sets.REFETCH_SECONDS)
    reads = {"oidc": 2}.get(form, 1)  # with its discovery
    assert len(issuer.asked) - before <= windows * reads


@contextmanager
def held(issuer: HttpsIssuer) -> Iterator[None]:
    """It is asked, and does not answer."""
    release, answer = threading.Event(), issuer.answer

    def late(path: str) -> tuple[int, dict[str, str], bytes]:
        told = answer(path)
        release.wait(60)
        return told

    issuer.answer = late  # type: ignore[method-assign]
    try:
        yield
    finally:
        del issuer.answer
        release.set()


@pytest.mark.case("T71", "T72")
@pytest.mark.parametrize("form", _REMOTE)
async def test_good_tokens_do_not_wait_for_the_keys_of_others(
    form: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_sets, "REFETCH_SECONDS", 0.0)
    for name in ("_READ_SECONDS", "_CONNECT_SECONDS"):
        monkeypatch.setattr(key_sets, name, 120.0)
    kit, issuer = wire.kits[form], wire.issuers[form]
    before = len(issuer.asked)
    with held(issuer):
        bad = [asyncio.ensure_future(wire.refuses("grpc", unknown(kit))) for _ in range(20)]
        async with asyncio.timeout(60):
            while len(issuer.asked) == before:  # noqa: ASYNC110 - told by another thread
                await asyncio.sleep(0.01)
            for door in DOORS:
                assert await wire.ask(door, fresh(kit)) == GOOD[door]
        assert not any(each.done() for each in bad)
        assert len(issuer.asked) == before + 1
    assert all(await asyncio.gather(*bad))


@pytest.mark.case("T72")
@pytest.mark.parametrize("form", _REMOTE)
async def test_an_issuer_that_is_silent_is_not_waited_for(
    form: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_sets, "REFETCH_SECONDS", 0.0)
    monkeypatch.setattr(key_sets, "_READ_SECONDS", 0.2)
    kit = wire.kits[form]
    with held(wire.issuers[form]):
        assert await wire.refuses("grpc", unknown(kit))
        assert await wire.ask("grpc", fresh(kit)) == GOOD["grpc"]
        monkeypatch.setattr(key_sets, "FRESH_SECONDS", 0.0)
        assert await wire.ask("grpc", fresh(kit)) == GOOD["grpc"]


@pytest.mark.case("P01", "T72")
@pytest.mark.parametrize("form", _REMOTE)
async def test_keys_change_while_tokens_of_both_are_good(
    form: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_sets, "REFETCH_SECONDS", 0.0)
    kit, issuer, key = wire.kits[form], wire.issuers[form], made_key("next")

    def of_next() -> str:
        header, claims = kit.header | {"kid": "next"}, kit.claims | {"x": str(uuid4())}
        return f"Bearer {kit.raw(dumps(header), dumps(claims), key.signature)}"

    before = issuer.keys
    assert await wire.refuses("http", of_next())
    entry = before[0] | {name: key.jwk[name] for name in ("n", "e", "kid")}
    issuer.keys = [*before, entry]
    try:
        for door in DOORS:
            assert await wire.ask(door, of_next()) == GOOD[door]
            assert await wire.ask(door, fresh(kit)) == GOOD[door]
        issuer.keys = [entry]
        monkeypatch.setattr(key_sets, "FRESH_SECONDS", 0.0)
        for door in DOORS:
            assert await wire.ask(door, of_next()) == GOOD[door]
            assert await wire.refuses(door, fresh(kit))
    finally:
        issuer.keys = before
        assert await wire.ask("grpc", fresh(kit)) == GOOD["grpc"]
