"""Bad tokens against issuers in the shape of Cognito and of Entra whose keys come over TLS
(T01 to T70), for every form of trust in them: access and ID tokens, and for Entra versions,
clouds, external tenants, and one that names scopes and programs and takes no guests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from services.tokens.claims import TokenRefusedError
from tests.oidc_issuer import made_key
from tests.security.refusing import by_name, refuse
from tests.security.sign_in_providers import PROVIDERS, Bench, Provider, serving


def _names(provider: Provider) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    key = made_key("sample")
    kits = {form: provider.kit(key, key, form=form) for form in provider.trust}
    general, named = provider.lists(kits)
    return (
        [(form, name) for form, cases in general.items() for name in cases],
        [(form, name) for form, cases in named.items() for name in cases],
    )


NAMES = {name: _names(provider) for name, provider in PROVIDERS.items()}
GENERAL = [(name, *each) for name, (general, _) in NAMES.items() for each in general]
NAMED = [(name, *each) for name, (_, named) in NAMES.items() for each in named]


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Bench]]:
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(serving(provider, tmp_path_factory.mktemp(name)))
            for name, provider in PROVIDERS.items()
        }


@pytest.fixture
def bench(provider: str, benches: dict[str, Bench]) -> Bench:
    return benches[provider]


@pytest.mark.parametrize(("provider", "form", "case"), [by_name(*each) for each in GENERAL])
async def test_a_generally_bad_token_is_refused(form: str, case: str, bench: Bench) -> None:
    authenticator = bench.authenticator(form)
    assert await authenticator.authenticate(bench.kits[form].token())
    bad = bench.general[form][case]
    await refuse(authenticator, bad if isinstance(bad, str) else bad())


@pytest.mark.parametrize(("provider", "form", "case"), [by_name(*each) for each in NAMED])
async def test_a_bad_token_of_a_provider_is_refused_for_its_reason(
    form: str, case: str, bench: Bench
) -> None:
    check, bad = bench.named[form][case]
    with pytest.raises(TokenRefusedError, match=f"^{check}$"):
        await bench.verifiers[form].verify(bad)
    authenticator = bench.authenticator(form)
    assert await authenticator.authenticate(bench.kits[form].token())
    await refuse(authenticator, bad)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.case("T28", "T70")
async def test_t28_no_token_of_a_provider_opens_a_connection(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither does a token that names where the groups are (T70)."""
    authenticator = bench.authenticator("access")
    token = bench.kits["access"].token
    await authenticator.authenticate(token())  # the keys are there
    opened: list[Any] = []
    monkeypatch.setattr("socket.socket.connect", lambda *args: opened.append(args))
    monkeypatch.setattr("socket.getaddrinfo", lambda *args, **_: opened.append(args))
    for _, bad in bench.named["access"].values():
        await refuse(authenticator, bad)
    for case in ("T28 jku", "T28 x5u", "T27 header jwk"):
        bad_token = bench.general["access"][case]
        assert isinstance(bad_token, str)
        await refuse(authenticator, bad_token)
    sources = {"src1": {"endpoint": "https://127.0.0.1:9/getMemberObjects"}}
    overage = token(_claim_names={"groups": "src1"}, _claim_sources=sources)
    assert await authenticator.authenticate(overage)
    assert not opened
