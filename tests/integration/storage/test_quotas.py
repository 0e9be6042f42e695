"""Quotas and usage: reserved at the announcement, exact ever after."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import grpc
import pytest
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.project.v1 import document_service_pb2 as ds
from workspace.storage.v1 import storage_service_pb2 as pb
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from services.model.errors import Reason, WorkspaceError
from services.records.port import ConditionFailed, Key, Put
from storage_svc.collection import GRACE_SECONDS
from storage_svc.usage import Counters, Ledger, Quota, usage_pk
from tests.integration.storage.people import ANN, BOB, EVE, Desk, refused, request_id, sha256

DATA = b"0123456789" * 10
LATE = 24 * 3600 + GRACE_SECONDS + 1


def ledger(desk: Desk) -> Ledger:
    return Ledger(desk.ws.records, now=desk.ws.process.kernel.now)


def accounts(desk: Desk, who: str = ANN) -> Any:
    return desk.ws.stub(AccountServiceStub, as_=who)


async def limit(desk: Desk, home_id: str, **quotas: int) -> None:
    """Eve, the platform admin, sets quotas."""
    platform: Any = desk.ws.stub(IdentityServiceStub, as_=EVE)
    secret = (desk.ws.process.kernel.keys_dir / "local.secret").read_text().strip()
    await platform.BootstrapPlatformAdmin(
        ids.BootstrapPlatformAdminRequest(bootstrap_secret=secret)
    )
    request = acs.UpdateAccountRequest(account=ac.Account(account_id=home_id, **quotas))
    request.update_mask.paths.extend(quotas)
    await accounts(desk, EVE).UpdateAccount(request)


@pytest.mark.case("A15")
async def test_of_fifty_uploads_at_once_exactly_as_many_succeed_as_fit(desk: Desk) -> None:
    home = await desk.home()
    documents = [await desk.document(f"{n}.pdf") for n in range(50)]
    await limit(desk, home, quota_documents=10)
    made = await asyncio.gather(
        *(desk.announce(each, DATA, filename=f"{each}.pdf") for each in documents),
        return_exceptions=True,
    )
    refusals = [each for each in made if isinstance(each, grpc.aio.AioRpcError)]
    assert (len(made) - len(refusals), len(refusals)) == (10, 40)
    assert {each.code() for each in refusals} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert await ledger(desk).total(home) == Counters(
        reserved_documents=10, reserved_bytes=10 * len(DATA)
    )


@pytest.mark.case("A15")
async def test_one_byte_too_many_is_one_upload_too_many(desk: Desk) -> None:
    home = await desk.home()
    documents = [await desk.document(f"{n}.pdf") for n in range(12)]
    await limit(desk, home, quota_bytes=12 * len(DATA) - 1)
    made = await asyncio.gather(
        *(desk.announce(each, DATA, filename=f"{each}.pdf") for each in documents),
        return_exceptions=True,
    )
    refusals = [each for each in made if isinstance(each, grpc.aio.AioRpcError)]
    assert [each.code() for each in refusals] == [grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert (await ledger(desk).total(home)).reserved_bytes == 11 * len(DATA)


@pytest.mark.case("A15")
async def test_reservations_of_two_processes_are_one_decision(desk: Desk) -> None:
    """Ledgers that share no lock: the condition on the sum alone decides."""
    home, quota = await desk.home(), Quota(documents=10)
    key = f"workspaces/{home}/projects/p/documents/{{}}/raw/a.txt"
    made = await asyncio.gather(
        *(
            ledger(desk).reserve(key.format(f"d{n}"), f"x{n}", 1, quota)
            for n in range(50)
        ),
        return_exceptions=True,
    )
    assert sum(each is None for each in made) == 10
    assert all(isinstance(each, WorkspaceError) for each in made if each is not None)


async def test_without_the_condition_too_many_would_succeed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above: it does see a lost update."""
    records, home = desk.ws.records, await desk.home()
    put_rows = records.put_rows
    waiting, all_have_read = iter(range(49, -1, -1)), asyncio.Event()

    async def unconditional(puts: list[Put]) -> Any:
        if next(waiting, 0) == 0:
            all_have_read.set()
        await all_have_read.wait()
        while True:
            items = [await records.get_row(put.key) for put in puts]
            again = [
                Put(put.key, _as_it_is(item), put.family, put.body, deleted=put.deleted)
                for put, item in zip(puts, items, strict=True)
            ]
            with suppress(ConditionFailed):
                return await put_rows(again)

    monkeypatch.setattr(type(records), "put_rows", lambda _, puts: unconditional(puts))
    key = f"workspaces/{home}/projects/p/documents/{{}}/raw/a.txt"
    made = await asyncio.gather(
        *(
            ledger(desk).reserve(key.format(f"d{n}"), f"x{n}", 1, Quota(documents=10))
            for n in range(50)
        ),
        return_exceptions=True,
    )
    assert sum(each is None for each in made) > 10


