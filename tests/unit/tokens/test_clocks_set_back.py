"""A clock that is set back makes nothing younger that is kept of tokens and keys."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

import services.rpc.authentication
from services.elapsed import Elapsed, Moment
from services.model.errors import WorkspaceError
from services.rpc.context import Caller
from services.tokens.authenticator import TokenAuthenticator
from services.tokens.claims import VerifiedClaims
from services.tokens.key_sets import RemoteKeySet
from services.tokens.local import LocalIdentity, LocalIssuer
from tests.oidc_issuer import HttpsIssuer, made_key
from tests.unit.rpc.interceptor_harness import VALID, Echo
from tests.unit.rpc.test_machine_scope import code_of, stream
from tests.unit.tokens.verifying import DAY, HOUR, NOW, Clock

pytestmark = pytest.mark.case("T43")
UNAUTH = grpc.StatusCode.UNAUTHENTICATED


@pytest.fixture
def wall() -> Clock:
    return Clock()


@pytest.fixture
def steady() -> Clock:
    """The monotonic one."""
    made = Clock()
    made.now = 100.0
    return made


@pytest.mark.parametrize(
    ("wall", "monotonic", "passed"), [(5, 3, 5), (-500, 3, 3), (500, 0, 500), (0, 0, 0)]
)
def test_whichever_clock_says_more_counts(wall: float, monotonic: float, passed: float) -> None:
    elapsed = Elapsed(lambda: NOW + wall, monotonic=lambda: 100 + monotonic)
    assert elapsed.since(Moment(NOW, 100)) == passed
    assert elapsed.moment() == Moment(NOW + wall, 100 + monotonic)


class Counting:
    """The verifier of an issuer; counts."""

    def __init__(self, issuer: LocalIssuer, now: Clock) -> None:
        self._inner = issuer.verifier(now=now)
        self.issuer = issuer.issuer
        self.asked = 0

    async def verify(self, token: str) -> VerifiedClaims:
        self.asked += 1
        return await self._inner.verify(token)


@pytest.mark.parametrize(("seconds", "life"), [(30, 30), (3600, 60)])
async def test_a_token_is_not_remembered_longer_than_it_lives(
    seconds: int, life: int, issuer: LocalIssuer, wall: Clock, steady: Clock
) -> None:
    verifier = Counting(issuer, wall)
    authenticator = TokenAuthenticator([verifier], now=wall, monotonic=steady)
    person = LocalIdentity("ann@example.com", "Ann")
    token = issuer.issue(person, token_id="j", issued_at=NOW, seconds=seconds)
    await authenticator.authenticate(token)
    wall.now -= 1000
    steady.now += life - 0.1
    assert await authenticator.authenticate(token)
    assert verifier.asked == 1
    steady.now += 0.1
    with pytest.raises(WorkspaceError):  # looked at anew, it was made in the future
        await authenticator.authenticate(token)
    assert verifier.asked == 2


async def test_keys_are_read_again_whatever_the_clock_says(
    tmp_path: Path, wall: Clock, steady: Clock
) -> None:
    old, new = made_key("old"), made_key("new")
    issuer = HttpsIssuer(tmp_path)
    issuer.keys = [old.jwk]
    with issuer.serving():
        keys = RemoteKeySet(issuer.url, "RS256", now=wall, tls=issuer.tls, monotonic=steady)
        assert await keys.key("old") is not None
        wall.now -= DAY
        issuer.keys = [old.jwk, new.jwk]
        steady.now += 30
        assert await keys.key("new") is not None
        issuer.keys = [new.jwk]
        steady.now += HOUR
        assert await keys.key("old") is None
        issuer.put("/keys", b"", status=500)
        steady.now += DAY + 1
        with pytest.raises(WorkspaceError):
            await keys.key("new")


@pytest.mark.parametrize(("passed", "told"), [(59.9, grpc.StatusCode.OK), (60.0, UNAUTH)])
async def test_a_stream_is_not_longer_than_its_token(
    passed: float,
    told: grpc.StatusCode,
    wall: Clock,
    steady: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clocks = Elapsed(wall, monotonic=steady)
    monkeypatch.setattr(services.rpc.authentication, "Elapsed", lambda: clocks)
    monkeypatch.setattr(services.rpc.authentication, "RECHECK_SECONDS", 0.0)

    async def act(request: object, _: object) -> object:
        wall.now -= 1000
        steady.now += passed
        return request

    async with Echo(act=act).running() as echo:
        echo.gate.answer = Caller("u_1", "issuer", "subject", expires_at=NOW + 60)
        if told is UNAUTH:
            assert await code_of(stream(echo)) is told
        else:
            assert await stream(echo) == [VALID, VALID]
