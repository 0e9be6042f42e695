"""Routing of an account's administrative notifications."""

from __future__ import annotations

from typing import Any

from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs

from identity_svc.topics import ACCOUNT_TOPICS
from tests.harness import Workspace
from tests.integration.identity.lifecycle import set_status
from tests.integration.identity.people import (
    ACCOUNT_ADMIN,
    ADMINISTRATOR,
    ANN,
    BOB,
    CAT,
    DAN,
    EDITOR,
    OWNER,
    People,
    new_request_id,
    refused,
)

TOPIC = "project.orphaned"


def _update(account_id: str, mask: str, topic: str = TOPIC, **values: Any) -> Any:
    more = {"request_id": values.pop("request_id", "")}
    request = acs.UpdateNotificationRoutingRequest(
        notification_routing=ac.NotificationRouting(account_id=account_id, topic=topic, **values),
        **more,
    )
    request.update_mask.paths.extend(mask.split(","))
    return request


async def _routing(people: People, by: str, account_id: str) -> dict[str, ac.NotificationRouting]:
    answer = await people.accounts(by).GetNotificationRouting(
        acs.GetNotificationRoutingRequest(account_id=account_id)
    )
    return {entry.topic: entry for entry in answer.notification_routing}


async def test_every_topic_is_shown_with_its_default(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account_id = await people.account(ANN)
    shown = await _routing(people, ANN, account_id)
    assert list(shown) == list(ACCOUNT_TOPICS)
    for entry in shown.values():
        assert list(entry.roles) == [OWNER, ACCOUNT_ADMIN]
        assert (entry.etag, entry.disabled, list(entry.user_ids)) == ("", False, [])


async def test_one_topic_is_changed_and_the_others_stay(ws: Workspace) -> None:
    people = People(ws)
    _, bob = await people.sign_in(ANN, BOB)
    account_id = await people.account(ANN, bob=EDITOR)
    request = _update(
        account_id, "user_ids,roles", user_ids=[bob], roles=[ADMINISTRATOR],
        request_id=new_request_id(),
    )
    done = await people.accounts(ANN).UpdateNotificationRouting(request)
    entry = done.notification_routing
    assert (list(entry.user_ids), list(entry.roles)) == ([bob], [ADMINISTRATOR])
    assert entry.etag
    assert done.consistency_token
    assert await people.accounts(ANN).UpdateNotificationRouting(request) == done
    shown = await _routing(people, ANN, account_id)
    assert shown[TOPIC] == entry
    assert all(not e.etag for topic, e in shown.items() if topic != TOPIC)
    off = await people.accounts(ANN).UpdateNotificationRouting(
        _update(account_id, "disabled", disabled=True, etag=entry.etag)
    )
    assert off.notification_routing.disabled
    assert list(off.notification_routing.user_ids) == [bob], "the mask names disabled alone"


async def test_what_is_refused(ws: Workspace) -> None:
    people = People(ws)
    _, bob, _cat, dan = await people.sign_in(ANN, BOB, CAT, DAN)
    account_id = await people.account(ANN, bob=EDITOR, cat=ADMINISTRATOR)
    for email in (BOB, CAT, DAN):
        with refused("PERMISSION_DENIED"):
            await _routing(people, email, account_id)
        with refused("PERMISSION_DENIED"):
            await people.accounts(email).UpdateNotificationRouting(
                _update(account_id, "disabled", disabled=True)
            )
    ann = people.accounts(ANN)
    with refused("INVALID_FIELD"):
        await ann.UpdateNotificationRouting(_update(account_id, "disabled", topic="no.such"))
    with refused("INVALID_FIELD"):
        await ann.UpdateNotificationRouting(_update(account_id, "user_ids", user_ids=[dan]))
    for bad in ("topic", "created_by", "nonsense"):
        with refused("INVALID_MASK"):
            await ann.UpdateNotificationRouting(_update(account_id, bad))
    await ann.UpdateNotificationRouting(_update(account_id, "disabled", disabled=True))
    with refused("ETAG_MISMATCH"):
        await ann.UpdateNotificationRouting(_update(account_id, "disabled", etag='"old"'))
    same = new_request_id()
    await ann.UpdateNotificationRouting(_update(account_id, "disabled", request_id=same))
    with refused("REQUEST_ID_REUSED"):
        await ann.UpdateNotificationRouting(
            _update(account_id, "disabled", disabled=True, request_id=same)
        )
    await people.remove(ANN, account_id, BOB)
    with refused("INVALID_FIELD"):
        await ann.UpdateNotificationRouting(_update(account_id, "user_ids", user_ids=[bob]))
    await set_status(people, ANN, account_id, "SUSPENDED")
    with refused("INVALID_STATE"):
        await ann.UpdateNotificationRouting(_update(account_id, "disabled"))