def _as_it_is(item: Any) -> Any:
    from services.records.port import ABSENT, Match

    return ABSENT if item is None else Match(item.token)


async def test_what_is_left_is_told_and_room_comes_back(desk: Desk) -> None:
    home = await desk.home()
    await limit(desk, home, quota_bytes=250)
    uploads = [
        (await desk.announce(await desk.document(f"{n}.pdf"), DATA, filename=f"{n}.pdf")).upload
        for n in range(2)
    ]
    third = await desk.document("2.pdf")
    refusal = await refused(desk.announce(third, DATA, filename="2.pdf"))
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED",
    )  # fmt: skip
    assert refusal.metadata == {"quota": "bytes", "maximum": "250", "remaining": "50"}
    assert (await refused(desk.announce_parts(third, DATA))).reason == "QUOTA_EXCEEDED"
    await desk.storage().AbortUpload(pb.AbortUploadRequest(upload_id=uploads[0].upload_id))
    await desk.announce(third, DATA, filename="2.pdf")


async def test_used_and_reserved_follow_an_upload(desk: Desk) -> None:
    home, size = await desk.home(), len(DATA)
    document_id = await desk.document()
    wanted = request_id()
    upload = await desk.sent(document_id, DATA, request_id=wanted)
    await desk.announce(document_id, DATA, request_id=wanted)  # a repeat reserves nothing
    reserved = Counters(reserved_documents=1, reserved_bytes=size)
    assert await ledger(desk).total(home) == reserved
    await desk.complete(upload.upload_id)
    await desk.complete(upload.upload_id)
    used = Counters(documents=1, bytes=size)
    assert await ledger(desk).total(home) == used
    await desk.documents().CreateRevision(
        ds.CreateRevisionRequest(document_id=document_id, request_id=request_id())
    )
    await desk.uploaded(document_id, DATA + b"more")
    assert await ledger(desk).total(home) == Counters(documents=1, bytes=2 * size + 4)
    assert await ledger(desk).project(home, desk.project_id) == await ledger(desk).total(home)


@pytest.mark.case("U20")
async def test_collection_gives_room_back(desk: Desk) -> None:
    home = await desk.home()
    await desk.sent(await desk.document(), DATA)
    await desk.collector().collect(desk.ws.process.kernel.now() + LATE)
    assert await ledger(desk).total(home) == Counters()


async def test_a_reservation_whose_upload_was_never_stored_is_released(desk: Desk) -> None:
    home = await desk.home()
    key = f"workspaces/{home}/projects/p/documents/d/raw/a.txt"
    await ledger(desk).reserve(key, "x_lost", 5, Quota())
    assert (await ledger(desk).total(home)).reserved_bytes == 5
    assert await desk.collector().look(f"{home}/x_lost") is None
    assert await ledger(desk).total(home) == Counters()


async def test_deleting_an_object_gives_room_back_once(desk: Desk) -> None:
    home = await desk.home()
    done = await desk.uploaded(await desk.document(), DATA)
    deleting: Any = desk.ws.service_stub(StorageServiceStub, service="project_svc")
    for _ in range(2):
        await deleting.DeleteObject(
            pb.DeleteObjectRequest(storage_key=done.storage_key, sha256=sha256(DATA))
        )
    assert await ledger(desk).total(home) == Counters()


