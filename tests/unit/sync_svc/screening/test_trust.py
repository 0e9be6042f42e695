"""What a surface that is trusted with content only may not change."""

from __future__ import annotations

import json
from typing import Any

import pytest
from workspace.common.v1.activity_pb2 import RecordChange
from workspace.project.v1.document_pb2 import FileInfo
from workspace.sync.v1.connection_pb2 import Connection, Trust

from services.model.families import FAMILIES
from services.records.port import Key
from services.records.siblings import Rows
from sync_svc.engine.trust import TAKEN, held_fields, is_content_only, is_taken
from tests.unit.sync_svc.screening.made import (
    FILE,
    document,
    event,
    project,
    rows,
    side_by_side,
    state,
    with_members,
    with_stamp,
)

OTHER_FILE = FILE.replace("plan.pdf", "plan.r2-12345678.pdf")


def test_content_only_is_the_default() -> None:
    assert is_content_only(Connection())
    assert is_content_only(Connection(trust=Trust.TRUST_CONTENT_ONLY))
    assert not is_content_only(Connection(trust=Trust.TRUST_FULL))


def test_rights_and_people_are_not_content() -> None:
    synced = {name for name, family in FAMILIES.items() if family.synced}
    assert synced - TAKEN == {
        "user", "identity_link", "platform_admin", "account", "account_member",
        "notification_routing", "team", "team_member", "invitation", "notification_preference",
        "project_grant", "access_request",
    }


def held(theirs: Rows, mine: Rows | None, **more: Any) -> tuple[str, ...]:
    return held_fields(state(theirs), state(mine) if mine else None, **more)


POLICY_CHANGES: dict[str, dict[str, Any]] = {
    "restricted": {"restricted": True},
    "visibility": {"visibility": "VISIBILITY_PUBLIC"},
    "status": {"status": "PROJECT_STATUS_TRASHED"},
    "account_id": {"account_id": "a_2"},
    "team_id": {"team_id": "t_1"},
    "workspace_id": {"workspace_id": "u_9"},
    "created_by": {"created_by": "u_evil"},
    "legal_hold": {"legal_hold": True},
    "purge_after": {"purge_after": "2026-01-01T00:00:00Z"},
}


@pytest.mark.parametrize("name", POLICY_CHANGES)
def test_policy_of_a_project_stays(name: str) -> None:
    mine = rows("project", project())
    edit = rows("project", project(description="x"), base=mine, actor="npeer.2")
    assert held(with_members(edit, **POLICY_CHANGES[name]), mine) == (name,)
    assert held(edit, mine) == ()


def test_policy_that_is_taken_away_is_a_change() -> None:
    mine = with_members(rows("project", project()), restricted=True)
    edit = rows("project", project(description="x"), base=mine, actor="npeer.2")
    assert held(edit, mine) == ("restricted",)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("project_id", {"project_id": "p_2"}),
        ("owner_type", {"owner_type": "user"}),
        ("owner_id", {"owner_id": "u_evil"}),
        ("classification", {"classification": "CLASSIFICATION_PUBLIC"}),
        ("file.storage_key", {"file": {"storage_key": OTHER_FILE}}),
    ],
)
def test_policy_of_a_document_stays(name: str, changes: dict[str, Any]) -> None:
    mine = rows("document", document())
    edit = rows("document", document(title="x"), base=mine, actor="npeer.2")
    assert held(with_members(edit, **changes), mine) == (name,)
    assert held(edit, mine) == ()


def test_a_first_file_may_come() -> None:
    mine = rows("document", document(file=None))
    first = rows(
        "document", document(file=FileInfo(filename="plan.pdf", storage_key=FILE)), base=mine
    )
    assert held(first, mine) == ()


def test_projects_are_neither_created_nor_deleted_nor_brought_back() -> None:
    mine = rows("project", project())
    gone = rows("project", project(), base=mine, actor="npeer.2", deleted=True)
    assert held(mine, None)
    assert held(gone, mine) == ("status",)
    back = rows("project", project(), base=gone, actor="npeer.3")
    assert held(back, gone)
    assert held(gone, None) == ()


def test_a_new_document_needs_its_project_here() -> None:
    new = rows("document", document())
    assert held(new, None, project_here=True) == ()
    assert held(new, None, project_here=False) == ("project_id",)


def test_a_document_may_be_deleted() -> None:
    mine = rows("document", document())
    gone = rows("document", document(), base=mine, actor="npeer.2", deleted=True)
    assert held(gone, mine) == ()


def test_a_version_beside_is_held_although_it_is_not_shown() -> None:
    """It would be taken on from here, and win when the other is gone."""
    mine = rows("project", project())
    tame = rows("project", project(name="Tame"), base=mine, actor="nz.9")
    wild = with_members(rows("project", project(), base=mine, actor="na.1"), restricted=True)
    assert held(side_by_side(tame, wild), mine) == ("restricted",)


def test_dropping_a_version_that_restrains_is_a_change() -> None:
    """No new version comes, but what is shown would be another policy."""
    base = rows("project", project())
    open_ = rows("project", project(), base=base, actor="na.1")
    closed = with_members(
        rows("project", project(), base=base, actor="nb.1", hlc="1790000000500.00000"),
        restricted=True,
    )
    mine = side_by_side(open_, closed)
    knows = state(mine).clock
    only_open = with_stamp(open_, clock=knows)
    assert held(only_open, mine) == ("restricted",)


def test_what_was_superseded_here_changes_nothing() -> None:
    old = with_members(rows("project", project()), restricted=True)
    mine = rows("project", project(), base=old, actor="nus.2")
    assert held(old, mine) == ()


def test_another_text_of_the_same_version_is_looked_at() -> None:
    """Marked as erased, it would win over ours."""
    mine = with_members(rows("project", project()), restricted=True)
    twin = with_stamp(rows("project", project()), erased=True)
    assert held(twin, mine) == ("restricted",)


def test_events_of_content_are_taken_once() -> None:
    mine = event()
    theirs = event(changes=[RecordChange(family="document", sk="ARTIFACT#d_1")])
    assert is_taken(theirs.key, state(theirs), None)
    assert is_taken(mine.key, state(mine), state(mine))
    assert not is_taken(theirs.key, state(theirs), state(mine))


def test_events_that_tell_of_rights_are_not_taken() -> None:
    theirs = event(changes=[RecordChange(family="project_grant", sk="GRANT#p_1#g_1")])
    assert not is_taken(theirs.key, state(theirs), None)
    elsewhere = event()
    assert not is_taken(Key("ACCOUNT#a_1", elsewhere.key.sk), state(elsewhere), None)
    assert elsewhere.item is not None
    assert "changes" not in json.loads(elsewhere.item.body)
