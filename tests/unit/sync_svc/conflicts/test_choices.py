"""What a decision makes of the versions, and what it may not bring in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from workspace.common.v1.stamp_pb2 import Dot as DotMessage
from workspace.sync.v1.conflict_pb2 import Resolution

from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.stamp import Dot
from services.model.versions import Version
from sync_svc.conflicts.choices import Decision, decide, ours_of, require_kind
from sync_svc.conflicts.copies import kept_name, numbered
from sync_svc.conflicts.merging import merged_members

DOCUMENT = FAMILIES["document"]
ANN, BOB = ("nann.1", 2), ("nbob.1", 1)
FILE_A = {"storage_key": "k/a.txt", "sha256": "a" * 64}
FILE_B = {"storage_key": "k/b.txt", "sha256": "b" * 64}


def version(dot: Dot, *, hlc: str = "1", deleted: bool = False, **members: Any) -> Version:
    body = {"document_id": "d_1", "project_id": "p_1", "name": "plan.txt", **members}
    past = {"nann.1": 1}
    fields = dict.fromkeys(members, dot) | {
        name: ("nann.1", 1) for name in body if name not in members
    }
    text = "{}" if deleted else json.dumps(body, sort_keys=True, separators=(",", ":"))
    return Version(dot, {**past, dot[0]: dot[1]}, fields, hlc, text, text, deleted)


def message(dot: Dot) -> DotMessage:
    return DotMessage(actor=dot[0], counter=dot[1])


def made(resolution: Resolution, *versions: Version, family: Any = DOCUMENT) -> Decision:
    return decide(
        family, versions, merged_members(family, versions), resolution,
        instance_id="nann", shown=versions[0].dot,
    )  # fmt: skip


A = version(ANN, hlc="2", title="Ann's", file=FILE_A, storage_key="k/a.txt")
B = version(BOB, hlc="1", title="Bob's", file=FILE_B, storage_key="k/b.txt")
GONE = version(BOB, deleted=True)


def test_ours_is_the_version_written_here() -> None:
    decision = made(Resolution(ours=Resolution.Ours()), B, A)
    assert decision.members is not None
    assert decision.members["title"] == "Ann's"
    assert decision.supersedes == (ANN, BOB)


def test_ours_is_the_version_shown_when_none_or_several_were_written_here() -> None:
    other = version(("ncat.1", 1), title="Cat's")
    assert ours_of([B, other], "nann", BOB) is B
    later = version(("nann.2", 1), title="again")
    assert ours_of([A, later], "nann", later.dot) is later


def test_theirs_names_one_version_and_may_be_a_deletion() -> None:
    chosen = Resolution(theirs=Resolution.Theirs(dot=message(BOB)))
    kept = made(chosen, A, B).members
    assert kept is not None
    assert kept["title"] == "Bob's"
    assert made(chosen, A, GONE).members is None


def test_a_version_of_another_conflict_is_refused_by_name() -> None:
    with pytest.raises(WorkspaceError, match="read it again") as caught:
        made(Resolution(theirs=Resolution.Theirs(dot=message(("nx.1", 9)))), A, B)
    assert caught.value.violations[0].field == "resolution.theirs.dot"


def test_both_keeps_the_winner_and_makes_documents_of_the_others() -> None:
    decision = made(Resolution(both=Resolution.Both()), A, B)
    assert decision.members is not None
    assert decision.members["title"] == "Ann's"
    assert decision.losers == (B,)


def test_both_makes_nothing_of_a_deletion() -> None:
    assert made(Resolution(both=Resolution.Both()), A, GONE).losers == ()


def test_both_is_for_documents_only() -> None:
    project = FAMILIES["project"]
    with pytest.raises(WorkspaceError, match="is for documents"):
        made(Resolution(both=Resolution.Both()), A, B, family=project)


def test_fields_take_what_belongs_to_a_file_from_one_version() -> None:
    choices = {"file": message(BOB), "title": message(ANN)}
    decision = made(Resolution(fields=Resolution.Fields(choices=choices)), A, B)
    assert decision.members is not None
    assert decision.members["title"] == "Ann's"
    assert decision.members["file"] == FILE_B
    assert decision.members["storage_key"] == "k/b.txt"


@pytest.mark.parametrize(
    ("field", "dot", "text"),
    [
        ("nonsense", ANN, "no such field"),
        ("account_id", ANN, "no such field"),
        ("title", ("nx.1", 1), "read it again"),
    ],
)
def test_fields_that_cannot_be_chosen(field: str, dot: Dot, text: str) -> None:
    choices = {field: message(dot)}
    with pytest.raises(WorkspaceError, match=text) as caught:
        made(Resolution(fields=Resolution.Fields(choices=choices)), A, B)
    assert field in caught.value.violations[0].field


def test_a_field_of_a_deletion_is_refused() -> None:
    choices = {"title": message(BOB)}
    with pytest.raises(WorkspaceError, match="choose `delete`"):
        made(Resolution(fields=Resolution.Fields(choices=choices)), A, GONE)


def body(**changes: Any) -> Resolution:
    members = {**json.loads(A.body), **changes}
    struct = Struct()
    struct.update(members)
    return Resolution(body=Resolution.Body(body=struct))


def test_a_body_may_bring_text_that_no_version_has() -> None:
    decision = made(body(title="Both of ours", concept_tags=["x"]), A, B)
    assert decision.members is not None
    assert decision.members["title"] == "Both of ours"


@pytest.mark.parametrize(
    "change",
    [
        {"storage_key": "documents/of/others"},
        {"project_id": "p_2"},
        {"classification": "CLASSIFICATION_PUBLIC"},
        {"owner_id": "u_me"},
        {"file": {"storage_key": "documents/of/others", "sha256": "c" * 64}},
    ],
)
def test_a_body_is_no_way_around_the_rules(change: dict[str, Any]) -> None:
    with pytest.raises(WorkspaceError, match="one of the versions"):
        made(body(**change), A, B)


def test_a_body_takes_a_file_from_one_version_whole() -> None:
    with pytest.raises(WorkspaceError, match="must come from one version together"):
        made(body(file=FILE_B), A, B)
    whole = made(body(file=FILE_B, storage_key="k/b.txt"), A, B)
    assert whole.members is not None


def test_a_body_of_another_shape_names_the_trouble() -> None:
    with pytest.raises(WorkspaceError, match="is no document"):
        made(body(unheard_of=1), A, B)


def test_delete_supersedes_all() -> None:
    decision = made(Resolution(delete=Resolution.Delete()), A, B)
    assert decision.members is None
    assert decision.supersedes == (ANN, BOB)


@pytest.mark.parametrize("choice", ["both", "delete", "body", "fields"])
def test_history_is_decided_by_choosing_one_of_its_versions(choice: str) -> None:
    resolution = Resolution()
    getattr(resolution, choice).SetInParent()
    with pytest.raises(WorkspaceError) as caught:
        require_kind("integrity", resolution)
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_STATE
    require_kind("edit_edit", resolution)


@pytest.mark.parametrize(
    ("name", "attempt", "wanted"),
    [
        ("plan.txt", 0, "plan (nbob).txt"),
        ("plan.txt", 1, "plan (nbob 2).txt"),
        ("README", 0, "README (nbob)"),
        (".env", 0, ".env (nbob)"),
    ],
)
def test_the_name_of_a_kept_loser(name: str, attempt: int, wanted: str) -> None:
    assert kept_name(name, "nbob", attempt) == wanted


def test_a_long_name_is_cut_before_its_extension() -> None:
    kept = kept_name("x" * 198 + ".t", "nbob")
    assert len(kept) == 200
    assert kept.endswith(" (nbob).t")


def test_several_losers_of_one_name_are_numbered() -> None:
    assert [numbered("a.txt", at) for at in range(3)] == ["a.txt", "a 2.txt", "a 3.txt"]
    assert numbered("", 3) == ""
