"""All that a URL says is under its signature: the string to sign, built here by the order of
Microsoft Learn, "Create a user delegation SAS" (version 2026-04-06 and later)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest

from services.model.errors import WorkspaceError
from services.objects.azure_blob.clock import ServiceClock
from services.objects.azure_blob.delegation_key import HeldKey
from services.objects.azure_blob.signing import MAX_URL_SECONDS, Signer
from services.objects.azure_blob.transfers import Transfers
from services.objects.port import Enforcement, SignRequest
from tests.unit.objects.azure_blob.test_azure_delegation_keys import BEGIN, key_of

ORDER = (
    *("sp", "st", "se", None, "skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid"),
    *("scid", "skdutid", "sduoid", "sip", "spr", "sv", "sr", "snapshot", "ses", "srh", "srq"),
    *("rscc", "rscd", "rsce", "rscl", "rsct"),
)
KEY = "workspaces/w_1/a report+1%é#.txt"
HELD = HeldKey(key_of(BEGIN - 900, BEGIN + 90_000), BEGIN - 900, BEGIN + 90_000, BEGIN + 43_200)


def transfers(at: float = BEGIN) -> Transfers:
    wire: Any = SimpleNamespace(url=lambda name: f"https://account.example/container/{quote(name)}")
    return Transfers(wire, Signer("account", "container"), ServiceClock(lambda: at), lambda: HELD)


def signature_of(query: dict[str, str], name: str) -> str:
    lines = [
        f"/blob/account/container/{name}" if field is None else query.get(field, "")
        for field in ORDER
    ]
    secret = base64.b64decode("a2V5")
    return base64.b64encode(
        hmac.digest(secret, "\n".join(lines).encode(), hashlib.sha256)
    ).decode()


@pytest.mark.parametrize(
    ("request_", "permission"),
    [
        (SignRequest("GET", KEY, 60), "r"),
        (SignRequest("HEAD", KEY, 60, content_type="text/plain"), "r"),
        (SignRequest("GET", KEY, 60, disposition='attachment; filename="a b.txt"'), "r"),
        (SignRequest("PUT", KEY, 60, size=3, content_type="text/plain", sha256="a" * 64), "c"),
        (SignRequest("PUT", KEY, 60, size=3, upload_part=("0" * 32, 7)), "w"),
    ],
    ids=repr,
)
@pytest.mark.case("U27")
def test_everything_is_signed(request_: SignRequest, permission: str) -> None:
    transfer = transfers().sign(request_)
    url = urlsplit(transfer.url)
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    name = unquote(url.path.removeprefix("/container/"))
    assert query.pop("sig") == signature_of(query, name)
    assert (query["sp"], query["sr"], query["spr"]) == (permission, "b", "https")
    known = {each for each in ORDER if each} | {"comp", "blockid"}
    assert set(query) <= known
    if permission == "w":
        assert name.startswith(".multipart/")
        assert base64.b64decode(query["blockid"]) == b"part-00007"
    else:
        assert name == KEY


@pytest.mark.parametrize("seconds", [1, 60, 900, MAX_URL_SECONDS, MAX_URL_SECONDS + 1, 10**9])
@pytest.mark.case("U26")
def test_times(seconds: int) -> None:
    transfer = transfers().sign(SignRequest("GET", KEY, seconds))
    query = dict(parse_qsl(urlsplit(transfer.url).query))
    assert query["st"] == "2027-01-15T07:45:00Z"
    assert transfer.expires_at == BEGIN + min(seconds, MAX_URL_SECONDS)
    assert query["ske"] > query["se"]


def test_what_is_claimed_of_an_upload_is_what_azure_does() -> None:
    """ADR 0024."""
    request = SignRequest("PUT", KEY, 60, size=3, content_type="text/plain", sha256="a" * 64)
    transfer = transfers().sign(request)
    found = {each.kind.value: each.enforcement for each in transfer.constraints}
    assert found == {
        "size": Enforcement.VERIFIED, "sha256": Enforcement.VERIFIED,
        "content_type": Enforcement.ADVISORY, "create_only": Enforcement.ENFORCED,
    }  # fmt: skip
    assert transfer.headers == {
        "Content-Length": "3", "Content-Type": "text/plain", "If-None-Match": "*",
        "x-ms-blob-type": "BlockBlob",
    }  # fmt: skip


@pytest.mark.parametrize(
    "request_",
    [
        SignRequest("DELETE", KEY, 60),
        SignRequest("GET", ".multipart/x", 60),
        SignRequest("GET", KEY, 0),
        SignRequest("PUT", KEY, 60),
        SignRequest("PUT", KEY, 60, size=-1),
        SignRequest("PUT", KEY, 60, size=1, upload_part=("0" * 32, 0)),
        SignRequest("PUT", KEY, 60, size=1, upload_part=("0" * 32, 10_001)),
        SignRequest("PUT", KEY, 60, size=1, upload_part=("../x", 1)),
        SignRequest("GET", KEY, 60, disposition="attachment\r\nX: y"),
    ],
    ids=repr,
)
def test_what_is_not_signed(request_: SignRequest) -> None:
    with pytest.raises(WorkspaceError):
        transfers().sign(request_)
