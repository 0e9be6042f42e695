"""`wm doctor` recounts usage: counters are the sums of what is there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest import mock

from workspace.project.v1 import document_service_pb2 as ds
from workspace.storage.v1.upload_pb2 import FileStatus

from services.cli.doctor.finding import Finding, Verdict
from services.cli.doctor.run import examine
from services.cli.doctor.usage import recount
from services.records.port import Key, Match, Put
from services.records.record import Activity, Write
from storage_svc.upload_rows import UPLOADS, upload_key, upload_pk
from storage_svc.usage import Counters, Ledger, usage_pk
from tests.chosen_records import environment_of
from tests.harness import Workspace
from tests.integration.storage.people import ANN, Desk, request_id

DATA = b"count me\n" * 30


async def fill(desk: Desk) -> str:
    """Two revisions and an artifact of one document, and an upload under way."""
    document_id = await desk.document()
    await desk.uploaded(document_id, DATA)
    await desk.documents().CreateRevision(
        ds.CreateRevisionRequest(document_id=document_id, request_id=request_id())
    )
    await desk.uploaded(document_id, DATA + b"2")
    made = await desk.documents().CreateDerivedArtifact(
        ds.CreateDerivedArtifactRequest(document_id=document_id, kind="chunks", name="c.json")
    )
    artifact_id = made.artifact.artifact_id
    await desk.uploaded(document_id, DATA, artifact_id=artifact_id, filename="c.json")
    await desk.announce(await desk.document("b.pdf"), DATA, filename="b.pdf")
    return document_id


async def usage_of(data_dir: Path) -> Finding:
    with mock.patch.dict(os.environ, environment_of(data_dir)):
        return next(each for each in await examine(data_dir) if each.check == "usage")


async def test_a_recount_agrees_and_finds_what_does_not(tmp_path: Path) -> None:
    async with Workspace.open(tmp_path) as ws:
        await ws.sign_in(ANN)
        desk = Desk(ws)
        desk.project_id, home = await desk.new_project(), await desk.home()
        await fill(desk)
        data_dir = Path(ws.process.settings.data_dir)
    found = await usage_of(data_dir)
    assert found.verdict is Verdict.OK, found
    assert "3 files" in found.detail
    async with Workspace.open(tmp_path) as ws:
        item = await ws.records.get_row(Key(usage_pk(home), "TOTAL"))
        wrong = json.dumps(json.loads(item.body) | {"bytes": 1, "documents": 2})
        await ws.records.put_row(Put(item.key, Match(item.token), "usage", wrong))
    found = await usage_of(data_dir)
    assert found.verdict is Verdict.FAILED
    size = 3 * len(DATA) + 1
    assert found.examples == (
        f"home {home}: bytes is 1, not {size}", f"home {home}: documents is 2, not 1",
    )  # fmt: skip


async def test_files_of_before_usage_was_counted_are_counted_by_the_sweep(desk: Desk) -> None:
    home, records = await desk.home(), desk.ws.records
    done = await desk.uploaded(await desk.document(), DATA)
    ledger = Ledger(records, now=desk.ws.process.kernel.now)
    await ledger.remove(done.storage_key)
    record = await records.get(UPLOADS, upload_key(done.upload.upload_id))
    old = record.edit()
    old.file_status = FileStatus.FILE_STATUS_UNSPECIFIED
    await records.commit(
        upload_pk(old.upload_id),
        [Write(UPLOADS, old, base=record)],
        activity=Activity("test.aged", f"uploads/{old.upload_id}"),
    )
    assert await ledger.total(home) == Counters()
    for _ in range(2):
        await desk.collector().collect(desk.ws.process.kernel.now())
    assert await ledger.total(home) == Counters(documents=1, bytes=len(DATA))
    assert list((await recount(records.driver)).faults()) == []