async def test_usage_by_account_project_and_billing_scope(desk: Desk) -> None:
    home, first = await desk.home(), desk.project_id
    await desk.uploaded(await desk.document(), DATA)
    desk.project_id = await desk.new_project()
    await desk.uploaded(await desk.document(), DATA)
    await desk.sent(await desk.document("b.pdf"), DATA, filename="b.pdf")
    ask = accounts(desk).GetUsage
    answer = await ask(acs.GetUsageRequest(account_id=home))
    assert (answer.total.documents, answer.total.bytes) == (2, 2 * len(DATA))
    assert (answer.total.reserved_documents, answer.total.reserved_bytes) == (1, len(DATA))
    assert list(answer.rows) == [answer.total]
    by_project = acs.GetUsageRequest(
        account_id=home, group_by=acs.UsageGrouping.USAGE_GROUPING_PROJECT, page_size=1
    )
    one = await ask(by_project)
    by_project.page_token = one.next_page_token
    other = await ask(by_project)
    assert not other.next_page_token
    found = {row.project_id for page in (one, other) for row in page.rows}
    assert found == {first, desk.project_id}
    by_scope = acs.GetUsageRequest(
        account_id=home, group_by=acs.UsageGrouping.USAGE_GROUPING_BILLING_SCOPE
    )
    (row,) = (await ask(by_scope)).rows
    assert (row.billing_scope, row.documents) == ("", 2)
    only = await ask(acs.GetUsageRequest(account_id=home, project_id=first))
    assert only.rows[0].bytes == len(DATA)
    by_project.group_by = acs.UsageGrouping.USAGE_GROUPING_BILLING_SCOPE
    assert (await refused(ask(by_project))).reason == "INVALID_PAGE_TOKEN"


async def test_usage_is_for_managers_and_the_platform(desk: Desk) -> None:
    home = await desk.home()
    request = acs.GetUsageRequest(account_id=home)
    assert (await refused(accounts(desk, BOB).GetUsage(request))).reason == "PERMISSION_DENIED"
    await limit(desk, home, quota_bytes=7, quota_documents=3)
    answer = await accounts(desk, EVE).GetUsage(request)
    assert (answer.quota_bytes, answer.quota_documents) == (7, 3)


async def test_the_rows_of_a_home_are_the_sum_of_their_parts(desk: Desk) -> None:
    home = await desk.home()
    await desk.uploaded(await desk.document(), DATA)
    item = await desk.ws.records.get_row(Key(usage_pk(home), "TOTAL"))
    assert item is not None
    assert item.family == "usage"


async def test_changes_that_are_made_together_are_decided_one_by_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = await desk.home()
    key = f"workspaces/{home}/projects/{desk.project_id}/documents/d{{}}/raw/a.pdf"
    ours, commits, real = ledger(desk), 0, desk.ws.records.put_rows

    async def put_rows(puts: Any) -> Any:
        nonlocal commits
        commits += 1
        return await real(puts)

    monkeypatch.setattr(desk.ws.records, "put_rows", put_rows)
    asked = [ours.reserve(key.format(n), f"x{n}", 10, Quota(bytes=105)) for n in range(40)]
    made = await asyncio.gather(*asked, return_exceptions=True)
    assert [each for each in made[:10] if each is not None] == []
    assert {each.reason for each in made[10:]} == {Reason.ERROR_REASON_QUOTA_EXCEEDED}  # type: ignore[union-attr]
    assert commits < 6, "those who wait go together"
    mixed = [ours.settle(key.format(n), f"x{n}", 10) for n in range(5)]
    mixed += [ours.release(key.format(n), f"x{n}") for n in range(5, 10)]
    tasks = [asyncio.ensure_future(each) for each in mixed]
    await asyncio.sleep(0)
    tasks[0].cancel()
    assert [type(each) for each in await asyncio.gather(*tasks, return_exceptions=True)][1:] == (
        [type(None)] * 9
    )
    await ours.settle(key.format(0), "x0", 10)
    assert await ours.total(home) == Counters(documents=5, bytes=50)
