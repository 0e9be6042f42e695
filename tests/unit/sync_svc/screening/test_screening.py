"""Every rule of screening, both ways, and a few surfaces that mean harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from workspace.identity.v1.machine_token_pb2 import MachineToken
from workspace.project.v1.document_pb2 import DerivedArtifact, FileInfo
from workspace.project.v1.grant_pb2 import Grant
from workspace.project.v1.history_pb2 import MetadataRecord, MetadataRecordType
from workspace.sync.v1.quarantine_pb2 import QuarantineReason as Why

from services.model.canonical import content_digest
from services.model.stamp import Stamp
from services.records.port import Item, Key
from services.records.siblings import Rows, sibling_key
from tests.unit.sync_svc.screening.made import (
    FILE,
    HLC,
    NOW_MS,
    PEER,
    US,
    document,
    event,
    project,
    rows,
    screened,
    side_by_side,
    with_item,
    with_members,
    with_stamp,
)

DAY = 24 * 3600 * 1000


def hlc(ms: int) -> str:
    return f"{ms:013d}.00000"


def conflict() -> Rows:
    return side_by_side(
        rows("project", project(name="A"), actor="na.1"),
        rows("project", project(name="B"), actor="nb.1"),
    )


def many(count: int) -> Rows:
    return side_by_side(
        *(rows("project", project(name=f"N{i}"), actor=f"n{i:03d}.1") for i in range(count))
    )


GOOD: dict[str, Callable[[], Rows]] = {
    "project": lambda: rows("project", project()),
    "document": lambda: rows("document", document()),
    "document without file": lambda: rows("document", document(file=None)),
    "event": event,
    "an event about an object": lambda: event(Key("OBJECT#o_1", f"EVENT#{HLC}#{PEER}#e1")),
    "tombstone": lambda: rows("project", project(), deleted=True),
    "stub of a purged record": lambda: with_stamp(
        rows("project", project(), deleted=True), vv={}, fields={}
    ),
    "an edit of a peer": lambda: rows(
        "project", project(name="New"), base=rows("project", project())
    ),
    "two versions": conflict,
    "sixteen versions": lambda: many(16),
    "members of newer software": lambda: rows("project", project(), zz_new={"a": [1, "x"]}),
    "exactly 24 h ahead": lambda: rows("project", project(), hlc=hlc(NOW_MS + DAY)),
    "a body of 64 KiB": lambda: rows("project", project(), zz="x" * (64 * 1024 - 400)),
    "an event of over 64 KiB": lambda: with_members(event(), zz="x" * 70_000),
    "local fields of a peer that serves": lambda: with_item(
        rows("document", document()),
        body=json.dumps(
            json.loads(rows("document", document()).item.body)  # type: ignore[union-attr]
            | {"account_id": "a_1"},
            sort_keys=True, separators=(",", ":"),
        ),
    ),
    "a member's time with six digits": lambda: with_members(
        event(), occurred_at="2026-11-21T09:28:50.063000Z"
    ),
    "nothing there": lambda: Rows(Key("PROJECT#p_1", "PROJECT#p_1"), None),
}

BAD: dict[str, tuple[Callable[[], Rows], Why.ValueType]] = {
    "no stamp": (
        lambda: with_item(rows("project", project()), stamp=""), Why.QUARANTINE_REASON_NO_VERSION
    ),
    "a broken stamp": (
        lambda: with_item(rows("project", project()), stamp='{"a":[]}'),
        Why.QUARANTINE_REASON_NO_VERSION,
    ),
    "a time that is none": (
        lambda: with_stamp(rows("project", project()), hlc="tomorrow"),
        Why.QUARANTINE_REASON_NO_VERSION,
    ),
    "a negative counter": (
        lambda: with_stamp(rows("project", project()), clock={PEER: -1}),
        Why.QUARANTINE_REASON_NO_VERSION,
    ),
    "a counter of 2^53": (
        lambda: with_stamp(rows("project", project()), clock={PEER: 2**53}),
        Why.QUARANTINE_REASON_COUNTER_RANGE,
    ),
    "our counter above ours in the clock": (
        lambda: with_stamp(rows("project", project()), clock={PEER: 1, US: 1}),
        Why.QUARANTINE_REASON_COUNTER_AHEAD,
    ),
    "written in our name": (
        lambda: rows("project", project(), actor=US), Why.QUARANTINE_REASON_COUNTER_AHEAD
    ),
    "an event forged in our name": (
        lambda: event(actor=US), Why.QUARANTINE_REASON_COUNTER_AHEAD
    ),
    "our counter above ours in a version beside": (
        lambda: side_by_side(
            rows("project", project(name="A"), actor="na.1"),
            rows("project", project(name="B"), actor=US),
        ),
        Why.QUARANTINE_REASON_COUNTER_AHEAD,
    ),
    "under the key of another project": (
        lambda: replace(
            rows("project", project()), key=Key("PROJECT#p_2", "PROJECT#p_2")
        ),
        Why.QUARANTINE_REASON_KEY_MISMATCH,
    ),
    "a grant of another project": (
        lambda: with_members(
            rows("project_grant", Grant(project_id="p_1", grant_id="g_1")), project_id="p_2"
        ),
        Why.QUARANTINE_REASON_KEY_MISMATCH,
    ),
    "a version beside that is of another record": (
        lambda: side_by_side(
            rows("project", project(name="A"), actor="na.1"),
            rows("project", project(project_id="p_2"), actor="nb.1"),
        ),
        Why.QUARANTINE_REASON_KEY_MISMATCH,
    ),
    "an event under another time": (
        lambda: event(Key("PROJECT#p_1", f"EVENT#{hlc(5)}#{PEER}#e1")),
        Why.QUARANTINE_REASON_KEY_MISMATCH,
    ),
    "an event under another actor": (
        lambda: event(Key("PROJECT#p_1", f"EVENT#{HLC}#{US}#e1")),
        Why.QUARANTINE_REASON_KEY_MISMATCH,
    ),
    "an event of another id": (
        lambda: event(Key("PROJECT#p_1", f"EVENT#{HLC}#{PEER}#e2")),
        Why.QUARANTINE_REASON_KEY_MISMATCH,
    ),
    "an event among rows of the kernel": (
        lambda: event(Key("INSTANCE", f"EVENT#{HLC}#{PEER}#e1")),
        Why.QUARANTINE_REASON_KEY_MISMATCH,
    ),
    "a tombstone where no such record can be": (
        lambda: replace(
            rows("project", project(), deleted=True), key=Key("PROJECT#p_1", "PROJECT#p_2")
        ),
        Why.QUARANTINE_REASON_KEY_MISMATCH,
    ),
    "a file of another document": (
        lambda: with_members(
            rows("document", document()), file={"storage_key": FILE.replace("d_1", "d_2")}
        ),
        Why.QUARANTINE_REASON_FOREIGN_STORAGE_KEY,
    ),
    "a pending file of another project": (
        lambda: with_members(
            rows("document", document()), pending_file={"storage_key": FILE.replace("p_1", "p_2")}
        ),
        Why.QUARANTINE_REASON_FOREIGN_STORAGE_KEY,
    ),
    "a file outside the tree": (
        lambda: with_members(rows("document", document()), file={"storage_key": "../../etc/x"}),
        Why.QUARANTINE_REASON_FOREIGN_STORAGE_KEY,
    ),
    "an artifact with another's file": (
        lambda: rows(
            "derived_artifact",
            DerivedArtifact(
                artifact_id="f_1", document_id="d_1", project_id="p_1", kind="text",
                file=FileInfo(filename="t", storage_key=FILE.replace("raw/", "derived/f_2/")),
            ),
        ),
        Why.QUARANTINE_REASON_FOREIGN_STORAGE_KEY,
    ),
    "a revision whose file is another document's": (
        lambda: rows("metadata_record", _of_another_file("file_attached")),
        Why.QUARANTINE_REASON_FOREIGN_STORAGE_KEY,
    ),
    "changed without its digest": (
        lambda: with_item(rows("project", project()), body='{"project_id":"p_1"}'),
        Why.QUARANTINE_REASON_DIGEST_MISMATCH,
    ),
    "a version beside that was changed without its digest": (
        lambda: _spoiled_sibling(), Why.QUARANTINE_REASON_DIGEST_MISMATCH
    ),
    "over 24 h ahead": (
        lambda: rows("project", project(), hlc=hlc(NOW_MS + DAY + 1)),
        Why.QUARANTINE_REASON_CLOCK_AHEAD,
    ),
    "a body over 64 KiB": (
        lambda: rows("project", project(), zz="x" * 64 * 1024), Why.QUARANTINE_REASON_TOO_LARGE
    ),
    "seventeen versions": (lambda: many(17), Why.QUARANTINE_REASON_TOO_MANY_SIBLINGS),
    "65 actors": (
        lambda: with_stamp(
            rows("project", project()), clock={PEER: 1, **{f"n{i}.1": 1 for i in range(64)}}
        ),
        Why.QUARANTINE_REASON_TOO_MANY_ACTORS,
    ),
    "a family of newer software": (
        lambda: with_item(rows("project", project()), family="hologram"),
        Why.QUARANTINE_REASON_SCHEMA_UNKNOWN,
    ),
    "a stamp of newer software": (
        lambda: with_item(
            rows("project", project()),
            stamp=rows("project", project()).item.stamp[:-1] + ',"q":1}',  # type: ignore[union-attr]
        ),
        Why.QUARANTINE_REASON_SCHEMA_UNKNOWN,
    ),
    "a status of newer software": (
        lambda: with_members(rows("project", project()), status="PROJECT_STATUS_HOLOGRAPHIC"),
        Why.QUARANTINE_REASON_SCHEMA_UNKNOWN,
    ),
    "a rule of the schema broken": (
        lambda: with_members(rows("project", project()), account_id="../a"),
        Why.QUARANTINE_REASON_INVALID,
    ),
    "a field of another type": (
        lambda: with_members(rows("project", project()), name=["x"]), Why.QUARANTINE_REASON_INVALID
    ),
    "a body that is no JSON": (
        lambda: with_item(rows("project", project()), body="{"), Why.QUARANTINE_REASON_INVALID
    ),
    "a body that is a list": (
        lambda: with_item(rows("project", project()), body="[]"), Why.QUARANTINE_REASON_INVALID
    ),
    "a member under its other name": (
        lambda: with_members(rows("project", project()), accountId="a_2", account_id=None),
        Why.QUARANTINE_REASON_INVALID,
    ),
    "a member twice": (
        lambda: with_item(
            rows("project", project()),
            body='{"restricted":true,' + rows("project", project()).item.body[1:],  # type: ignore[union-attr]
        ),
        Why.QUARANTINE_REASON_DIGEST_MISMATCH,
    ),
    "the same member twice": (
        lambda: with_item(
            rows("project", project()),
            body='{"name":"Evil",' + rows("project", project()).item.body[1:],  # type: ignore[union-attr]
        ),
        Why.QUARANTINE_REASON_INVALID,
    ),
    "a computed member": (
        lambda: with_members(rows("project", project()), my_permissions=["PERMISSION_OWNER"]),
        Why.QUARANTINE_REASON_INVALID,
    ),
    "an etag": (
        lambda: with_members(rows("project", project()), etag="x"), Why.QUARANTINE_REASON_INVALID
    ),
    "local fields in a version beside": (
        lambda: _sibling_with_local_fields(), Why.QUARANTINE_REASON_INVALID
    ),
    "a tombstone with a body": (
        lambda: with_members(rows("project", project(), deleted=True), name="x"),
        Why.QUARANTINE_REASON_INVALID,
    ),
    "a tombstone whose stamp is alive": (
        lambda: with_item(rows("project", project()), deleted=True), Why.QUARANTINE_REASON_INVALID
    ),
    "a deleted event": (
        lambda: _deleted_event(), Why.QUARANTINE_REASON_INVALID
    ),
    "a version named that is not there": (
        lambda: replace(conflict(), others={}), Why.QUARANTINE_REASON_INVALID
    ),
    "a version's row with another version": (
        lambda: _swapped_siblings(), Why.QUARANTINE_REASON_INVALID
    ),
    "a clock that does not cover its version": (
        lambda: with_stamp(rows("project", project()), clock={"nx.1": 1}),
        Why.QUARANTINE_REASON_INVALID,
    ),
    "a past that its clock does not know": (
        lambda: with_stamp(rows("project", project()), vv={PEER: 1, "nx.1": 7}),
        Why.QUARANTINE_REASON_INVALID,
    ),
    "a past that goes on after the version": (
        lambda: with_stamp(rows("project", project()), clock={PEER: 5}, vv={PEER: 5}),
        Why.QUARANTINE_REASON_INVALID,
    ),
    "a field written after its version": (
        lambda: with_stamp(
            rows("project", project()), clock={PEER: 9}, fields={"name": (PEER, 9)}
        ),
        Why.QUARANTINE_REASON_INVALID,
    ),
    "a family that never travels": (
        lambda: rows("machine_token", MachineToken(user_id="u_1", token_id="t_1")),
        Why.QUARANTINE_REASON_INVALID,
    ),
    "a row of the kernel": (
        lambda: with_item(rows("project", project()), family="instance"),
        Why.QUARANTINE_REASON_INVALID,
    ),
}


def _spoiled_sibling() -> Rows:
    found = conflict()
    key = next(iter(found.others))
    item = found.others[key]
    return replace(
        found, others={**found.others, key: replace(item, body=item.body.replace("A", "Z"))}
    )


def _sibling_with_local_fields() -> Rows:
    found = side_by_side(
        rows("document", document(name="A"), actor="na.1"),
        rows("document", document(name="B"), actor="nb.1"),
    )
    key = next(iter(found.others))
    wrapped = json.loads(found.others[key].body)
    wrapped["body"] = '{"account_id":"a_2",' + wrapped["body"][1:]
    item = replace(found.others[key], body=json.dumps(wrapped))
    return replace(found, others={**found.others, key: item})


def _swapped_siblings() -> Rows:
    found = conflict()
    one, two = found.others
    return replace(
        found,
        others={
            one: replace(found.others[two], key=one), two: replace(found.others[one], key=two)
        },
    )


def _deleted_event() -> Rows:
    given = with_stamp(event(), deleted=True)
    digest = content_digest("activity_event", True, {})
    return with_stamp(with_item(given, body="{}", deleted=True), digest=digest)


@pytest.mark.parametrize("name", GOOD)
def test_what_our_software_writes_passes(name: str) -> None:
    assert screened(GOOD[name]()) is None


@pytest.mark.parametrize("name", BAD)
def test_what_it_never_writes_is_refused_with_its_reason(name: str) -> None:
    make, reason = BAD[name]
    refusal = screened(make())
    assert refusal is not None
    assert Why.Name(refusal.reason) == Why.Name(reason), refusal.message
    assert refusal.message


def test_our_own_writes_come_back() -> None:
    ours = rows("project", project(), actor=US)
    assert screened(ours, local=ours) is None
    edit = rows("project", project(name="Theirs"), base=ours)
    assert screened(edit, local=ours) is None


def test_our_counter_above_ours_is_refused_where_we_wrote_less() -> None:
    first = rows("project", project(), actor=US)
    second = rows("project", project(name="B"), base=first, actor=US)
    refusal = screened(second, local=first)
    assert refusal is not None
    assert refusal.reason == Why.QUARANTINE_REASON_COUNTER_AHEAD


@pytest.mark.case("A18")
def test_the_limits_are_those_after_the_join() -> None:
    ours = rows("project", project(name="Ours"), actor=US)
    assert screened(many(15), local=ours) is None
    refusal = screened(many(16), local=ours)
    assert refusal is not None
    assert refusal.reason == Why.QUARANTINE_REASON_TOO_MANY_SIBLINGS

    crowd = with_stamp(
        rows("project", project()), clock={PEER: 1, **{f"n{i}.1": 1 for i in range(63)}}
    )
    assert screened(crowd) is None
    refusal = screened(crowd, local=ours)
    assert refusal is not None
    assert refusal.reason == Why.QUARANTINE_REASON_TOO_MANY_ACTORS


def test_a_key_of_another_family_here_is_refused() -> None:
    other = with_item(rows("project", project()), family="team")
    refusal = screened(rows("project", project()), local=other)
    assert refusal is not None
    assert refusal.reason == Why.QUARANTINE_REASON_INVALID


def test_a_version_that_is_here_is_not_judged_again() -> None:
    """What older software took must not stop a newer one from syncing."""
    odd = with_members(rows("project", project()), account_id="../a")
    assert screened(odd) is not None
    assert screened(odd, local=odd) is None


def test_a_suspended_record_passes() -> None:
    """One version beside the row, which shows something else (owner rule)."""
    gone = rows("project", project(), base=rows("project", project()), deleted=True)
    assert gone.item is not None
    stamp = Stamp.load(gone.item.stamp)
    key = sibling_key(gone.key, stamp.dot)
    beside = Item(
        key, "t", "sibling", json.dumps({"family": "project", "body": "{}"}), gone.item.stamp
    )
    shown = with_stamp(
        rows("project", project()), clock=stamp.clock, dot=stamp.dot, vv=stamp.vv,
        siblings=(stamp.dot,),
    )
    assert screened(replace(shown, others={key: beside})) is None


def _of_another_file(reason: str) -> MetadataRecord:
    record = MetadataRecord(
        metadata_record_id="m_1", document_id="d_1", project_id="p_1", reason=reason,
        record_type=MetadataRecordType.METADATA_RECORD_TYPE_LIFECYCLE,
        file=FileInfo(filename="a", storage_key=FILE.replace("d_1", "d_2")),
    )
    record.timestamp.FromSeconds(1)
    return record


def test_a_copy_says_of_which_file_it_is_one() -> None:
    assert screened(rows("metadata_record", _of_another_file("copied"))) is None
