"""The key set of a remote issuer, against a real HTTPS server (T71, T72)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.model.errors import Reason, WorkspaceError
from services.tokens.key_sets import MAX_DOCUMENT_BYTES, RemoteKeySet
from tests.oidc_issuer import DISCOVERY, HttpsIssuer, RsaKey, made_key
from tests.security.refusing import by_name
from tests.unit.tokens.verifying import DAY, HOUR, Clock

OLD, NEW = made_key("old"), made_key("new")


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[HttpsIssuer]:
    made = HttpsIssuer(tmp_path)
    made.keys = [OLD.jwk]
    with made.serving():
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(issuer: HttpsIssuer, clock: Clock) -> RemoteKeySet:
    return RemoteKeySet(issuer.url, "RS256", now=clock, tls=issuer.tls)


async def unavailable(keys: RemoteKeySet, kid: str = "old") -> bool:
    try:
        await keys.key(kid)
    except WorkspaceError as error:
        return error.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    return False


async def test_a_key_is_read_once_an_hour(
    keys: RemoteKeySet, issuer: HttpsIssuer, clock: Clock
) -> None:
    key = await keys.key("old")
    assert key is not None
    assert key.verify(OLD.signature(b"data"), b"data")
    assert not key.verify(OLD.signature(b"data"), b"other")
    clock.now += HOUR - 1
    await keys.key("old")
    assert issuer.key_reads == 1
    clock.now += 1
    await keys.key("old")
    assert issuer.key_reads == 2


@pytest.mark.case("P01", "T72")
async def test_rotation_takes_a_new_key_and_drops_an_old_one(
    keys: RemoteKeySet, issuer: HttpsIssuer, clock: Clock
) -> None:
    await keys.key("old")
    issuer.keys = [OLD.jwk, NEW.jwk]
    clock.now += 30
    assert await keys.key("new") is not None
    assert await keys.key("old") is not None  # both, while they overlap
    issuer.keys = [NEW.jwk]
    clock.now += HOUR
    assert await keys.key("old") is None
    assert await keys.key("new") is not None


@pytest.mark.case("T71")
async def test_unknown_kids_are_looked_for_at_most_every_30_s(
    keys: RemoteKeySet, issuer: HttpsIssuer, clock: Clock
) -> None:
    await keys.key("old")
    clock.now += 30
    for number in range(1000):
        assert await keys.key(f"random-{number}") is None
        clock.now += 0.01
    assert issuer.key_reads == 2
    clock.now += 30
    assert await keys.key("random") is None
    assert issuer.key_reads == 3


@pytest.mark.case("T71")
async def test_many_callers_at_once_read_once(keys: RemoteKeySet, issuer: HttpsIssuer) -> None:
    issuer.delay = 0.05
    found = await asyncio.gather(*(keys.key("old") for _ in range(50)))
    assert all(found)
    assert issuer.asked == [f"/realm{DISCOVERY}", "/realm/keys"]


async def test_the_event_loop_goes_on_while_keys_are_read(
    keys: RemoteKeySet, issuer: HttpsIssuer
) -> None:
    issuer.delay = 0.2
    reading = asyncio.ensure_future(keys.key("old"))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 20


async def test_a_caller_who_gives_up_does_not_stop_the_reading(
    keys: RemoteKeySet, issuer: HttpsIssuer
) -> None:
    issuer.delay = 0.1
    first = asyncio.ensure_future(keys.key("old"))
    second = asyncio.ensure_future(keys.key("old"))
    await asyncio.sleep(0.02)
    first.cancel()
    assert await second is not None
    assert issuer.key_reads == 1


@pytest.mark.case("T72")
async def test_an_outage_serves_the_last_set_for_a_day(
    keys: RemoteKeySet, issuer: HttpsIssuer, clock: Clock
) -> None:
    await keys.key("old")
    issuer.put("/keys", b"", status=500)
    clock.now += HOUR
    assert await keys.key("old") is not None
    clock.now += DAY - HOUR
    assert await keys.key("old") is not None
    clock.now += 1
    assert await unavailable(keys)
    issuer.answers.clear()
    clock.now += 30
    assert await keys.key("old") is not None


@pytest.mark.case("T72")
async def test_in_a_known_outage_nobody_waits(
    keys: RemoteKeySet, issuer: HttpsIssuer, clock: Clock
) -> None:
    await keys.key("old")
    issuer.put("/keys", b"", status=500)
    clock.now += HOUR
    await keys.key("old")
    issuer.delay = 0.3
    clock.now += 30
    assert await keys.key("old") is not None
    assert keys._reading is not None  # still under way: nobody waited for it
    await keys._reading
    assert issuer.key_reads == 3


@pytest.mark.case("T72")
async def test_without_any_set_the_answer_is_unavailable_not_anonymous(
    keys: RemoteKeySet, issuer: HttpsIssuer, clock: Clock
) -> None:
    issuer.put("/keys", b"", status=503)
    assert await unavailable(keys)
    assert await unavailable(keys)
    assert issuer.key_reads == 1
    issuer.answers.clear()
    clock.now += 5
    assert await keys.key("old") is not None


def oct_key() -> dict[str, Any]:
    return {"kty": "oct", "kid": "old", "alg": "RS256", "k": "c2VjcmV0"}


BROKEN: dict[str, tuple[str, Any, int, dict[str, str]]] = {
    "T72 500": ("/keys", b"", 500, {}),
    "T72 empty body": ("/keys", b"", 200, {}),
    "T72 empty set": ("/keys", {"keys": []}, 200, {}),
    "T72 no set": ("/keys", {"keys": {}}, 200, {}),
    "T72 HTML": ("/keys", b"<html>", 200, {}),
    "T72 huge": ("/keys", b" " * (MAX_DOCUMENT_BYTES + 1), 200, {}),
    "T72 compressed": ("/keys", b"\x1f\x8b", 200, {"content_encoding": "gzip"}),
    "T72 redirect": ("/keys", b"", 302, {"location": "/realm/other"}),
    "T33 use enc": ("/keys", {"keys": [NEW.jwk | {"use": "enc"}]}, 200, {}),
    "T33 key_ops": ("/keys", {"keys": [NEW.jwk | {"key_ops": ["encrypt"]}]}, 200, {}),
    "T34 one kid twice": ("/keys", {"keys": [NEW.jwk, OLD.jwk | {"kid": "new"}]}, 200, {}),
    "T34 a bad twin": ("/keys", {"keys": [NEW.jwk, NEW.jwk | {"use": "enc"}]}, 200, {}),
    "T35 oct": ("/keys", {"keys": [oct_key()]}, 200, {}),
    "T22 another alg": ("/keys", {"keys": [NEW.jwk | {"alg": "RS512"}]}, 200, {}),
    "kid missing": ("/keys", {"keys": [{**NEW.jwk, "kid": None}]}, 200, {}),
    "private key": ("/keys", {"keys": [NEW.jwk | {"d": "AQAB"}]}, 200, {}),
    "n is no base64url": ("/keys", {"keys": [NEW.jwk | {"n": "+/+/"}]}, 200, {}),
    "even exponent": ("/keys", {"keys": [NEW.jwk | {"e": "Ag"}]}, 200, {}),
    "duplicate member": ("/keys", b'{"keys": [], "keys": []}', 200, {}),
    "discovery 404": (DISCOVERY, b"", 404, {}),
    "discovery of another": (DISCOVERY, {"issuer": "https://evil.test"}, 200, {}),
    "discovery redirect": (DISCOVERY, b"", 302, {"location": "/realm/other"}),
}


@pytest.mark.parametrize("case", [by_name(case) for case in BROKEN])
async def test_what_cannot_be_used_never_replaces_a_good_set(
    case: str, keys: RemoteKeySet, issuer: HttpsIssuer, clock: Clock
) -> None:
    await keys.key("old")
    path, content, status, headers = BROKEN[case]
    issuer.put(path, content, status=status, **headers)
    issuer.put("/other", {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys", "keys": []})
    clock.now += HOUR
    key = await keys.key("old")
    assert key is not None
    assert key.verify(OLD.signature(b"data"), b"data")
    assert await keys.key("new") is None
    assert "/realm/other" not in issuer.asked


@pytest.mark.case("T35", "T36")
async def test_weak_and_huge_rsa_keys_are_left_out(
    keys: RemoteKeySet, issuer: HttpsIssuer, clock: Clock
) -> None:
    weak = RsaKey("weak", bits=1024)
    huge = OLD.jwk | {"kid": "huge", "n": "_" * 3000}
    issuer.keys = [weak.jwk, huge, OLD.jwk, oct_key() | {"kid": "mac"}]
    assert await keys.key("old") is not None
    for kid in ("weak", "huge", "mac"):
        assert await keys.key(kid) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/realm/keys",
        "https://user:password@127.0.0.1:{port}/realm/keys",
        "https://127.0.0.1:{port}/realm/keys#x",
        "file:///etc/passwd",
        "/realm/keys",
    ],
)
async def test_the_key_set_is_read_from_a_plain_https_url_alone(
    url: str, keys: RemoteKeySet, issuer: HttpsIssuer
) -> None:
    issuer.put(DISCOVERY, {"issuer": issuer.url, "jwks_uri": url.format(port=issuer.port)})
    assert await unavailable(keys)
    assert issuer.asked == [f"/realm{DISCOVERY}"]


@pytest.mark.parametrize("suffix", ["/", "x"])
async def test_discovery_names_the_issuer_exactly(
    suffix: str, keys: RemoteKeySet, issuer: HttpsIssuer
) -> None:
    issuer.put(DISCOVERY, {"issuer": issuer.url + suffix, "jwks_uri": f"{issuer.url}/keys"})
    assert await unavailable(keys)


async def test_an_issuer_under_another_authority_is_not_believed(
    issuer: HttpsIssuer, clock: Clock
) -> None:
    system = RemoteKeySet(issuer.url, "RS256", now=clock, tls=ssl.create_default_context())
    assert await unavailable(system)
    assert issuer.asked == []


def test_plain_http_needs_the_explicit_argument_and_loopback(clock: Clock) -> None:
    for url in ("http://127.0.0.1:1/", "http://localhost/", "ftp://x.test", "https:///x", ""):
        with pytest.raises(ValueError, match="https"):
            RemoteKeySet(url, "RS256", now=clock)
    assert RemoteKeySet("http://127.0.0.1:1", "RS256", now=clock, allow_loopback_http=True)
    with pytest.raises(ValueError, match="https"):
        RemoteKeySet("http://example.test", "RS256", now=clock, allow_loopback_http=True)
