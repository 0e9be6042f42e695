"""The verifier of signed URLs, in-process: every bit of many URLs, what a refusal costs, and
what never becomes a part of one."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from starlette.requests import Request
from workspace.storage.v1 import storage_service_pb2 as pb

from services.config import load_settings
from services.http.dataplane import DataDriver, dataplane_routes
from services.http.refusals import RefusedError
from services.model.errors import Reason, WorkspaceError
from services.objects import tokens as module
from services.objects.filesystem import FilesystemDriver
from services.objects.keyring import KEY_FILE, Keyring
from services.objects.port import SignRequest
from services.objects.tokens import TokenError, UrlSigner
from services.processes.workspace import WorkspaceProcess
from tests.conformance.objects.rigs import filesystem_rig
from tests.contract.served import CONTRACT

URLS = 24
"""Half of them to read, half to write; each about another key of another length."""


class NoStore:
    """Whoever asks it for anything asked too early."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} before the URL was judged")


async def nobody_asks(*_: object) -> bool:
    raise AssertionError("revocation before the URL was judged")


@pytest.fixture
def signer(tmp_path: Path) -> UrlSigner:
    return UrlSigner(Keyring.open(tmp_path / "keys"))


@pytest.fixture
def plane(signer: UrlSigner) -> Any:
    """The endpoint, before a store that must not be reached."""
    routes = dataplane_routes(cast(DataDriver, NoStore()), signer, is_revoked=nobody_asks)
    return routes[0].endpoint


def asked(number: int) -> SignRequest:
    key = f"workspaces/w_{number}/projects/p_1/documents/d_{'x' * number}/raw/a report é.txt"
    bound: dict[str, Any] = {
        "principal": f"u_{number}", "revision_scope": f"view/p_1/{number}/d_1", "revision": number,
    }  # fmt: skip
    if number % 2:
        return SignRequest("PUT", key, 600, size=number, content_type="text/plain", **bound)
    return SignRequest("GET", key, 600, disposition="attachment", sha256="ab" * 32, **bound)


def request_of(method: str, target: bytes) -> Request:
    path, _, query = target.partition(b"?")
    scope = {
        "type": "http", "method": method, "raw_path": path, "path": "/", "query_string": query,
        "headers": [],
    }  # fmt: skip
    return Request(scope)


def judged(plane: Any, method: str, target: bytes) -> bool:
    """Whether the data plane would go on to revocation and store."""
    try:
        plane._authorise(request_of(method, target))
    except RefusedError:  # one answer, 403
        return False
    return True


def target_of(store: FilesystemDriver, request: SignRequest) -> bytes:
    return store.sign(request).url.removeprefix("http://here").encode()


@pytest.mark.case("U05")
async def test_no_flipped_bit_of_any_url_is_accepted(
    plane: Any, signer: UrlSigner, tmp_path: Path
) -> None:
    """Path, query and MAC of uploads and downloads. Over a socket: `test_signed_urls.py`."""
    store = FilesystemDriver(tmp_path / "objects", signer=signer, public_url="http://here")
    tried = 0
    for number in range(URLS):
        request = asked(number)
        target = target_of(store, request)
        assert judged(plane, request.method, target)
        accepted = [
            changed for changed in _flips(target) if judged(plane, request.method, changed)
        ]
        assert accepted == []
        tried += 8 * len(target)
    await store.close()
    assert tried > 100_000


def _flips(target: bytes) -> Iterator[bytes]:
    for at, byte in enumerate(target):
        for bit in range(8):
            yield target[:at] + bytes([byte ^ 1 << bit]) + target[at + 1 :]


