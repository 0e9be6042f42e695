"""Workspaces that trust issuers of every kind, asked over their real ports.

Their clock stands at that of the tokens of `test_bad_tokens`; their own key is its key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc.aio
import httpx
import pytest
from workspace.identity.v1.identity_service_pb2 import (
    GetSessionRequest,
    IssueLocalTokenRequest,
    NormalizeIdentityRequest,
)
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

import identity_svc.module
from services.private_files import make_key_file
from services.rpc.limits import Limits
from services.tokens.issuers import IssuerSettings
from services.tokens.local import LOCAL_KEY_FILE
from services.tokens.providers import open_authenticator
from tests.harness import BearerChannel, Workspace
from tests.oidc_issuer import HttpsIssuer, made_key
from tests.security.refusing import WORDS
from tests.security.sign_in_providers import PROVIDERS, serving
from tests.security.test_bad_tokens import (
    LOCAL_KEY,
    NOW,
    Cases,
    Kit,
    cases,
    local_cases,
    local_kit,
    oidc_cases,
    oidc_kit,
)

__all__ = ["DOORS", "GOOD", "Wire", "deployment", "sendable"]

DOORS: Final = ("grpc", "http")
GOOD: Final = {"grpc": ("OK", ""), "http": ("200", "")}
_REFUSED: Final = {
    "grpc": {("UNAUTHENTICATED", WORDS)}, "http": {("401", WORDS)},
}  # fmt: skip
_CUT: Final = "cut"
_TOO_LARGE: Final = {"grpc": {"RESOURCE_EXHAUSTED"}, "http": {"431", _CUT}}


def sendable(value: str) -> bool:
    """Whether a value of a field has no line end in it, and no blank at its ends, which
    would be none of it."""
    return value.isprintable() and value == value.strip()


@dataclass(frozen=True)
class Wire:
    """One workspace; per form of trust the kit and the bad tokens."""

    ws: Workspace
    channel: grpc.aio.Channel
    client: httpx.AsyncClient
    issuers: Mapping[str, HttpsIssuer]
    kits: Mapping[str, Kit]
    bad: Mapping[str, Cases]

    def named(self, case: str) -> list[tuple[str, str]]:
        """(what it is, the token) of all bad tokens of a case."""
        return [
            (f"{form}: {name}", token if isinstance(token, str) else token())
            for form, found in self.bad.items()
            for name, token in found.items()
            if name.startswith(f"{case} ")
        ]

    async def ask(self, door: str, *values: str) -> tuple[str, str]:
        """(code, words) of the answer to a call with these values of `authorization`."""
        return await (self._grpc(values) if door == "grpc" else self._http(values))

    async def refuses(self, door: str, *values: str) -> bool:
        """Whether it is the one refusal, or the transport's for what is too large."""
        answer = await self.ask(door, *values)
        is_large = sum(map(len, values)) > 24 * 1024
        return answer in _REFUSED[door] or (is_large and answer[0] in _TOO_LARGE[door])

    async def sign_in(self, token: str) -> None:
        stub = IdentityServiceStub(BearerChannel(self.channel, token))
        await stub.NormalizeIdentity(NormalizeIdentityRequest())

    async def issue(self, door: str, *values: str) -> str:
        """The code of a call that needs no credentials: a local token is issued."""
        keys = self.ws.process.kernel.keys_dir
        secret = (keys / "local.secret").read_text().strip()
        request = IssueLocalTokenRequest(email="new@example.com", local_secret=secret)
        sent = [("authorization", value) for value in values]
        if door == "http":
            body = {"email": request.email, "local_secret": secret}
            answer = await self.client.post("/api/localTokens", json=body, headers=sent)
            return str(answer.status_code)
        stub = IdentityServiceStub(self.channel)
        return (await _answered(stub.IssueLocalToken(request, metadata=tuple(sent))))[0]

    async def _grpc(self, values: Sequence[str]) -> tuple[str, str]:
        stub = IdentityServiceStub(self.channel)
        metadata = tuple(("authorization", value) for value in values)
        return await _answered(stub.GetSession(GetSessionRequest(), metadata=metadata, timeout=60))

    async def _http(self, values: Sequence[str]) -> tuple[str, str]:
        headers = [("authorization", value) for value in values]
        try:
            answer = await self.client.get("/api/session", headers=headers)
        except (httpx.ReadError, httpx.WriteError):  # closed while it was still being sent
            return _CUT, ""
        told = answer.content and answer.status_code != httpx.codes.OK
        return str(answer.status_code), str(answer.json()["message"]) if told else ""


@asynccontextmanager
async def deployment(
    folder: Path, *, again: bool = False, **forms: str
) -> AsyncIterator[Wire]:
    """A workspace that trusts itself, a generic issuer, and of each provider that is named
    (`cognito="id"`) one form. `again`: it has the bad tokens of those providers alone."""
    async with AsyncExitStack() as stack:
        plain = stack.enter_context(HttpsIssuer(_made(folder / "oidc")).serving())
        key, attacker = made_key("r1"), made_key("r1", of="an attacker")
        plain.keys = [key.jwk, key.jwk | {"kid": "enc", "use": "enc"}]
        kits: dict[str, Kit] = {
            "local": local_kit(other_issuer=plain.url, other_kid="r1"),
            "oidc": oidc_kit(plain.url, key, attacker),
        }
        bad: dict[str, Cases] = {} if again else {
            "local": cases(kits["local"]) | local_cases(kits["local"]),
            "oidc": cases(kits["oidc"]) | oidc_cases(kits["oidc"]),
        }  # fmt: skip
        issuers = {"oidc": plain}
        trust: list[Any] = [IssuerSettings(issuer=plain.url, audience="workspace")]
        more: dict[str, Any] = {}
        for name, form in forms.items():
            bench = stack.enter_context(serving(PROVIDERS[name], _made(folder / name)))
            issuers[name], kits[name] = bench.issuer, bench.kits[form]
            named = {case: token for case, (_, token) in bench.named[form].items()}
            bad[name] = bench.general.get(form, {}) | named
            more |= bench.issuer.settings(**PROVIDERS[name].trust[form])
            trust += more.pop("oidc_issuers")
        more["oidc_ca_file"] = folder / "authorities.pem"
        authorities = [each.ca_file.read_bytes() for each in issuers.values()]
        more["oidc_ca_file"].write_bytes(b"".join(authorities))
        ws = await stack.enter_async_context(_workspace(folder, oidc_issuers=tuple(trust), **more))
        channel = grpc.aio.insecure_channel(
            ws.process.grpc_address, options=Limits().channel_options()
        )
        await stack.enter_async_context(channel)
        client = await stack.enter_async_context(ws.client())
        yield Wire(ws, channel, client, issuers, kits, bad)


@asynccontextmanager
async def _workspace(folder: Path, **settings: Any) -> AsyncIterator[Workspace]:
    """With the clock and the key of the local tokens."""
    make_key_file(folder / "wm-data" / "keys" / LOCAL_KEY_FILE, LOCAL_KEY.private_bytes_raw())

    def opened(*given: Any, **_: Any) -> Any:
        return open_authenticator(*given, now=lambda: NOW)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity_svc.module, "open_authenticator", opened)
        unlimited = {"address_calls_per_minute": 0, "user_calls_per_minute": 0}
        async with Workspace.open(folder, local_realm="n1", **unlimited, **settings) as ws:
            yield ws


async def _answered(call: Awaitable[object]) -> tuple[str, str]:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name, str(error.details())
    return GOOD["grpc"]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
