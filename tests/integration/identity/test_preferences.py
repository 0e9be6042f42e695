"""Notification preferences: own ones only, all topics or none."""

from __future__ import annotations

from typing import Any

from workspace.identity.v1 import preference_pb2 as pr
from workspace.identity.v1 import preference_service_pb2 as prs

from identity_svc.topics import USER_TOPICS
from tests.harness import Workspace
from tests.integration.identity.people import ANN, BOB, People, new_request_id, refused

EMAIL = pr.NOTIFICATION_DELIVERY_EMAIL
NONE = pr.NOTIFICATION_DELIVERY_NONE


def _update(user_id: str, *rows: dict[str, Any], mask: str = "delivery", **more: Any) -> Any:
    request = prs.UpdateNotificationPreferencesRequest(
        user_id=user_id, preferences=[pr.NotificationPreference(**row) for row in rows], **more
    )
    request.update_mask.paths.append(mask)
    return request


async def test_defaults_and_changes(ws: Workspace) -> None:
    people = People(ws)
    (ann,) = await people.sign_in(ANN)
    mine = people.preferences(ANN)
    shown = await mine.GetNotificationPreferences(
        prs.GetNotificationPreferencesRequest(user_id=ann)
    )
    assert [p.topic for p in shown.preferences] == list(USER_TOPICS)
    assert {(p.delivery, p.etag) for p in shown.preferences} == {(EMAIL, "")}
    request = _update(
        ann,
        {"topic": "project.shared", "delivery": NONE},
        {"topic": "team.members", "delivery": NONE},
        request_id=new_request_id(),
    )
    first = await mine.UpdateNotificationPreferences(request)
    again = await mine.UpdateNotificationPreferences(request)
    assert first.preferences == again.preferences
    assert first.consistency_token
    off = {p.topic: p for p in first.preferences if p.delivery == NONE}
    assert set(off) == {"project.shared", "team.members"}
    stored = await mine.GetNotificationPreferences(
        prs.GetNotificationPreferencesRequest(user_id=ann)
    )
    assert stored.preferences == first.preferences
    back = await mine.UpdateNotificationPreferences(
        _update(ann, {"topic": "project.shared", "etag": off["project.shared"].etag})
    )
    assert {p.topic: p.delivery for p in back.preferences}["project.shared"] == EMAIL
    with refused("REQUEST_ID_REUSED"):
        await mine.UpdateNotificationPreferences(
            _update(ann, {"topic": "project.shared"}, request_id=request.request_id)
        )


async def test_refusals_change_nothing(ws: Workspace) -> None:
    people = People(ws)
    ann, bob = await people.sign_in(ANN, BOB)
    mine = people.preferences(ANN)
    good = {"topic": "project.shared", "delivery": NONE}
    await mine.UpdateNotificationPreferences(_update(ann, {"topic": "team.members"}))
    with refused("PERMISSION_DENIED"):
        await mine.GetNotificationPreferences(prs.GetNotificationPreferencesRequest(user_id=bob))
    with refused("PERMISSION_DENIED"):
        await mine.UpdateNotificationPreferences(_update(bob, good))
    with refused("INVALID_FIELD"):
        await mine.UpdateNotificationPreferences(_update(ann, good, {"topic": "no.such"}))
    with refused("INVALID_FIELD"):
        await mine.UpdateNotificationPreferences(_update(ann, good, good))
    for mask in ("user_id", "created_at", "nope"):
        with refused("INVALID_MASK"):
            await mine.UpdateNotificationPreferences(_update(ann, good, mask=mask))
    with refused("ETAG_MISMATCH"):
        await mine.UpdateNotificationPreferences(
            _update(ann, good, {"topic": "team.members", "etag": '"x"'})
        )
    shown = await mine.GetNotificationPreferences(
        prs.GetNotificationPreferencesRequest(user_id=ann)
    )
    assert {p.delivery for p in shown.preferences} == {EMAIL}
