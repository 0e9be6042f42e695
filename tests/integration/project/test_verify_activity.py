"""VerifyActivity against a store that was edited behind its back."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.account_pb2 import AccountRole
from workspace.project.v1 import history_service_pb2 as pb
from workspace.project.v1.document_service_pb2 import UpdateDocumentRequest
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest
from workspace.project.v1.project_service_pb2 import UpdateProjectRequest

from project_svc.history.activity_audit import verify_partition
from services.cli.audit_files import read_checkpoints, verify_export, write_export
from services.cli.failures import CliError
from services.model.activity_chain import Chain, End
from services.model.activity_entries import FaultKind
from services.model.canonical import canonical_json, content_digest
from services.model.seals import Checkpoint
from services.records.record import Activity
from tests.chosen_records import needs_sqlite
from tests.integration.project.files import create, documents, history, project, upload
from tests.integration.project.world import World, open_world, refused
from tests.security.tampering import kinds

Edit = Callable[[sqlite3.Connection, str], object]


async def _grown(world: World) -> str:
    """A project with six events: created, a grant, four names."""
    home = await project(world)
    await world.grants("ann").CreateGrant(
        CreateGrantRequest(
            project_id=home,
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            target_id="bob",
            permissions=[Permission.PERMISSION_VIEW],
        )
    )
    for number in range(4):
        await world.projects("ann").UpdateProject(
            UpdateProjectRequest(
                project={"project_id": home, "name": f"Name {number}"},
                update_mask={"paths": ["name"]},
            )
        )
    return home


async def _verify(world: World, **scope: str) -> Any:
    return await history(world, "ann").VerifyActivity(pb.VerifyActivityRequest(**scope))


def _edit(tmp_path: Path, home: str, edit: Edit) -> None:
    connection = sqlite3.connect(tmp_path / "workspace.sqlite")
    try:
        edit(connection, f"PROJECT#{home}")
        connection.commit()
    finally:
        connection.close()


def _events(db: sqlite3.Connection, pk: str) -> list[tuple[str, str, str]]:
    return db.execute(
        "SELECT sk, body, stamp FROM items WHERE pk = ? AND family = 'activity_event' ORDER BY sk",
        (pk,),
    ).fetchall()


def _write(db: sqlite3.Connection, pk: str, sk: str, **columns: str) -> None:
    for name, value in columns.items():
        db.execute(f"UPDATE items SET {name} = ? WHERE pk = ? AND sk = ?", (value, pk, sk))


async def test_an_unbroken_chain(world: World) -> None:
    home = await _grown(world)
    found = await _verify(world, project_id=home)
    assert (found.intact, found.verified_count, list(found.faults)) == (True, 6, [])


async def test_documents_and_accounts_have_chains_of_their_own(world: World) -> None:
    home = await project(world, account_id="a_one")
    made = await create(world, home)
    await upload(world, made.document_id, "x_one")
    await documents(world, "ann").UpdateDocument(
        UpdateDocumentRequest(
            document={"document_id": made.document_id, "title": "T"},
            update_mask={"paths": ["title"]},
        )
    )
    found = await _verify(world, document_id=made.document_id)
    assert (found.intact, list(found.faults)) == (True, [])
    assert found.verified_count >= 3
    await world.records.commit(
        "ACCOUNT#a_one", [], activity=Activity("account.updated", "accounts/a_one")
    )
    found = await _verify(world, account_id="a_one")
    assert (found.intact, found.verified_count) == (True, 1)


def _edited(db: sqlite3.Connection, pk: str) -> None:
    sk, body, _ = _events(db, pk)[2]
    _write(db, pk, sk, body=body.replace("Name 0", "Name X"))


def _edited_with_digest(db: sqlite3.Connection, pk: str) -> None:
    """The content of a record and the digest in its stamp."""
    body, stamp = db.execute(
        "SELECT body, stamp FROM items WHERE pk = ? AND sk = ?", (pk, pk)
    ).fetchone()
    members = json.loads(body) | {"name": "Forged"}
    content = {k: v for k, v in members.items() if k not in ("updated_at", "updated_by")}
    made = json.loads(stamp) | {"g": content_digest("project", False, content)}
    _write(db, pk, pk, body=canonical_json(members), stamp=json.dumps(made))


def _record_edited(db: sqlite3.Connection, pk: str) -> None:
    body = db.execute("SELECT body FROM items WHERE pk = ? AND sk = ?", (pk, pk)).fetchone()[0]
    _write(db, pk, pk, body=body.replace("Name 3", "Name 4"))


def _deleted(db: sqlite3.Connection, pk: str) -> None:
    db.execute("DELETE FROM items WHERE pk = ? AND sk = ?", (pk, _events(db, pk)[2][0]))


def _tail_cut(db: sqlite3.Connection, pk: str) -> None:
    db.execute("DELETE FROM items WHERE pk = ? AND sk = ?", (pk, _events(db, pk)[5][0]))


def _swapped(db: sqlite3.Connection, pk: str) -> None:
    one, two = _events(db, pk)[1:3]
    _write(db, pk, one[0], body=two[1], stamp=two[2])
    _write(db, pk, two[0], body=one[1], stamp=one[2])


def _head_back(db: sqlite3.Connection, pk: str) -> None:
    body = db.execute("SELECT body FROM items WHERE pk = ? AND sk = '#HEAD'", (pk,)).fetchone()[0]
    _write(db, pk, "#HEAD", body=json.dumps(json.loads(body) | {"commit_id": "f" * 32}))


def _record_gone(db: sqlite3.Connection, pk: str) -> None:
    db.execute("DELETE FROM items WHERE pk = ? AND family = 'project_grant'", (pk,))


def _record_slipped_in(db: sqlite3.Connection, pk: str) -> None:
    db.execute(
        "UPDATE items SET sk = 'GRANT#g_new' WHERE pk = ? AND sk = "
        "(SELECT min(sk) FROM items WHERE pk = ? AND family = 'project_grant')",
        (pk, pk),
    )


def _record_buried(db: sqlite3.Connection, pk: str) -> None:
    db.execute("UPDATE items SET deleted = 1 WHERE pk = ? AND family = 'project_grant'", (pk,))


def _unreadable(db: sqlite3.Connection, pk: str) -> None:
    _write(db, pk, _events(db, pk)[2][0], body="{")


@needs_sqlite
@pytest.mark.parametrize(
    ("edit", "text", "sequence"),
    [
        (_edited, "not what its digest says", 3),
        (_record_edited, "not what its digest says", 6),
        (_edited_with_digest, "not what its last event says", 6),
        (_deleted, "The event is missing", 3),
        (_tail_cut, "The event is missing", 6),
        (_swapped, "under the key of another", 2),
        (_head_back, "HEAD names another last event", 6),
        (_record_gone, "is missing", 2),
        (_record_buried, "not what its digest says", 2),
        (_record_slipped_in, "No event tells of", 0),
        (_unreadable, "not readable", 0),
    ],
)
async def test_tampering_is_found(
    world: World, tmp_path: Path, edit: Edit, text: str, sequence: int
) -> None:
    home = await _grown(world)
    await world.records.close()
    _edit(tmp_path, home, edit)
    async with open_world(tmp_path) as again:
        found = await verify_partition(again.records, await again.records.head(f"PROJECT#{home}"))
    assert not found.intact
    told = [(fault.partition_sequence, fault.text) for fault in found.faults]
    assert any(number == sequence and text in words for number, words in told), told


@needs_sqlite
async def test_at_most_a_hundred_breaks_are_listed(world: World, tmp_path: Path) -> None:
    pk = "ACCOUNT#a_one"
    for _ in range(150):
        await world.records.commit(pk, [], activity=Activity("account.updated", "accounts/a_one"))

    def cut(db: sqlite3.Connection, _: str) -> None:
        rows = _events(db, pk)
        db.executemany("DELETE FROM items WHERE pk = ? AND sk = ?", [(pk, r[0]) for r in rows[:-1]])

    _edit(tmp_path, "", cut)
    found = await _verify(world, account_id="a_one")
    assert (found.intact, found.verified_count, len(found.faults)) == (False, 1, 100)


async def test_needs_manage_access_and_something_that_is_there(world: World) -> None:
    home = await project(world)
    said = await refused(history(world, "bob").VerifyActivity(
        pb.VerifyActivityRequest(project_id=home)
    ))
    assert said.code is grpc.StatusCode.PERMISSION_DENIED
    said = await refused(history(world, "eve").VerifyActivity(
        pb.VerifyActivityRequest(account_id="a_one")
    ))
    assert said.code is grpc.StatusCode.PERMISSION_DENIED
    said = await refused(_verify(world, account_id="a_two"))
    assert (said.code, said.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


def test_a_head_that_says_anything_costs_no_more_than_what_is_listed() -> None:
    found = Chain("PROJECT#p_1", [], End(10**15, "f" * 32, "")).faults()
    assert [fault.sequence for fault in found] == [10**15, *range(1, 101)]


@pytest.mark.case("H06")
async def test_a_checkpoint_proves_its_own_chain_alone(world: World) -> None:
    home, other = await _grown(world), await project(world)
    kept = (await _verify(world, project_id=home)).checkpoint
    assert (await _verify(world, project_id=home, checkpoint=kept)).intact
    store = kept.split(" ")[2]
    for text in (
        (await _verify(world, project_id=other)).checkpoint,
        kept.replace(store, "n" + "0" * 16),
        kept.replace(" ", "  "),
        "activity-1",
        "x" * 2000,
    ):
        said = await refused(_verify(world, project_id=home, checkpoint=text))
        assert (said.code, said.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


def _link_by_hand(export: Path) -> str:
    """The last link of an export, by what docs/operations/audit.md says and no more."""
    first, *rows = [json.loads(line) for line in export.read_text().splitlines()]
    link, pk = "", first["checkpoint"].split(" ")[1]
    for row in rows:
        event = json.loads(row["content"])
        assert not link or event["previous_link"] == link
        text = "workspace.activity.event.1\n" + row["content"]
        digest = hashlib.sha256(text.encode()).hexdigest()
        number = int(event["partition_sequence"])
        before = event["previous_link"]
        parts = ["workspace.activity.link.1", pk, row["key"], number, before, digest]
        text = json.dumps(parts, separators=(",", ":"))
        link = f"{number}:{hashlib.sha256(text.encode()).hexdigest()}"
    return link


@needs_sqlite
@pytest.mark.case("H04")
async def test_a_chain_that_is_gone_as_a_whole_is_missed(world: World, tmp_path: Path) -> None:
    for _ in range(6):
        await world.records.commit(
            "ACCOUNT#a_one", [], activity=Activity("account.updated", "accounts/a_one")
        )
    kept = (await _verify(world, account_id="a_one")).checkpoint

    def take(db: sqlite3.Connection, _: str) -> None:
        db.execute("DELETE FROM items WHERE pk = 'ACCOUNT#a_one'")

    await world.records.close()
    _edit(tmp_path, "", take)
    async with open_world(tmp_path) as again:
        again.people.user("ann")
        again.people.account("a_one")
        again.people.member("a_one", "ann", AccountRole.ACCOUNT_ROLE_OWNER)
        said = await refused(_verify(again, account_id="a_one"))
        assert said.code is grpc.StatusCode.NOT_FOUND
        found = await _verify(again, account_id="a_one", checkpoint=kept)
    assert (found.intact, kinds(found.faults)) == (False, {("CUT", 6)})


async def test_checkpoints_of_a_project_come_with_those_of_its_documents(world: World) -> None:
    home = await project(world)
    made = [await create(world, home, f"{number}.txt") for number in range(3)]
    request = pb.ListActivityCheckpointsRequest(project_id=home, page_size=2)
    found: list[Any] = []
    while True:
        answer = await history(world, "ann").ListActivityCheckpoints(request)
        found += answer.checkpoints
        request.page_token = answer.next_page_token
        if not request.page_token:
            break
    wanted = [f"PROJECT#{home}", *sorted(f"DOCUMENT#{each.document_id}" for each in made)]
    assert [each.partition for each in found] == wanted
    assert all(Checkpoint.load(each.text).pk == each.partition for each in found)


async def test_proofs_are_the_texts_that_were_sealed(world: World, tmp_path: Path) -> None:
    home = await _grown(world)
    request = pb.ListActivityProofsRequest(project_id=home, page_size=4)
    first = await history(world, "ann").ListActivityProofs(request)
    request.page_token = first.next_page_token
    rest = await history(world, "ann").ListActivityProofs(request)
    assert (len(first.proofs), len(rest.proofs), rest.next_page_token) == (4, 2, "")
    file = tmp_path / "export.jsonl"
    assert write_export(file, first.checkpoint, [*first.proofs, *rest.proofs]) == 6
    found = verify_export(file)
    assert (found.partition, found.count, found.faults) == (f"PROJECT#{home}", 6, [])
    (kept := tmp_path / "kept").write_text("# none yet\n")
    with pytest.raises(CliError):  # nobody takes it for verified against a checkpoint
        read_checkpoints(kept)
    elsewhere = first.checkpoint.replace(first.checkpoint.split(" ")[2], "n" + "0" * 16)
    kept.write_text(f"{first.checkpoint}\n{elsewhere}\n")
    assert not verify_export(file, read_checkpoints(kept)).faults
    assert _link_by_hand(file) == first.checkpoint.split(" ")[4]
    assert write_export(file, first.checkpoint, [*first.proofs, *rest.proofs][:-1]) == 5
    assert [each.kind for each in verify_export(file).faults] == [FaultKind.CUT]
    for stub in (history(world, "bob"), history(world, "eve")):
        request.page_token = ""
        said = await refused(stub.ListActivityProofs(request))
        assert said.code is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.case("H09")
async def test_a_seal_is_shown_to_those_who_are_shown_everything(world: World) -> None:
    home = await _grown(world)
    request = pb.ListActivityRequest(project_id=home)
    for who, sealed in (("ann", True), ("bob", False)):
        shown = await history(world, who).ListActivity(request)
        assert shown.events
        for event in shown.events:
            seals = (event.previous_link, event.seal_nonce, event.sealed_digest)
            assert any(seals) == sealed
