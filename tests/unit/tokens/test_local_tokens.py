"""Local tokens: what a good one gives, and what the rules refuse to be."""

from __future__ import annotations

import asyncio

import pytest

from services.model.errors import Reason, WorkspaceError
from services.model.ids import user_id
from services.tokens.authenticator import TokenAuthenticator
from services.tokens.claims import TokenRefusedError
from services.tokens.local import LocalIdentity, LocalIssuer
from services.tokens.verifier import TokenRules

NOW = 1_800_000_000
ANN = LocalIdentity("ann@example.com", "Ann Ännchen")


def _token(issuer: LocalIssuer, *, issued_at: int = NOW, seconds: int = 3600) -> str:
    return issuer.issue(ANN, token_id="j_1", issued_at=issued_at, seconds=seconds)


async def test_a_good_token_says_who_it_is_for(issuer: LocalIssuer) -> None:
    claims = await issuer.verifier(now=lambda: NOW).verify(_token(issuer))
    assert (claims.provider, claims.issuer) == ("local", "workspace-local:n1")
    assert (claims.subject, claims.email, claims.name) == (ANN.email, ANN.email, ANN.name)
    assert claims.email_verified
    assert (claims.issued_at, claims.expires_at) == (NOW, NOW + 3600)


@pytest.mark.parametrize("skew", [-60, 0, 60])
@pytest.mark.case("P02")
async def test_clocks_may_differ_by_a_minute(issuer: LocalIssuer, skew: int) -> None:
    token = _token(issuer, issued_at=NOW + skew)
    assert await issuer.verifier(now=lambda: NOW).verify(token)


@pytest.mark.case("T43")
async def test_a_token_ends_on_the_second(issuer: LocalIssuer) -> None:
    token = _token(issuer, seconds=60)
    assert await issuer.verifier(now=lambda: NOW + 59.999).verify(token)
    with pytest.raises(TokenRefusedError, match="exp"):
        await issuer.verifier(now=lambda: NOW + 60.0).verify(token)


@pytest.mark.parametrize("seconds", [0, -1, 3601])
@pytest.mark.case("T45")
def test_no_token_lives_longer_than_an_hour(issuer: LocalIssuer, seconds: int) -> None:
    with pytest.raises(ValueError, match="hour"):
        _token(issuer, seconds=seconds)


@pytest.mark.parametrize("field", ["issuer", "audiences", "algorithm", "types"])
@pytest.mark.case("T49")
def test_an_empty_setting_never_switches_a_check_off(field: str) -> None:
    given = {
        "issuer": "i",
        "audiences": frozenset({"a"}),
        "algorithm": "EdDSA",
        "types": frozenset({"at+jwt"}),
        "max_lifetime": 60,
    }
    TokenRules(**given)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs"):
        TokenRules(**(given | {field: type(given[field])()}))  # type: ignore[arg-type]
    if field in ("audiences", "types"):
        with pytest.raises(ValueError, match="needs"):
            TokenRules(**(given | {field: frozenset({"a", ""})}))  # type: ignore[arg-type]


async def test_the_user_is_known_by_issuer_and_subject(issuer: LocalIssuer) -> None:
    authenticator = TokenAuthenticator([issuer.verifier(now=lambda: NOW)], now=lambda: NOW)
    caller = await authenticator.authenticate(_token(issuer))
    assert caller.user_id == user_id(issuer.issuer, ANN.email)
    assert caller.email == ANN.email


@pytest.mark.case("T43")
async def test_a_remembered_token_still_ends_on_the_second(issuer: LocalIssuer) -> None:
    now = float(NOW)
    authenticator = TokenAuthenticator([issuer.verifier(now=lambda: now)], now=lambda: now)
    token = _token(issuer, seconds=30)
    assert await authenticator.authenticate(token)
    now = NOW + 29.9
    assert await authenticator.authenticate(token)
    now = NOW + 30.0
    with pytest.raises(WorkspaceError) as caught:
        await authenticator.authenticate(token)
    assert caught.value.reason == Reason.ERROR_REASON_UNAUTHENTICATED


async def test_refusals_are_audited_without_the_token(
    issuer: LocalIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    authenticator = TokenAuthenticator([issuer.verifier(now=lambda: NOW)], now=lambda: NOW)
    token = _token(issuer, issued_at=NOW - 7200)
    caplog.set_level("INFO", "workspace.audit")
    with pytest.raises(WorkspaceError) as caught:
        await authenticator.authenticate(token)
    records = [record for record in caplog.records if record.name == "workspace.audit"]
    assert [vars(record)["check"] for record in records] == ["exp"]
    for part in token.split("."):
        assert part not in str([vars(record) for record in records]) + caught.value.message


async def test_parallel_verification_gives_each_its_own_answer(issuer: LocalIssuer) -> None:
    authenticator = TokenAuthenticator([issuer.verifier(now=lambda: NOW)], now=lambda: NOW)
    people = [LocalIdentity(f"p{n}@example.com", f"P{n}") for n in range(20)]
    tokens = [issuer.issue(p, token_id="j", issued_at=NOW, seconds=60) for p in people]
    callers = await asyncio.gather(*map(authenticator.authenticate, tokens * 2))
    assert [caller.email for caller in callers] == [p.email for p in people] * 2
