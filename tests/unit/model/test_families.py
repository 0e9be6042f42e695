"""The families table: keys, indexes and field classes of every family."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from workspace.identity.v1.invitation_pb2 import Invitation
from workspace.identity.v1.user_pb2 import User
from workspace.project.v1.grant_pb2 import Grant, GrantTargetType
from workspace.project.v1.history_pb2 import MetadataRecord, MetadataRecordType
from workspace.project.v1.project_pb2 import Project

from services.model.families import FAMILIES, family_of
from services.model.ids import email_hash
from services.model.indexes import Index
from services.model.templates import Template


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_name_in_the_table_is_a_field_of_the_message(family: object) -> None:
    assert hasattr(family, "message")
    known = set(family.message.DESCRIPTOR.fields_by_name)  # type: ignore[attr-defined]
    templates = [*family.pk, family.sk]  # type: ignore[attr-defined]
    for alternatives in family.indexes.values():  # type: ignore[attr-defined]
        templates += [template for pair in alternatives for template in pair]
    named = {name for template in templates for name in template.fields}
    assert named <= known
    assert family.local_fields <= known  # type: ignore[attr-defined]
    assert family.computed <= known  # type: ignore[attr-defined]


def test_no_two_families_share_a_message() -> None:
    messages = [family.message for family in FAMILIES.values()]
    assert len(set(messages)) == len(messages)
    for family in FAMILIES.values():
        assert family_of(family.message()) is family


def test_families_of_one_partition_never_share_sort_keys() -> None:
    first_words: dict[str, set[str]] = {}
    for family in FAMILIES.values():
        for pk in family.pk:
            kind = pk.text.split("#")[0]
            word = re.split(r"[#{]", family.sk.text)[0]
            assert word not in first_words.setdefault(kind, set()), family.name
            first_words[kind].add(word)


def test_project_keys_and_indexes() -> None:
    family = FAMILIES["project"]
    project = Project(project_id="p_1", account_id="a_1", restricted=True)
    assert family.key_of(project) == ("PROJECT#p_1", "PROJECT#p_1")
    assert family.index_entries(project) == {
        Index.ACCOUNT: ("ACCOUNT#a_1", "PROJECT#restricted#p_1")
    }
    project = Project(project_id="p_1", workspace_id="a_9", team_id="t_1")
    assert family.index_entries(project) == {
        Index.ACCOUNT: ("WORKSPACE#a_9", "PROJECT#open#p_1"),
        Index.TEAM: ("TEAM#t_1", "PROJECT#p_1"),
    }


@pytest.mark.parametrize(
    ("kind", "index"), [("USER", Index.USER), ("TEAM", Index.TEAM), ("ACCOUNT", Index.ACCOUNT)]
)
def test_a_grant_lies_in_the_index_of_its_target_only(kind: str, index: Index) -> None:
    grant = Grant(
        project_id="p_1", grant_id="g_1", target_id="x_1",
        target_type=GrantTargetType.Value(f"GRANT_TARGET_TYPE_{kind}"),
    )
    assert FAMILIES["project_grant"].index_entries(grant) == {
        index: (f"{kind}#x_1", "GRANT#p_1#g_1")
    }


def test_history_keys_are_those_of_the_seeds() -> None:
    moment = Timestamp()
    moment.FromDatetime(datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC))
    record = MetadataRecord(
        metadata_record_id="m_1", document_id="d_1", timestamp=moment,
        record_type=MetadataRecordType.METADATA_RECORD_TYPE_WRITE_CONTEXT,
    )
    key = FAMILIES["metadata_record"].key_of(record)
    assert key == ("DOCUMENT#d_1", "METADATA#2026-01-02T03:04:05.000006Z#write_context#m_1")
    record.ClearField("document_id")
    record.project_id = "p_1"
    assert FAMILIES["metadata_record"].key_of(record)[0] == "PROJECT#p_1"


def test_a_record_without_its_key_field_is_refused() -> None:
    with pytest.raises(ValueError, match="project: a field of the key is empty"):
        FAMILIES["project"].key_of(Project())


def test_prefix_of_a_template() -> None:
    template = Template("GRANT#{project_id}#{grant_id}")
    assert template.prefix() == "GRANT#"
    assert template.prefix(project_id="p") == "GRANT#p#"
    assert template.prefix(project_id="p", grant_id="g") == "GRANT#p#g"


def test_an_address_is_hashed_and_only_where_it_is_verified() -> None:
    template = Template("{email_verified=True}EMAIL#{email|address}")
    user = User(email="Ada@Example.com", email_verified=True)
    assert template.fields == ("email_verified", "email")
    assert template.render(user) == "EMAIL#" + email_hash("ada@example.com")
    assert template.render(User(email="ada@example.com")) == ""
    assert template.render(User(email_verified=True)) == ""


@pytest.mark.parametrize(
    ("fields", "places"),
    [
        ({"email": "ada@example.com"}, {Index.USER: "EMAIL#" + email_hash("ada@example.com")}),
        ({"anyone_with_link": True}, {}),
        ({"grantee_team_id": "t_1"}, {Index.TEAM: "TEAM#t_1"}),
        ({"grantee_account_id": "a_1"}, {Index.ACCOUNT: "ACCOUNT#a_1"}),
    ],
)
def test_an_invitation_is_found_by_target_and_addressee_and_by_no_home(
    fields: dict[str, str], places: dict[Index, str]
) -> None:
    invitation = Invitation(
        invitation_id="i_1", target_type=3, target_id="p_1", account_id="a_9", team_id="t_9",
        created_at=Timestamp(seconds=0), **fields,
    )
    entries = FAMILIES["invitation"].index_entries(invitation)
    found = {index: pair[0] for index, pair in entries.items()}
    assert found == {Index.PROJECT: "PROJECT#p_1"} | places
    sort = "1970-01-01T00:00:00.000000Z#i_1"
    assert {pair[1] for pair in entries.values()} <= {"INVITATION#" + sort, "OFFERED#" + sort}
