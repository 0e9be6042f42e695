"""What is shown of versions side by side: merges, winners, contests."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model.canonical import canonical_json, text_digest
from services.model.families import FAMILIES
from services.model.merging.content import content_of
from services.model.shown import Contest, Shown, shown_of
from tests.unit.model.histories import World
from tests.unit.model.test_versions import HISTORIES, lived


def start(family: str, nodes: int = 3, /, **members: Any) -> World:
    """All nodes have one version."""
    world = World.of(family, nodes)
    world.write(0, members)
    for node in range(1, nodes):
        world.pull(node, 0)
    return world


def shown(world: World) -> tuple[Shown, dict[str, Any]]:
    found = shown_of(world.family, world.settle())
    body = json.loads(found.version.body)
    content = content_of(world.family, body)
    wanted = text_digest(world.family.name, found.version.deleted, canonical_json(content))
    assert found.version.digest == wanted
    return found, body


def test_edits_of_different_fields_are_merged() -> None:
    world = start("project", name="A", description="old", billing_scope="b")
    world.write(0, {"name": "B"})
    world.write(1, {"description": "new", "unknown_to_us": {"x": 1}})
    world.write(2, {"billing_scope": None})
    found, body = shown(world)
    assert body == {"name": "B", "description": "new", "unknown_to_us": {"x": 1}}
    assert (found.partial, found.contest) == (False, None)
    assert found.version.fields["name"] == ("n0", 2)
    assert found.version.fields["description"] == ("n1", 1)
    assert found.version.fields["billing_scope"] == ("n2", 1)
    assert found.version.dot == ("n2", 1)


def test_one_field_written_twice_shows_the_later_whole_and_asks() -> None:
    world = start("project", name="A", description="old")
    world.write(0, {"name": "B", "description": "new"})
    world.write(1, {"name": "C"})
    found, body = shown(world)
    assert body == {"name": "C", "description": "old"}
    assert (found.partial, found.contest) == (True, Contest("edit_edit", ("name",)))
    assert found.version == world.state(0).versions["n1", 1]


def test_the_same_edit_on_both_sides_is_none_to_decide() -> None:
    world = start("project", name="A", description="old")
    world.write(0, {"name": "B"})
    world.write(1, {"name": "B"})
    found, body = shown(world)
    assert body["name"] == "B"
    assert found.contest is None
    assert len(world.state(0).versions) == 2
    world.write(0, {"name": "C"})
    assert len(world.settle().versions) == 1


def test_two_beginnings_of_one_key_are_never_mixed() -> None:
    world = World.of("notification_routing", 2)
    world.write(0, {"topic": "t", "disabled": True})
    world.write(1, {"topic": "t", "roles": ["ACCOUNT_ROLE_OWNER"]})
    found, body = shown(world)
    assert body == {"topic": "t", "roles": ["ACCOUNT_ROLE_OWNER"]}
    assert found.contest == Contest("create_create", ("disabled", "roles"))


def test_an_edit_beside_a_tombstone_is_shown() -> None:
    world = start("project", name="A")
    world.write(0, {"name": "B"})
    world.write(1, {}, deleted=True)
    found, body = shown(world)
    assert body == {"name": "B"}
    assert (found.partial, found.contest) == (True, Contest("edit_delete"))


def test_tombstones_of_two_sides_are_one_deletion() -> None:
    for family in ("project", "project_grant", "notification_preference"):
        world = start(family, name="A")
        world.write(0, {}, deleted=True)
        world.write(1, {}, deleted=True)
        found, _ = shown(world)
        assert found.version.deleted
        assert (found.partial, found.contest) == (False, None)


def test_an_edit_of_what_another_trashed_is_in_the_trash_and_asked_about() -> None:
    trashed = {"status": "DOCUMENT_STATUS_TRASHED", "trashed_by": "u_1"}
    world = start("document", title="A", status="DOCUMENT_STATUS_AVAILABLE")
    world.write(0, {"title": "B"})
    world.write(1, trashed)
    found, body = shown(world)
    assert body == {"title": "B"} | trashed
    assert (found.partial, found.contest) == (False, Contest("edit_delete", ("status",)))
    world = start("document", title="A", status="DOCUMENT_STATUS_AVAILABLE")
    world.write(0, {"title": "B"})
    world.pull(1, 0)
    world.write(1, trashed)
    assert shown(world)[0].contest is None


def test_1_and_true_are_two_values() -> None:
    world = start("project", name="A")
    world.write(0, {"x": 1})
    world.write(1, {"x": True})
    assert shown(world)[0].contest == Contest("edit_edit", ("x",))


def test_fields_of_the_stamp_come_from_the_winner_and_are_no_conflict() -> None:
    world = start("project", name="A", description="a", updated_by="u_0")
    world.write(0, {"name": "B", "updated_by": "u_1"})
    world.write(1, {"description": "b", "updated_by": "u_2"})
    found, body = shown(world)
    assert body == {"name": "B", "description": "b", "updated_by": "u_2"}
    assert found.contest is None


# Policy fields of surfaced families.

_POLICY = [
    ("project", "status", "PROJECT_STATUS_ARCHIVED", "PROJECT_STATUS_TRASHED", 1),
    ("project", "status", "PROJECT_STATUS_TRASHED", "PROJECT_STATUS_PURGED", 1),
    ("project", "status", "PROJECT_STATUS_OF_THE_FUTURE", "PROJECT_STATUS_TRASHED", 0),
    ("project", "visibility", "VISIBILITY_TEAM", "VISIBILITY_ACCOUNT", 0),
    ("project", "visibility", "VISIBILITY_TEAM", None, 1),
    ("project", "data_classification", "CLASSIFICATION_RESTRICTED", "CLASSIFICATION_PUBLIC", 0),
    ("document", "status", "DOCUMENT_STATUS_TRASHED", "DOCUMENT_STATUS_ARCHIVED", 0),
    ("document", "status", "DOCUMENT_STATUS_SCANNING", "DOCUMENT_STATUS_ARCHIVED", 0),
    ("account", "status", "ACCOUNT_STATUS_SUSPENDED", "ACCOUNT_STATUS_ARCHIVED", 0),
    ("account", "quota_bytes", "100", "20", 1),
    ("account", "quota_bytes", None, "20", 1),
    ("team", "status", "TEAM_STATUS_ARCHIVED", "TEAM_STATUS_ACTIVE", 0),
]


@pytest.mark.parametrize(("family", "name", "one", "other", "holds"), _POLICY)
@pytest.mark.parametrize("turned", [False, True])
def test_the_more_restrictive_value_holds_at_once(
    family: str, name: str, one: str | None, other: str | None, holds: int, turned: bool
) -> None:
    values = [one, other]
    world = start(family, **{name: "3", "description": "old"})
    for node in (1, 0) if turned else (0, 1):
        world.write(node, {name: values[node]})
    world.write(2, {"description": "new"})
    found, body = shown(world)
    assert body.get(name) == values[holds]
    assert body["description"] == "new"
    assert (found.partial, found.contest) == (False, Contest("policy", (name,)))


def test_a_policy_value_that_only_one_side_wrote_is_taken_without_asking() -> None:
    world = start("project", name="A", restricted=True, status="PROJECT_STATUS_ARCHIVED")
    world.write(0, {"restricted": None, "status": "PROJECT_STATUS_ACTIVE"})
    world.write(1, {"name": "B"})
    found, body = shown(world)
    assert body == {"name": "B", "status": "PROJECT_STATUS_ACTIVE"}
    assert found.contest is None


def test_the_more_restrictive_holds_although_the_rest_is_the_winners() -> None:
    world = start("project", name="A", status="PROJECT_STATUS_ACTIVE")
    world.write(0, {"name": "B", "status": "PROJECT_STATUS_TRASHED", "trashed_by": "u_1"})
    world.write(1, {"name": "C", "status": "PROJECT_STATUS_ARCHIVED"})
    found, body = shown(world)
    assert body == {"name": "C", "status": "PROJECT_STATUS_TRASHED", "trashed_by": "u_1"}
    assert (found.partial, found.contest) == (True, Contest("edit_edit", ("name", "status")))
    assert found.version.dot == ("n1", 1)
    # Who writes on it did not see the other version, but the value that it shows.
    world.write(0, {"name": "D"})
    version = world.state(0).versions["n0", 3]
    assert version.fields["status"] == ("n0", 3)
    assert all(version.saw(dot) for dot in version.fields.values())


def test_a_home_is_taken_as_a_whole_and_gives_nothing_while_it_is_contested() -> None:
    world = start("project", name="A", workspace_id="a_own")
    world.write(0, {"workspace_id": None, "account_id": "a_1", "team_id": "t_1"})
    world.write(1, {"workspace_id": None, "account_id": "a_2"})
    found, body = shown(world)
    assert body == {"name": "A", "account_id": "a_2", "restricted": True}
    assert found.contest == Contest("policy", ("account_id", "team_id"))
    assert "restricted" not in found.version.fields  # who writes next is its author
    world.write(2, {"name": "B"})
    found, body = shown(world)
    assert body == {"name": "B", "account_id": "a_2", "restricted": True}
    assert found.contest is None


# Rights.

_RIGHTS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (
        "project_grant",
        {"permissions": ["PERMISSION_OWNER"]},
        {"permissions": ["PERMISSION_COMMENT", "PERMISSION_WRITE"]},
        {"permissions": ["PERMISSION_VIEW", "PERMISSION_COMMENT", "PERMISSION_WRITE"]},
    ),
    (
        "project_grant",
        {"permissions": ["PERMISSION_COMMENT"]},
        {"permissions": ["PERMISSION_WRITE"]},
        {"permissions": ["PERMISSION_VIEW"]},
    ),
    ("project_grant", {"permissions": ["PERMISSION_NEW"]},
     {"permissions": ["PERMISSION_WRITE"]}, {}),
    (
        "project_grant",
        {"expires_at": "2027-01-01T00:00:00Z"},
        {"expires_at": "2027-01-01T00:00:00.500Z"},
        {"expires_at": "2027-01-01T00:00:00Z"},
    ),
    (
        "project_grant",
        {"expires_at": None},
        {"expires_at": "2099-01-01T00:00:00Z"},
        {"expires_at": "2099-01-01T00:00:00Z"},
    ),
    (
        "account_member",
        {"role": "ACCOUNT_ROLE_OWNER"},
        {"role": "ACCOUNT_ROLE_EDITOR"},
        {"role": "ACCOUNT_ROLE_EDITOR"},
    ),
    (
        "account_member",
        {"status": "MEMBER_STATUS_ACTIVE", "status_changed_by": "u_1"},
        {"status": "MEMBER_STATUS_REMOVED", "status_changed_by": "u_2"},
        {"status": "MEMBER_STATUS_REMOVED", "status_changed_by": "u_2"},
    ),
    (
        "account_member",
        {"permissions": ["A", "B"]},
        {"permissions": ["B", "C"]},
        {"permissions": ["B"]},
    ),
    ("team_member", {"role": "TEAM_ROLE_ADMIN"}, {"role": "TEAM_ROLE_VIEWER"},
     {"role": "TEAM_ROLE_VIEWER"}),
    ("team_member", {"guest": True}, {"guest": None}, {}),
    ("invitation", {"status": "INVITATION_STATUS_ACCEPTED"},
     {"status": "INVITATION_STATUS_REVOKED"}, {"status": "INVITATION_STATUS_REVOKED"}),
    ("invitation", {"status": "INVITATION_STATUS_CLAIMED"},
     {"status": "INVITATION_STATUS_DECLINED"}, {"status": "INVITATION_STATUS_DECLINED"}),
    ("access_request", {"status": "ACCESS_REQUEST_STATUS_APPROVED"},
     {"status": "ACCESS_REQUEST_STATUS_DECLINED"}, {"status": "ACCESS_REQUEST_STATUS_DECLINED"}),
]


@pytest.mark.parametrize(("family", "one", "other", "wanted"), _RIGHTS)
@pytest.mark.parametrize("turned", [False, True])
def test_of_rights_the_more_restrictive_holds_and_speaks_for_all(
    family: str, one: dict[str, Any], other: dict[str, Any], wanted: dict[str, Any], turned: bool
) -> None:
    name = next(iter(one))
    world = start(family, 2, **{name: "2026-01-01T00:00:00Z", "guest": False})
    for node in (1, 0) if turned else (0, 1):
        world.write(node, (one, other)[node])
    found, body = shown(world)
    body.pop("guest", None)
    assert body == wanted
    assert not found.partial
    assert found.contest == Contest("policy", (name,))
    world.write(1, {"x": 1})
    assert len(world.settle().versions) == 1


def test_a_removed_right_wins_over_its_edits() -> None:
    world = start("platform_admin", user_id="u_1")
    world.write(0, {"source": "again"})
    world.write(1, {}, deleted=True)
    found, _ = shown(world)
    assert found.version.deleted
    assert (found.partial, found.contest) == (False, Contest("policy"))


def test_a_revoked_grant_keeps_an_edit_that_was_made_meanwhile() -> None:
    revoked = {"status": "GRANT_STATUS_REVOKED", "revoked_by": "u_1"}
    world = start("project_grant", status="GRANT_STATUS_ACTIVE", permissions=["PERMISSION_VIEW"])
    world.write(0, revoked)
    world.write(1, {"permissions": ["PERMISSION_WRITE"], "note": "n"})
    found, body = shown(world)
    assert body == {"permissions": ["PERMISSION_WRITE"], "note": "n"} | revoked
    assert found.contest == Contest("policy", ("status",))  # the editor meant it to stay


def test_one_grant_id_for_two_targets_gives_nothing() -> None:
    world = World.of("project_grant", 2)
    for node in range(2):
        world.write(node, {"target_id": f"u_{node}", "permissions": ["PERMISSION_WRITE"]})
    found, body = shown(world)
    assert body == {"target_id": "u_1"}
    assert found.contest == Contest("policy", ("target_id",))


def test_an_invitation_with_contested_terms_cannot_be_accepted() -> None:
    world = World.of("invitation", 2)
    for node, role in enumerate(("TEAM_ROLE_ADMIN", "TEAM_ROLE_VIEWER")):
        world.write(node, {"status": "INVITATION_STATUS_PENDING", "terms": {"team_role": role}})
    assert shown(world)[1]["status"] == "INVITATION_STATUS_REVOKED"


# People's own settings, and history.


def test_preferences_take_the_later_write_of_each_field() -> None:
    world = start("notification_preference", delivery="D0", x=0, y=0)
    world.write(0, {"delivery": "D1", "x": 1})
    world.write(1, {"delivery": "D2", "y": 1})
    found, body = shown(world)
    assert body == {"delivery": "D2", "x": 1, "y": 1}
    assert (found.partial, found.contest) == (False, None)


def test_an_address_and_its_verification_are_never_taken_apart() -> None:
    world = start("user", name="Ann", email="a@x", email_verified=True)
    world.write(0, {"name": "Anna", "email_verified": None})
    world.write(1, {"email": "b@x"})
    world.write(1, {"email_verified": True})
    found, body = shown(world)
    assert body == {"name": "Anna", "email": "b@x", "email_verified": True}
    assert found.contest is None


def test_a_user_who_was_disabled_anywhere_is_disabled_until_somebody_decides() -> None:
    world = start("user", status="USER_STATUS_DISABLED", tokens_not_before="2026-01-01T00:00:00Z")
    world.write(0, {"status": "USER_STATUS_ERASED", "tokens_not_before": "2026-01-03T00:00:00Z"})
    world.write(1, {"status": "USER_STATUS_ACTIVE", "tokens_not_before": "2026-01-02T00:00:00Z"})
    found, body = shown(world)
    assert body == {"status": "USER_STATUS_ERASED", "tokens_not_before": "2026-01-03T00:00:00Z"}
    assert found.contest == Contest("policy", ("status",))


def test_two_bodies_of_one_append_only_id_are_a_fault() -> None:
    world = World.of("write_event", 2)
    world.write(0, {"text": "a"})
    world.write(1, {"text": "b"})
    found, body = shown(world)
    assert body == {"text": "b"}
    assert (found.partial, found.contest) == (True, Contest("integrity"))


@given(HISTORIES, st.booleans())
def test_what_was_written_is_shown_or_asked_about_or_overwritten_by_who_knew(
    steps: list[Any], common: bool
) -> None:
    world = lived("project", steps, common)
    for state in filter(None, world.nodes):
        found = shown_of(FAMILIES["project"], state)
        if found.contest is not None:
            continue
        assert not found.partial
        body = json.loads(found.version.body)
        for version in state.versions.values():
            members = json.loads(version.body)
            for name, writer in version.fields.items():
                if body.get(name) != members.get(name):
                    assert any(
                        writer in world.pasts[other]
                        for other in state.versions if other != version.dot
                    )


@given(HISTORIES, st.booleans())
def test_rights_shown_are_never_more_than_some_version_gives(
    steps: list[Any], common: bool
) -> None:
    world = lived("project", steps, common)
    for state in filter(None, world.nodes):
        found = shown_of(FAMILIES["project"], state)
        bodies = [json.loads(v.body) for v in state.versions.values() if not v.deleted]
        body = json.loads(found.version.body)
        if bodies and all(each.get("restricted") for each in bodies):
            assert body.get("restricted")
        if bodies:
            assert body.get("status") in {each.get("status") for each in bodies}
