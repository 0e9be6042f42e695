"""The rows of the families table that facts rest on, and no others."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message
from workspace.identity.v1.account_pb2 import Account, AccountMember, NotificationRouting
from workspace.identity.v1.preference_pb2 import NotificationPreference
from workspace.identity.v1.team_pb2 import Team, TeamMember
from workspace.identity.v1.user_pb2 import PlatformAdmin, User
from workspace.project.v1.project_pb2 import Project

from services.model.families import family_of
from services.model.membership_rows import affected_user, is_identity_partition

WHOSE: list[tuple[Message, str | None]] = [
    (Account(account_id="a"), ""),
    (AccountMember(account_id="a", user_id="u"), "u"),
    (NotificationRouting(account_id="a", topic="t"), None),
    (Team(team_id="t"), ""),
    (TeamMember(team_id="t", user_id="u"), "u"),
    (User(user_id="u"), "u"),
    (NotificationPreference(user_id="u", topic="t"), None),
    (PlatformAdmin(user_id="u"), "u"),
    (Project(project_id="p"), None),
]


@pytest.mark.parametrize(("message", "whose"), WHOSE, ids=lambda each: type(each).__name__)
def test_whose_facts_rest_on_a_row(message: Message, whose: str | None) -> None:
    pk, sk = family_of(message).key_of(message)
    assert affected_user(pk, sk) == whose
    assert is_identity_partition(pk) or whose is None


def test_kernel_rows_are_nobodys() -> None:
    for pk in ("ACCOUNT#a", "TEAM#t", "USER#u", "PLATFORM"):
        for sk in ("#HEAD", "EVENT#1#n#c", "REQ#d"):
            assert affected_user(pk, sk) is None
