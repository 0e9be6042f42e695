"""When a machine token ends, everything that was made in its name ends with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import machine_token_pb2 as mt
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.storage.v1 import storage_service_pb2 as ss
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from services.rpc.local import LocalChannel
from services.tokens.machine import MachineTokenVerifier
from storage_svc.revocation import principal_of
from tests.chosen_records import needs_files, plain_client
from tests.harness import BearerChannel, Workspace
from tests.security.cast import BYTES, SHA256, Cast, mail

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cast]:
    async with Workspace.open(tmp_path_factory.mktemp("ends")) as ws:
        opened = Cast(ws)
        await opened.enter()
        yield opened


def identity(cast: Cast, name: str) -> Any:
    return cast.ws.stub(IdentityServiceStub, as_=mail(name))


async def token(cast: Cast, name: str, **scope: Any) -> Any:
    request = ids.CreateMachineTokenRequest(name="robot", **scope)
    return await identity(cast, name).CreateMachineToken(request)


def robot(cast: Cast, made: Any, stub: Callable[[Any], Any]) -> Any:
    return stub(BearerChannel(LocalChannel(cast.ws.process.local, service=""), made.secret))


async def use(cast: Cast, transfer: Any, content: bytes = b"") -> int:
    async with plain_client() as client:
        answer = await client.request(
            transfer.method, transfer.url, content=content, headers=dict(transfer.headers)
        )
        return int(answer.status_code)


async def revoke(cast: Cast, made: Any) -> None:
    request = ids.RevokeMachineTokenRequest(token_id=made.machine_token.token_id)
    await identity(cast, "owner").RevokeMachineToken(request)


@needs_files  # S3 answers its URLs itself: they end with their time alone
@pytest.mark.case("R13")
async def test_signed_urls_end_with_their_machine_token(cast: Cast) -> None:
    made = await token(cast, "owner", project_ids=[cast.own.project_id])
    storage = robot(cast, made, StorageServiceStub)
    download = ss.CreateDownloadRequest(document_id=cast.own.document_id)
    by_robot = (await storage.CreateDownload(download)).transfer
    person = cast.ws.stub(StorageServiceStub, as_=mail("owner"))
    by_person = (await person.CreateDownload(download)).transfer
    upload = ss.CreateUploadRequest(
        document_id=cast.own.empty_document_id, filename="b.txt", content_type="text/plain",
        size_bytes=len(BYTES), sha256=SHA256,
    )
    up = (await storage.CreateUpload(upload)).transfer
    multi = ss.CreateMultipartUploadRequest(
        document_id=cast.own.empty_document_id, filename="c.txt", content_type="text/plain",
        size_bytes=len(BYTES), sha256=SHA256,
    )
    begun = (await storage.CreateMultipartUpload(multi)).upload
    signed = await storage.SignUploadParts(
        ss.SignUploadPartsRequest(upload_id=begun.upload_id, part_numbers=[1])
    )
    part = signed.parts[0].transfer
    assert await use(cast, by_robot) == 200
    await revoke(cast, made)
    assert [await use(cast, each, data) for each, data in (
        (by_robot, b""), (up, BYTES), (part, BYTES), (by_person, b"")
    )] == [403, 403, 403, 200]  # fmt: skip


@pytest.mark.case("R13")
@needs_files
@pytest.mark.case("T18")
async def test_a_bearer_token_opens_nothing_on_the_data_plane(cast: Cast) -> None:
    storage = cast.ws.stub(StorageServiceStub, as_=mail("owner"))
    download = ss.CreateDownloadRequest(document_id=cast.own.document_id)
    url = (await storage.CreateDownload(download)).transfer.url
    path, _, query = url.partition("?")
    bearer = cast.ws.token(mail("owner"))
    assert query.startswith("token=")
    async with plain_client() as client:
        for asked in (
            path, f"{path}?access_token={bearer}", f"{path}?token={bearer}",
            f"{url}&access_token={bearer}", f"{path}?access_token={bearer}&{query}",
        ):  # fmt: skip
            answer = await client.get(asked, headers={"authorization": f"Bearer {bearer}"})
            assert answer.status_code == 403
        assert (await client.get(url)).status_code == 200


async def test_a_signed_url_ends_with_the_life_of_its_token(cast: Cast) -> None:
    made = (await token(cast, "owner")).machine_token
    end = made.expires_at.ToNanoseconds() / 1e9
    for now, works in ((end - 0.001, True), (end + 0.001, False)):
        verifier = MachineTokenVerifier(cast.ws.records, now=lambda at=now: at)
        assert await verifier.works(made.token_id) is works
    for unknown in ("", "k_", made.token_id[:-1] + "a", cast.id("owner")):
        assert not await verifier.works(unknown)


async def test_a_principal_is_no_other_one() -> None:
    assert principal_of("u_1") == "u_1"
    assert principal_of("u_1", "k_1_2") == "u_1/k_1_2"


async def test_enabling_a_user_brings_no_machine_token_back(cast: Cast) -> None:
    """Whoever is disabled for a leaked token is not enabled together with it."""
    made = [await token(cast, "member") for _ in range(2)]
    admin, member = identity(cast, "platform"), cast.id("member")
    request_id = "7d0c8f0e-6d63-4f5c-9a2e-0d7a6f3b1c11"
    disabled = ids.DisableUserRequest(user_id=member, reason="leaked", request_id=request_id)
    first = await admin.DisableUser(disabled)
    assert (await admin.DisableUser(disabled)).user == first.user
    listed = await admin.ListMachineTokens(ids.ListMachineTokensRequest(user_id=member))
    states = {(each.status, each.revoked_by) for each in listed.machine_tokens}
    assert states == {(mt.MACHINE_TOKEN_STATUS_REVOKED, cast.id("platform"))}
    await admin.EnableUser(ids.EnableUserRequest(user_id=member))
    for each in made:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await robot(cast, each, IdentityServiceStub).GetSession(ids.GetSessionRequest())
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