@pytest.mark.case("U11", "U08")
def test_what_cannot_be_right_costs_no_hmac(
    plane: Any, signer: UrlSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    real = hmac.new
    good, _ = signer.issue(asked(0))
    version, kid, payload, mac = good.split(".")

    def counted(*arguments: Any) -> Any:
        made.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(hmac, "new", counted)
    for token in (
        "", "x" * 100_000, f"{version}.{kid}.{payload}", f"{good}A", f"{good[:-1]}",
        f"{version}.{secrets.token_hex(4)}.{payload}.{mac}", f"v2.{kid}.{payload}.{mac}",
        f"{version}.{kid}.{'A' * 9000}.{mac}", f"{version}.{kid}.{payload}.{'=' * 43}",
    ):  # fmt: skip
        assert not judged(plane, "GET", b"/data/objects/a?token=" + token.encode())
    assert made == []
    forged = f"{version}.{kid}.{payload}.{'A' * 43}"
    assert not judged(plane, "GET", b"/data/objects/a?token=" + forged.encode())
    assert len(made) == 1  # one, for what has the shape and a live key


@pytest.mark.case("U09")
def test_compare_digest_alone_decides(signer: UrlSigner, monkeypatch: pytest.MonkeyPatch) -> None:
    token, _ = signer.issue(asked(0))
    forged = token[:-43] + "A" * 43
    compared: list[tuple[bytes, bytes]] = []

    def says(answer: bool) -> None:
        def compare(a: bytes, b: bytes) -> bool:
            compared.append((a, b))
            return answer

        monkeypatch.setattr(module.hmac, "compare_digest", compare)

    says(True)
    assert signer.verify(forged, "GET")
    says(False)
    with pytest.raises(TokenError, match="mac"):
        signer.verify(token, "GET")
    assert compared == [(token.encode(), forged.encode()), (token.encode(), token.encode())]


@pytest.mark.case("U01")
@pytest.mark.parametrize("content", [b"", b'{"version": 1, "upload": [], "download": []}'])
async def test_a_process_without_proper_keys_does_not_start(tmp_path: Path, content: bytes) -> None:
    keys = tmp_path / "keys"
    Keyring.open(keys)
    (keys / KEY_FILE).write_bytes(content)
    process = WorkspaceProcess(load_settings(data_dir=tmp_path, grpc_port=0, http_port=0))
    with pytest.raises(WorkspaceError) as caught:
        await process.start()
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_STATE
    assert KEY_FILE in caught.value.message


@pytest.mark.case("U01")
def test_a_key_file_that_is_lost_signs_and_accepts_nothing(
    plane: Any, signer: UrlSigner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = signer.issue(asked(0))
    monkeypatch.setattr("services.objects.keyring.REFRESH_SECONDS", -1.0)
    (tmp_path / "keys" / KEY_FILE).unlink()
    with pytest.raises(WorkspaceError):
        signer.issue(asked(0))
    assert not judged(plane, "GET", b"/data/objects/a?token=" + token.encode())


@pytest.mark.case("U06")
async def test_headers_that_mean_something_elsewhere_change_nothing(tmp_path: Path) -> None:
    key, other, data = "projects/p_1/a.txt", "projects/p_1/b.txt", b"0123456789"
    headers = {
        "x-amz-copy-source": f"/{other}", "x-amz-tagging": "a=b", "x-ms-copy-source": other,
        "X-HTTP-Method-Override": "DELETE", "X-Original-URL": f"/data/objects/{other}",
        "X-Rewrite-URL": f"/data/objects/{other}", "X-Forwarded-Prefix": "/x",
        "response-content-type": "text/html", "If-Match": '"x"', "Expect-CT": "x",
    }  # fmt: skip
    async with filesystem_rig(tmp_path) as rig:
        url = rig.store.sign(SignRequest("PUT", key, 60, size=10, principal="u_1")).url
        sent = await rig.client.put(url, content=data, headers={**headers, "Range": "bytes=5-"})
        assert sent.status_code == 200
        assert [each.key for each in (await rig.store.list("")).objects] == [key]
        url = rig.store.sign(SignRequest("GET", key, 60, principal="u_1")).url
        plain, odd = await rig.client.get(url), await rig.client.get(url, headers=headers)
        assert odd.content == plain.content == data
        assert {**odd.headers, "date": ""} == {**plain.headers, "date": ""}


SIGNING = (
    pb.CreateUploadRequest, pb.CreateMultipartUploadRequest, pb.SignUploadPartsRequest,
    pb.CreateDownloadRequest, pb.BatchCreateDownloadsRequest,
)  # fmt: skip
MAY_BE_ASKED = frozenset(
    ("request_id", "document_id", "document_ids", "artifact_id", "file_revision", "upload_id",
     "filename", "content_type", "size_bytes", "sha256", "expires_in", "disposition",
     "part_numbers", "part_sha256", "part_size_bytes", "parts")
)  # fmt: skip


@pytest.mark.case("U04", "U32")
@pytest.mark.parametrize("request_", SIGNING, ids=lambda each: each.DESCRIPTOR.name)
def test_requests_name_documents_and_no_keys_or_addresses(request_: Any) -> None:
    """What else a URL binds comes from the record and from the decision."""
    names = {field.name for field in request_.DESCRIPTOR.fields}
    assert names <= MAY_BE_ASKED, names - MAY_BE_ASKED


WEBHOOK = "workspace.project.v1.CreateWebhookResponse.signing_secret"
"""By it a receiver knows our messages; no URL is signed with it."""


@pytest.mark.case("U33")
def test_no_answer_has_a_key_to_sign_with() -> None:
    found = {
        field.full_name
        for method in (each.descriptor for each in CONTRACT.values())
        for field in _fields(method.output_type, set())
        if any(word in field.name for word in ("sign", "private_key", "account_key", "access_key"))
    }
    assert found == {WEBHOOK}


def _fields(message: Descriptor, seen: set[str]) -> Iterator[FieldDescriptor]:
    if message.full_name in seen:
        return
    seen.add(message.full_name)
    for field in message.fields:
        yield field
        if field.message_type is not None:
            yield from _fields(field.message_type, seen)

