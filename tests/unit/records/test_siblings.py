"""Index entries, made of the few fields that they need."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from workspace.common.v1.activity_pb2 import ActivityEvent
from workspace.identity.v1.invitation_pb2 import Invitation
from workspace.identity.v1.preference_pb2 import NotificationPreference
from workspace.identity.v1.user_pb2 import User
from workspace.project.v1.document_pb2 import Document
from workspace.project.v1.grant_pb2 import Grant
from workspace.project.v1.project_pb2 import Project

from services.model.families import family_of
from services.records.codec import decode, dump, encode
from services.records.events import event_indexes
from services.records.port import Key
from services.records.siblings import indexes_of, record_key, sibling_key, travelling

AT = Timestamp(seconds=1_700_000_000)


@pytest.mark.parametrize(
    "message",
    [
        User(user_id="u_1", email="Ann@example.com", email_verified=True),
        User(user_id="u_1", email="Ann@example.com"),
        Invitation(
            invitation_id="i_1", target_type="INVITATION_TARGET_TYPE_PROJECT", target_id="p_1",
            email="ann@example.com", created_at=AT, grantee_team_id="t_1",
        ),
        Grant(
            project_id="p_1", grant_id="g_1", target_type="GRANT_TARGET_TYPE_TEAM",
            target_id="t_1",
        ),
        Project(project_id="p_1", account_id="a_1", team_id="t_1", restricted=True),
        Project(project_id="p_1", workspace_id="a_1"),
        Document(document_id="d_1", project_id="p_1", account_id="a_1", uploaded_at=AT),
        NotificationPreference(user_id="u_1", topic="x"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_index_entries_are_those_of_the_whole_record(message: Any) -> None:
    family = family_of(message)
    body = dump(encode(family, message, {"from_the_future": {"x": 1}}))
    wanted = family.index_entries(decode(family.message, body))
    assert indexes_of(family, Key(*family.key_of(message)), body) == wanted


def test_an_event_is_indexed_by_the_key_of_its_row() -> None:
    event: Message = ActivityEvent(event_id="e", account_id="a_1", project_id="p_1")
    family = family_of(event)
    key = Key("PROJECT#p_1", "EVENT#1700000000000.00000#n.x#e")
    body = dump(encode(family, event, {}))
    assert indexes_of(family, key, body) == event_indexes(event, key.sk)
    assert len(event_indexes(event, key.sk)) == 2


def test_local_members_never_travel() -> None:
    document = Document(document_id="d_1", project_id="p_1", account_id="a_1", title="A")
    family = family_of(document)
    body = dump(encode(family, document, {}))
    assert "account_id" not in travelling(family, body)
    assert travelling(family, dump({"title": "the account_id"})) == '{"title":"the account_id"}'
    assert travelling(family, "") == "{}"


def test_the_key_of_a_sibling_tells_its_record() -> None:
    key = Key("DOCUMENT#d_1", "METADATA#2026#curated#m_1")
    assert record_key(sibling_key(key, ("n.x", 7))) == key
