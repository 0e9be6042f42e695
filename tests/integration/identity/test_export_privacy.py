"""What an export keeps inside: other people's invitations, and secrets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1.user_pb2 import User

from identity_svc.users.export import _account_records
from services.records.port import Item, Key
from tests.harness import Workspace
from tests.integration.identity.inviting import Scene
from tests.integration.identity.people import CAT


@pytest.fixture
async def scene(ws: Workspace) -> Scene:
    opened = Scene(ws)
    await opened.enter()
    return opened


async def _exported(scene: Scene) -> list[str]:
    answer = await scene.identity(CAT).ExportUserData(
        ids.ExportUserDataRequest(user_id=scene.cat, page_size=500)
    )
    return [record.family for record in answer.records]


async def test_an_unverified_address_exports_no_invitation(scene: Scene) -> None:
    await scene.invite(email=CAT)
    assert "invitation" in await _exported(scene)
    await scene.edit("user", User(user_id=scene.cat), email_verified=False)
    assert "invitation" not in await _exported(scene)


def test_the_events_of_an_account_hold_no_secrets() -> None:
    record = {
        "invitation_id": "i_1", "token_hash": "never", "secret_sha256": "never",
        "signing_secret": "never", "metadata": {"geohash": "u0m7"},
    }
    change = {"family": "invitation", "sk": "I", "before": record, "after": record}
    event = {"event_id": "e_1", "changes": [change, {"family": "team", "sk": "T"}]}
    item = Item(Key("ACCOUNT#a_1", "EVENT#1"), "t", "activity_event", json.dumps(event))
    (shown,) = _account_records([item])
    data: dict[str, Any] = MessageToDict(shown.data)
    kept = {"invitation_id": "i_1", "metadata": {"geohash": "u0m7"}}
    assert data["changes"] == [change | {"before": kept, "after": kept}, event["changes"][1]]
