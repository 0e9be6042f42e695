"""What a workspace of the suite holds, and how two surfaces are compared by hand."""

from __future__ import annotations

import json
from typing import Any

from workspace.project.v1.document_pb2 import Document
from workspace.project.v1.grant_pb2 import Grant
from workspace.project.v1.project_pb2 import Project

from services.model.stamp import Stamp
from services.records.port import Item, Key
from services.records.siblings import SIBLING
from sync_svc.engine.compare import compare
from sync_svc.engine.reading import is_synced
from tests.conformance.sync.kinds import Rig
from tests.unit.sync_svc.engine.world import PUSH, same
from tests.unit.sync_svc.objects.world import artifact, file_info, put_object, revision
from tests.unit.sync_svc.objects.world import document as made_document

NAME = "Übersicht 概要 🙂\n\"quoted\" \\ and a tab\t"
LONG = "é\u2028 " * 300
FILES = {"d_plan": b"plan" * 1000, "d_photo": bytes(range(256)) * 1024, "d_empty": b""}


def with_file(document_id: str, data: bytes, **more: Any) -> Document:
    """A document with its file. (The account is what project_svc adds to it from the
    project, in each workspace for itself.)"""
    return made_document(document_id, data, account_id="", **more)


async def furnish(rig: Rig, *, on: str = "local") -> None:
    """A project with people, documents with files, an artifact, history, a tombstone."""
    await rig.write(Project(project_id="p_1", name=NAME, account_id="a_1"), on=on)
    await rig.write(Grant(project_id="p_1", grant_id="g_1"), on=on)
    objects = rig.surfaces[on].objects
    for document_id, data in FILES.items():
        made = with_file(document_id, data, extraction_summary=LONG)
        await put_object(objects, made.storage_key, data)
        await rig.write(made, on=on)
        await rig.write(revision(document_id, file_info(document_id, data)), on=on)
    parts = artifact("d_plan", b"chunks")
    await put_object(objects, parts.file.storage_key, b"chunks")
    await rig.write(parts, on=on)
    gone = Document(document_id="d_gone", project_id="p_1", name="gone")
    await rig.write(gone, on=on)
    await rig.write(gone, on=on, deleted=True)


async def rows(rig: Rig, name: str) -> dict[Key, Any]:
    """Every row of the synced families and of the versions beside them, without what
    each surface has for itself: the token, and from where a version came."""
    found: dict[Key, Any] = {}
    after: Key | None = None
    while items := await rig.surfaces[name].records.scan(after, 500):
        found |= {
            item.key: _row(item) for item in items
            if is_synced(item) or (item.family == SIBLING and not item.deleted)
        }  # fmt: skip
        after = items[-1].key
    return found


def _row(item: Item) -> Any:
    stamp: Any = item.stamp
    if is_synced(item):
        stamp = json.loads(item.stamp)
        stamp.pop("o", None)
        assert Stamp.load(item.stamp)
    return (item.family, item.body, stamp, item.deleted, item.expires_at, dict(item.indexes))


async def objects(rig: Rig, name: str) -> dict[str, bytes]:
    """Every object, read to its end."""
    store = rig.surfaces[name].objects
    found: dict[str, bytes] = {}
    after: str | None = None
    while True:
        page = await store.list("", after)
        for info in page.objects:
            found[info.key] = b"".join([chunk async for chunk in store.open_read(info.key)])
        after = page.next
        if after is None:
            return found


async def differences(rig: Rig, local: str = "local", remote: str = "remote") -> list[Any]:
    """What a comparison finds, by key and kind, with every byte read."""
    task = rig.task(PUSH, local, remote)
    found = compare(task, include_objects=True, read_bytes=True)
    return [(each.key.pk, each.key.sk, each.kind, each.storage_key) async for each in found]


async def assert_equal(rig: Rig, local: str = "local", remote: str = "remote") -> None:
    """Both hold the same: by versions, by rows, by bytes, and as a comparison says."""
    assert same(await rig.states(local), await rig.states(remote))
    assert await rows(rig, local) == await rows(rig, remote)
    assert await objects(rig, local) == await objects(rig, remote)
    assert await differences(rig, local, remote) == []


async def in_step(rig: Rig, local: str = "local", remote: str = "remote") -> None:
    """Push, pull, and whatever a conflict found by the pull still has to send."""
    await rig.push(local, remote)
    await rig.pull(local, remote)
    await rig.push(local, remote)
