"""RelocateProject: files follow their project, whatever is cut off on the way."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import pytest
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.project.v1 import document_service_pb2 as ds
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1 import storage_service_pb2 as pb
from workspace.storage.v1.relocation_pb2 import RelocationStatus

from services.cli.doctor.finding import healthy
from services.cli.doctor.run import examine
from services.events.due import DueWork
from services.objects.port import StoreUnavailable
from services.records.port import DriverUnavailable
from storage_svc import old_objects, relocation
from storage_svc.gate import ProjectGate
from storage_svc.module import build_gate
from storage_svc.old_objects import GRACE_SECONDS, OldObjects
from storage_svc.relocation import Relocator
from storage_svc.relocation_rows import RelocationRows, State
from storage_svc.usage import Counters, Ledger
from tests.chosen_records import environment_of, needs_files
from tests.harness import Workspace
from tests.integration.storage.people import ANN, BOB, EVE, Desk, get, refused, request_id

FIRST, SECOND, CHUNKS, HELD = b"first\n" * 50, b"second\n" * 60, b"chunks\n" * 70, b"held\n" * 80
STRIDE = 1 if os.environ.get("WM_SOAK") == "1" else 9
FIRST_CALL = 1 if STRIDE == 1 else random.randint(1, STRIDE)
"""The crash test kills at each driver call; without WM_SOAK=1 at every ninth,
beginning anywhere, so that all of them are met in time."""
SUCCEEDED = RelocationStatus.RELOCATION_STATUS_SUCCEEDED


def projects(desk: Desk, who: str = ANN) -> Any:
    return desk.ws.stub(ProjectServiceStub, as_=who)


async def new_account(desk: Desk) -> str:
    stub: Any = desk.ws.stub(AccountServiceStub, as_=ANN)
    request = acs.CreateAccountRequest(name="Firm", type="client_org", request_id=request_id())
    return str((await stub.CreateAccount(request)).account.account_id)


async def move(desk: Desk, home_id: str) -> None:
    personal = home_id == await desk.home()
    target = {"workspace_id" if personal else "account_id": home_id}
    request = ps.AssignProjectRequest(
        project_id=desk.project_id, request_id=request_id(), **target
    )
    await projects(desk).AssignProject(request)


async def relocate(desk: Desk, who: str = ANN, **fields: Any) -> list[Any]:
    request = pb.RelocateProjectRequest(project_id=desk.project_id, **fields)
    return [message async for message in desk.storage(who).RelocateProject(request)]


async def revise(desk: Desk, document_id: str, data: bytes) -> None:
    await desk.documents().CreateRevision(
        ds.CreateRevisionRequest(document_id=document_id, request_id=request_id())
    )
    await desk.uploaded(document_id, data)


async def derive(desk: Desk, document_id: str, data: bytes) -> str:
    made = await desk.documents().CreateDerivedArtifact(
        ds.CreateDerivedArtifactRequest(
            document_id=document_id, kind="chunks", name="chunks.json", request_id=request_id()
        )
    )
    artifact_id = str(made.artifact.artifact_id)
    await desk.uploaded(document_id, data, artifact_id=artifact_id, filename="chunks.json")
    return artifact_id


async def bytes_of(desk: Desk, document_id: str, **fields: Any) -> bytes:
    request = pb.CreateDownloadRequest(document_id=document_id, **fields)
    response = await get((await desk.storage().CreateDownload(request)).transfer)
    assert response.status_code == 200
    return response.content


def machinery(desk: Desk) -> tuple[Relocator, OldObjects]:
    """As after a restart: nothing is remembered but what is stored."""
    kernel, gate = desk.ws.process.kernel, build_gate(desk.ws.process.channel)
    ledger = Ledger(kernel.records, now=kernel.now)
    old = OldObjects(kernel=kernel, gate=gate, ledger=ledger)
    return Relocator(kernel=kernel, gate=gate, ledger=ledger, old=old), old


async def let_due_work_finish(desk: Desk, *, later: float = GRACE_SECONDS + 60) -> None:
    """Everything that is due until then, run with a clock of that time."""
    kernel = desk.ws.process.kernel
    (relocator, _), (_, old) = machinery(desk), machinery(desk)
    old._kernel = _Shifted(kernel, later)  # type: ignore[assignment]
    handlers = {relocation.DUE_KIND: relocator.look, old_objects.DUE_KIND: old.look}
    for _ in range(4):  # the relocation's end schedules removals
        await DueWork(kernel.records, now=lambda: kernel.now() + later).run(handlers)


class _Shifted:
    """A kernel whose clock is ahead."""

    def __init__(self, kernel: Any, ahead: float) -> None:
        self._kernel, self._ahead = kernel, ahead

    def now(self) -> float:
        return float(self._kernel.now() + self._ahead)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)


@pytest.fixture
async def full(desk: Desk) -> tuple[Desk, str, str]:
    """A document with two revisions and an artifact."""
    document_id = await desk.document()
    await desk.uploaded(document_id, FIRST)
    await revise(desk, document_id, SECOND)
    return desk, document_id, await derive(desk, document_id, CHUNKS)


async def check_bytes(desk: Desk, document_id: str, artifact_id: str) -> None:
    assert await bytes_of(desk, document_id) == SECOND
    assert await bytes_of(desk, document_id, file_revision=1) == FIRST
    assert await bytes_of(desk, document_id, artifact_id=artifact_id) == CHUNKS


async def test_files_follow_the_project_to_its_home(full: tuple[Desk, str, str]) -> None:
    desk, document_id, artifact_id = full
    account = await new_account(desk)
    before = desk.files()
    await move(desk, account)
    messages = await relocate(desk)
    done = messages[-1].relocation
    assert (done.status, done.objects_planned, done.objects_done) == (SUCCEEDED, 3, 3)
    assert done.bytes_done == done.bytes_planned == len(FIRST) + len(SECOND) + len(CHUNKS)
    assert done.target_prefix == f"accounts/{account}/projects/{desk.project_id}/"
    assert messages[-1].consistency_token
    assert done.created_by == await desk.ws.sign_in(ANN)
    await check_bytes(desk, document_id, artifact_id)
    document = await desk.read(document_id)
    assert document.storage_key.startswith(done.target_prefix)
    assert document.storage_key == document.file.storage_key
    # The old objects are there while URLs that name them may live, and no longer.
    assert set(before) < set(desk.files())
    await let_due_work_finish(desk)
    assert all(key.startswith(done.target_prefix) for key in desk.files())
    assert len(desk.files()) == 3
    await check_bytes(desk, document_id, artifact_id)


async def test_a_url_signed_before_the_switch_works_to_its_end(
    full: tuple[Desk, str, str],
) -> None:
    desk, document_id, _ = full
    signed = await desk.storage().CreateDownload(pb.CreateDownloadRequest(document_id=document_id))
    await move(desk, await new_account(desk))
    # The move took no right from ann: her URL is good while the old object is there.
    await relocate(desk)
    assert (await get(signed.transfer)).content == SECOND


async def test_usage_moves_with_the_bytes(full: tuple[Desk, str, str]) -> None:
    desk, _, _ = full
    account, home = await new_account(desk), await desk.home()
    ledger = Ledger(desk.ws.records, now=desk.ws.process.kernel.now)
    size = len(FIRST) + len(SECOND) + len(CHUNKS)
    assert await ledger.total(home) == Counters(documents=1, bytes=size)
    await move(desk, account)
    await relocate(desk)
    assert await ledger.total(home) == Counters()
    assert await ledger.total(account) == Counters(documents=1, bytes=size)
    await let_due_work_finish(desk)
    assert await ledger.total(account) == Counters(documents=1, bytes=size)


async def test_there_and_back_before_the_old_objects_are_gone(
    full: tuple[Desk, str, str],
) -> None:
    desk, document_id, artifact_id = full
    account, home = await new_account(desk), await desk.home()
    for target in (account, home, account):
        await move(desk, target)
        assert (await relocate(desk))[-1].relocation.status == SUCCEEDED
    await let_due_work_finish(desk)
    await check_bytes(desk, document_id, artifact_id)
    assert len(desk.files()) == 3


async def test_a_plan_moves_nothing(full: tuple[Desk, str, str]) -> None:
    desk, _, _ = full
    await move(desk, await new_account(desk))
    before = desk.files()
    (message,) = await relocate(desk, dry_run=True)
    planned = message.relocation
    assert planned.status == RelocationStatus.RELOCATION_STATUS_PLANNING
    assert (planned.objects_planned, planned.objects_done) == (3, 0)
    assert desk.files() == before
    assert await RelocationRows(desk.ws.records).load(desk.project_id) is None


async def test_calling_again_attaches_and_resumes(full: tuple[Desk, str, str]) -> None:
    desk, _, _ = full
    await move(desk, await new_account(desk))
    request = request_id()
    messages = await relocate(desk, request_id=request)
    again = await relocate(desk, request_id=request)
    assert again[-1].relocation == messages[-1].relocation
    resumed = await relocate(desk, resume_token=messages[0].resume_token)
    assert resumed[-1].relocation == messages[-1].relocation
    stream = desk.storage().RelocateProject(
        pb.RelocateProjectRequest(project_id=desk.project_id, resume_token="bm9uc2Vuc2U")
    )
    refusal = await refused(_all(stream))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_LOST")
    await relocate(desk)  # another relocation: tokens of the first are lost
    stream = desk.storage().RelocateProject(
        pb.RelocateProjectRequest(
            project_id=desk.project_id, resume_token=messages[0].resume_token
        )
    )
    assert (await refused(_all(stream))).reason == "CURSOR_LOST"


async def _all(stream: Any) -> list[Any]:
    return [message async for message in stream]


async def test_who_may_and_when(full: tuple[Desk, str, str]) -> None:
    desk, _, _ = full
    call = desk.storage(BOB).RelocateProject(pb.RelocateProjectRequest(project_id=desk.project_id))
    mine = await refused(_all(call))
    call = desk.storage(EVE).RelocateProject(pb.RelocateProjectRequest(project_id="p_none"))
    missing = await refused(_all(call))
    assert (mine.code, missing.code) == (grpc.StatusCode.PERMISSION_DENIED,) * 2
    assert mine.message.replace(desk.project_id, "p_none") == missing.message
    call = desk.storage().RelocateProject(
        pb.RelocateProjectRequest(project_id=desk.project_id, etag='"stale"')
    )
    assert (await refused(_all(call))).reason == "ETAG_MISMATCH"
    await projects(desk).DeleteProject(ps.DeleteProjectRequest(project_id=desk.project_id))
    call = desk.storage().RelocateProject(pb.RelocateProjectRequest(project_id=desk.project_id))
    refusal = await refused(_all(call))
    assert (refusal.reason, refusal.metadata["state"]) == ("INVALID_STATE", "trashed")


async def test_a_hold_forbids_it_and_postpones_removals(full: tuple[Desk, str, str]) -> None:
    desk, document_id, artifact_id = full
    account = await new_account(desk)
    await move(desk, account)
    await relocate(desk)
    hold = ps.SetLegalHoldRequest(project_id=desk.project_id, legal_hold=True, reason="court")
    await projects(desk).SetLegalHold(hold)
    call = desk.storage().RelocateProject(pb.RelocateProjectRequest(project_id=desk.project_id))
    assert (await refused(_all(call))).reason == "HELD"
    await let_due_work_finish(desk)
    assert len(desk.files()) == 6
    hold.legal_hold = False
    await projects(desk).SetLegalHold(hold)
    await let_due_work_finish(desk, later=GRACE_SECONDS + 60 + 3700)
    assert len(desk.files()) == 3
    await check_bytes(desk, document_id, artifact_id)


async def test_files_in_the_trash_move_too(full: tuple[Desk, str, str]) -> None:
    desk, document_id, artifact_id = full
    await desk.documents().DeleteDocument(ds.DeleteDocumentRequest(document_id=document_id))
    await move(desk, await new_account(desk))
    assert (await relocate(desk))[-1].relocation.objects_done == 3
    await let_due_work_finish(desk)
    await desk.documents().RestoreDocument(ds.RestoreDocumentRequest(document_id=document_id))
    await check_bytes(desk, document_id, artifact_id)


async def test_uploads_of_before_and_during_the_move_complete(desk: Desk) -> None:
    before = await desk.sent(await desk.document("a.pdf"), FIRST, filename="a.pdf")
    account = await new_account(desk)
    await move(desk, account)
    during = await desk.sent(await desk.document("b.pdf"), SECOND, filename="b.pdf")
    assert during.storage_key.startswith(f"accounts/{account}/")
    await relocate(desk)
    for upload in (before, during):
        await desk.complete(upload.upload_id)
    (last,) = (await relocate(desk))[-1:]
    assert (last.relocation.status, last.relocation.objects_done) == (SUCCEEDED, 1)
    await let_due_work_finish(desk)
    assert await bytes_of(desk, before.document_id) == FIRST
    assert await bytes_of(desk, during.document_id) == SECOND
    # A completion that is repeated after the file moved is the same completion.
    assert (await desk.complete(before.upload_id)).document_id == before.document_id


@needs_files
async def test_a_damaged_file_stays_where_it_is(full: tuple[Desk, str, str]) -> None:
    desk, document_id, _ = full
    key = (await desk.read(document_id)).storage_key
    path = Path(desk.ws.process.settings.data_dir) / "objects" / key
    path.chmod(0o600)
    path.write_bytes(SECOND[:-1] + b"!")
    await move(desk, await new_account(desk))
    done = (await relocate(desk))[-1].relocation
    assert done.status == RelocationStatus.RELOCATION_STATUS_FAILED
    assert (done.objects_done, done.objects_failed) == (2, 1)
    assert done.failures[0].storage_key == key
    assert (await desk.read(document_id)).storage_key == key
    await let_due_work_finish(desk)
    assert key in desk.files()


class Dead:
    """A driver that fails at call `at`, before or after its effect, and at every
    call after that, until it is revived: what a killed process has left."""

    def __init__(self, calls: Counter, driver: Any, error: Exception) -> None:
        self._calls, self._driver, self._error = calls, driver, error

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._driver, name)
        if name in ("name", "capabilities", "sign", "open_read", "close", "identity"):
            return inner

        async def call(*args: Any, **kwargs: Any) -> Any:
            dies = self._calls.next()
            if dies and not self._calls.with_effect:
                raise self._error
            result = await inner(*args, **kwargs)
            if dies:
                self._calls.with_effect = False
                raise self._error
            return result

        return call


class Counter:
    """Counts calls of both drivers together."""

    def __init__(self, at: int, *, with_effect: bool) -> None:
        self.at, self.with_effect, self.seen = at, with_effect, 0

    def next(self) -> bool:
        self.seen += 1
        return self.seen >= self.at


async def interrupted(desk: Desk, at: int, *, with_effect: bool) -> bool:
    """A relocation that is cut off at its driver call `at`; False if it ended
    before that call."""
    kernel, calls = desk.ws.process.kernel, Counter(at, with_effect=with_effect)
    records, objects = kernel.records, kernel.objects
    alive = records._driver, objects._driver
    records._driver = Dead(calls, alive[0], DriverUnavailable("killed"))
    objects._driver = Dead(calls, alive[1], StoreUnavailable("killed"))
    try:
        await machinery(desk)[0].advance(desk.project_id)
    except Exception:
        pass
    finally:
        records._driver, objects._driver = alive
    return calls.seen >= at


async def _planned(desk: Desk) -> None:
    """The row of a relocation that nobody drives yet."""
    kernel = desk.ws.process.kernel
    rows = RelocationRows(kernel.records)
    state = await rows.load(desk.project_id)
    if state is None:
        (message,) = await relocate(desk, dry_run=True)
        state = State(message.relocation, 0, None)
    state.relocation.relocation_id = f"r_{state.version}"
    state.relocation.status = RelocationStatus.RELOCATION_STATUS_PLANNING
    await kernel.due.schedule(relocation.DUE_KIND, desk.project_id, kernel.now() + 30)
    assert await rows.save(state)


@pytest.mark.parametrize("with_effect", [False, True], ids=["before", "after"])
async def test_killed_at_every_driver_call_nothing_is_lost(
    desk: Desk, with_effect: bool
) -> None:
    document_id = await desk.document()
    await desk.uploaded(document_id, FIRST)
    await revise(desk, document_id, SECOND)
    homes = [await new_account(desk), await desk.home()]
    ledger = Ledger(desk.ws.records, now=desk.ws.process.kernel.now)
    wanted = Counters(documents=1, bytes=len(FIRST) + len(SECOND))
    at, rounds, reached = FIRST_CALL, 0, True
    while reached:
        target = homes[rounds % 2]
        await move(desk, target)
        await _planned(desk)
        reached = await interrupted(desk, at, with_effect=with_effect)
        assert await bytes_of(desk, document_id) == SECOND, at
        await let_due_work_finish(desk)
        state = await RelocationRows(desk.ws.records).load(desk.project_id)
        assert state is not None
        assert state.relocation.status == SUCCEEDED, at
        keys = desk.files()
        assert len(keys) == 2, (at, keys)
        assert all(f"/{target}/" in key for key in keys), (at, keys)
        assert await bytes_of(desk, document_id, file_revision=1) == FIRST, at
        assert await ledger.total(target) == wanted, at
        assert await ledger.total(homes[(rounds + 1) % 2]) == Counters(), at
        rounds += 1
        at += STRIDE
    assert at > 40, "the relocation makes more driver calls than that"


async def test_after_a_crash_doctor_finds_nothing_and_due_work_goes_on(tmp_path: Path) -> None:
    async with Workspace.open(tmp_path) as ws:
        await ws.sign_in(ANN)
        desk = Desk(ws)
        desk.project_id = await desk.new_project()
        document_id = await desk.document()
        await desk.uploaded(document_id, FIRST)
        account = await new_account(desk)
        await move(desk, account)
        await _planned(desk)
        assert await interrupted(desk, 25, with_effect=True)
        data_dir = Path(ws.process.settings.data_dir)
    with mock.patch.dict(os.environ, environment_of(data_dir)):
        findings = await examine(data_dir)
    assert healthy(findings), findings
    async with Workspace.open(tmp_path) as ws:
        await ws.sign_in(ANN)
        desk = Desk(ws, desk.project_id)
        await let_due_work_finish(desk)
        assert [key.split("/")[1] for key in desk.files()] == [account]
        assert await bytes_of(desk, document_id) == FIRST
    with mock.patch.dict(os.environ, environment_of(data_dir)):
        findings = await examine(data_dir)
    assert healthy(findings), findings
    assert [f.detail for f in findings if f.check == "orphans"] == [
        "every object is named by a record"
    ]


async def test_two_relocators_at_once_lose_nothing(full: tuple[Desk, str, str]) -> None:
    desk, document_id, artifact_id = full
    await move(desk, await new_account(desk))
    await _planned(desk)
    relocators = [machinery(desk)[0] for _ in range(2)]
    await asyncio.gather(*(each.advance(desk.project_id) for each in relocators))
    await let_due_work_finish(desk)
    await check_bytes(desk, document_id, artifact_id)
    assert len(desk.files()) == 3


async def test_an_old_object_whose_copy_is_gone_is_kept(full: tuple[Desk, str, str]) -> None:
    desk, document_id, _ = full
    await move(desk, await new_account(desk))
    await relocate(desk)
    key = (await desk.read(document_id)).storage_key
    await desk.ws.process.kernel.objects.delete(key)
    await let_due_work_finish(desk)
    left = [each for each in desk.files() if each.split("/", 2)[2] == key.split("/", 2)[2]]
    assert len(left) == 1, "the last copy of the bytes must not be removed"
    chunks = [each async for each in desk.ws.process.kernel.objects.open_read(left[0])]
    assert b"".join(chunks) == SECOND


def test_the_gate_is_the_only_way_to_the_records_of_documents() -> None:
    """The control of the crash test: it wraps what the relocation really uses."""
    assert {"files", "move_key"} <= set(vars(ProjectGate))
