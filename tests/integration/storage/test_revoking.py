"""RevokeTransfers: what was signed before is worth nothing."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.storage.v1 import storage_service_pb2 as pb

from services.objects.keyring import KEY_FILE, REFRESH_SECONDS, Keyring
from services.objects.tokens import UrlSigner
from storage_svc.epochs import Epochs
from storage_svc.revoking import KEY_SECONDS
from tests.chosen_records import needs_data_plane
from tests.integration.storage.people import ANN, BOB, EVE, Desk, get, put, refused, request_id

DATA = b"secret plan\n" * 20


async def signed(desk: Desk, document_id: str) -> Any:
    request = pb.CreateDownloadRequest(document_id=document_id)
    return (await desk.storage().CreateDownload(request)).transfer


async def platform_admin(desk: Desk, who: str = EVE) -> None:
    stub: Any = desk.ws.stub(IdentityServiceStub, as_=who)
    secret = (desk.ws.process.kernel.keys_dir / "local.secret").read_text().strip()
    await stub.BootstrapPlatformAdmin(ids.BootstrapPlatformAdminRequest(bootstrap_secret=secret))


@needs_data_plane
@pytest.mark.case("R14")
async def test_urls_of_one_project_end_at_once_and_no_others(desk: Desk) -> None:
    mine = await desk.document()
    await desk.uploaded(mine, DATA)
    pending = await desk.announce(await desk.document("b.pdf"), DATA, filename="b.pdf")
    first, desk.project_id = desk.project_id, await desk.new_project()
    other = await desk.document()
    await desk.uploaded(other, DATA)
    old, others = await signed(desk, mine), await signed(desk, other)
    answer = await desk.storage().RevokeTransfers(
        pb.RevokeTransfersRequest(project_id=first, note="laptop lost")
    )
    (result,) = answer.results
    assert result.method == pb.RevocationMethod.REVOCATION_METHOD_DATA_PLANE
    assert result.effective_at == answer.revoked_before
    assert (await get(old)).status_code == 403
    assert (await put(pending.transfer, DATA)).status_code == 403
    assert (await get(others)).content == DATA
    assert (await get(await signed(desk, mine))).content == DATA


@needs_data_plane
@pytest.mark.case("R14")
async def test_pending_uploads_are_signed_again(desk: Desk) -> None:
    document_id, wanted = await desk.document(), request_id()
    made = await desk.announce(document_id, DATA, request_id=wanted)
    parts = await desk.announce_parts(await desk.document("b.bin"), DATA)
    sign = pb.SignUploadPartsRequest(upload_id=parts.upload.upload_id, part_numbers=[1])
    old = (await desk.storage().SignUploadParts(sign)).parts[0].transfer
    revoke = pb.RevokeTransfersRequest(project_id=desk.project_id)
    await desk.storage().RevokeTransfers(revoke)
    assert (await put(made.transfer, DATA)).status_code == 403
    assert (await put(old, DATA)).status_code == 403
    again = await desk.announce(document_id, DATA, request_id=wanted)
    assert again.upload.upload_id == made.upload.upload_id
    assert (await put(again.transfer, DATA)).is_success
    await desk.complete(made.upload.upload_id)
    part = (await desk.storage().SignUploadParts(sign)).parts[0].transfer
    assert (await put(part, DATA)).is_success
    await desk.complete(parts.upload.upload_id)


@needs_data_plane
@pytest.mark.case("U25", "R15")
async def test_the_drill_ends_every_url_of_the_deployment(desk: Desk) -> None:
    document_id = await desk.document()
    await desk.uploaded(document_id, DATA)
    old = await signed(desk, document_id)
    await platform_admin(desk)
    began = time.monotonic()
    answer = await desk.storage(EVE).RevokeTransfers(pb.RevokeTransfersRequest(note="drill"))
    (result,) = answer.results
    assert result.method == pb.RevocationMethod.REVOCATION_METHOD_KEY_REVOKED
    promised = result.effective_at.seconds - answer.revoked_before.seconds
    assert REFRESH_SECONDS < promised <= KEY_SECONDS + 1
    while (await get(old)).status_code == 200:
        assert time.monotonic() - began < KEY_SECONDS, "the URL lives longer than promised"
        await asyncio.sleep(0.05)
    assert (await get(old)).status_code == 403
    assert (await get(await signed(desk, document_id))).content == DATA


@needs_data_plane
@pytest.mark.case("U25", "R15")
async def test_the_drill_outlives_the_keys(desk: Desk) -> None:
    """Former keys that come back (those of a secret, with the next start of a process) or that
    never went (in a process with a folder of its own) bring no URL back."""
    document_id = await desk.document()
    await desk.uploaded(document_id, DATA)
    pending = await desk.announce(await desk.document("b.pdf"), DATA, filename="b.pdf")
    old = await signed(desk, document_id)
    keys = desk.ws.process.kernel.keys_dir / KEY_FILE
    former = keys.read_bytes()
    await platform_admin(desk)
    await desk.storage(EVE).RevokeTransfers(pb.RevokeTransfersRequest(note="drill"))
    keys.write_bytes(former)
    keyring = Keyring.open(keys.parent, create=False)
    assert UrlSigner(keyring).is_live(old.url.partition("token=")[2], "GET")
    async with asyncio.timeout(20):
        # Until the process has looked at the file again.
        while not (await get(await signed(desk, document_id))).is_success:  # noqa: ASYNC110 - so
            await asyncio.sleep(0.1)
    assert (await get(old)).status_code == 403
    assert (await put(pending.transfer, DATA)).status_code == 403


async def test_a_repeat_revokes_nothing_anew(desk: Desk) -> None:
    epochs = Epochs(desk.ws.records)
    request = pb.RevokeTransfersRequest(project_id=desk.project_id, request_id=request_id())
    first = await desk.storage().RevokeTransfers(request)
    assert await desk.storage().RevokeTransfers(request) == first
    assert await epochs.of(desk.project_id) == "1"
    await asyncio.gather(
        *(epochs.advance(desk.project_id, by="u", note="") for _ in range(5))
    )
    assert await epochs.of(desk.project_id) == "6"


@pytest.mark.case("R14", "R15")
async def test_who_may(desk: Desk) -> None:
    revoke = desk.storage(BOB).RevokeTransfers
    refusal = await refused(revoke(pb.RevokeTransfersRequest(project_id=desk.project_id)))
    missing = await refused(revoke(pb.RevokeTransfersRequest(project_id="p_none")))
    assert refusal.code is missing.code is grpc.StatusCode.PERMISSION_DENIED
    assert (await refused(revoke(pb.RevokeTransfersRequest()))).reason == "PERMISSION_DENIED"
    owner = desk.storage(ANN).RevokeTransfers
    assert (await refused(owner(pb.RevokeTransfersRequest()))).reason == "PERMISSION_DENIED"
    assert await Epochs(desk.ws.records).of(desk.project_id) == ""
