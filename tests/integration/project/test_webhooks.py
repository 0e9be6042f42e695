"""Registering, listing and ending webhooks."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1 import history_service_pb2 as pb
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest
from workspace.project.v1.history_pb2 import WebhookStatus
from workspace.project.v1.project_service_pb2 import AssignProjectRequest

from project_svc.history.webhook_rows import UploadHolds, holds_uploads
from tests.integration.project.files import history, project
from tests.integration.project.world import Role, World, refused, request_id

URL = "https://93.184.215.14/hook"
DENIED = grpc.StatusCode.PERMISSION_DENIED


def _create(world: World, user_id: str = "ann", **fields: Any) -> Any:
    fields.setdefault("url", URL)
    return history(world, user_id).CreateWebhook(pb.CreateWebhookRequest(**fields))


async def _listed(world: World, **fields: Any) -> list[str]:
    answer = await history(world, "ann").ListWebhooks(pb.ListWebhooksRequest(**fields))
    return [each.webhook_id for each in answer.webhooks]


@pytest.mark.parametrize("scope", ["project_id", "account_id"])
async def test_created_listed_and_deleted(world: World, scope: str) -> None:
    about = {scope: "a_one" if scope == "account_id" else await project(world)}
    made = (
        await _create(world, event_types=["project.*"], description="D", **about)
    ).webhook
    assert made.status == WebhookStatus.WEBHOOK_STATUS_ACTIVE
    assert (made.url, made.created_by, made.description) == (URL, "ann", "D")
    assert getattr(made, scope) == about[scope]
    assert made.etag
    stub = history(world, "ann")
    assert list((await stub.ListWebhooks(pb.ListWebhooksRequest(**about))).webhooks) == [made]
    gone = await stub.DeleteWebhook(
        pb.DeleteWebhookRequest(webhook_id=made.webhook_id, etag=made.etag)
    )
    assert gone.webhook.status == WebhookStatus.WEBHOOK_STATUS_DELETED
    assert gone.consistency_token
    assert await _listed(world, **about) == []
    said = await refused(
        stub.DeleteWebhook(pb.DeleteWebhookRequest(webhook_id=made.webhook_id))
    )
    assert (said.code, said.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_the_secret_is_shown_once_and_stored_nowhere(world: World) -> None:
    home, once = await project(world), request_id()
    first = await _create(world, project_id=home, request_id=once)
    again = await _create(world, project_id=home, request_id=once)
    assert again == first, "a replay derives it again"
    assert first.signing_secret.startswith("whsec_")
    other = await _create(world, project_id=home)
    assert other.signing_secret != first.signing_secret
    listed = await history(world, "ann").ListWebhooks(pb.ListWebhooksRequest(project_id=home))
    secret = first.signing_secret.removeprefix("whsec_")
    assert secret not in str(listed)
    rows = await world.records.scan(None, 10_000)
    assert rows
    assert not any(secret in row.body + row.stamp for row in rows)


async def test_who_may(world: World) -> None:
    home = await project(world, account_id="a_one", restricted=False)
    await world.grants("ann").CreateGrant(
        CreateGrantRequest(
            project_id=home,
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            target_id="bob",
            permissions=[Permission.PERMISSION_WRITE],
        )
    )
    made = (await _create(world, project_id=home)).webhook.webhook_id
    shared = (await _create(world, account_id="a_one")).webhook.webhook_id
    for user_id in ("bob", "eve", "zoe"):
        stub = history(world, user_id)
        for call in (
            _create(world, user_id, project_id=home),
            _create(world, user_id, account_id="a_one"),
            _create(world, user_id, account_id="a_none"),
            stub.ListWebhooks(pb.ListWebhooksRequest(project_id=home)),
            stub.ListWebhooks(pb.ListWebhooksRequest(account_id="a_one")),
            stub.DeleteWebhook(pb.DeleteWebhookRequest(webhook_id=made)),
            stub.DeleteWebhook(pb.DeleteWebhookRequest(webhook_id=shared)),
            stub.DeleteWebhook(pb.DeleteWebhookRequest(webhook_id="h_none")),
        ):
            assert (await refused(call)).code is DENIED


@pytest.mark.case("Z02")
async def test_foreign_and_missing_webhooks_are_denied_alike(world: World) -> None:
    made = (await _create(world, project_id=await project(world))).webhook.webhook_id
    stub = history(world, "bob")
    said = [
        await refused(stub.DeleteWebhook(pb.DeleteWebhookRequest(webhook_id=each)))
        for each in (made, "h_none")
    ]
    assert said[0].message.replace(made, "h_none") == said[1].message


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/", "https://localhost/", "https://10.1.2.3/", "https://[::1]/",
        "https://169.254.169.254/latest/meta-data", "https://2130706433/",
        "https://user:secret@93.184.215.14/", "https://93.184.215.14/#part",
        "http://93.184.215.14/", "no url",
    ],
)  # fmt: skip
async def test_addresses_inside_are_refused(world: World, url: str) -> None:
    said = await refused(_create(world, account_id="a_one", url=url))
    assert (said.code, said.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert said.metadata["field"] == "url"
    assert "secret" not in said.message


async def test_a_filter_that_could_never_match_is_refused(world: World) -> None:
    said = await refused(_create(world, account_id="a_one", event_types=["everything"]))
    assert (said.reason, said.metadata["field"]) == ("INVALID_FIELD", "event_types[0]")


async def test_exactly_one_scope(world: World) -> None:
    home = await project(world)
    for fields in ({}, {"project_id": home, "account_id": "a_one"}):
        assert (await refused(_create(world, **fields))).reason == "INVALID_FIELD"


async def test_at_most_twenty_even_in_a_race(world: World) -> None:
    home = await project(world)
    tries = await asyncio.gather(
        *(_create(world, project_id=home) for _ in range(26)), return_exceptions=True
    )
    made = [each for each in tries if not isinstance(each, BaseException)]
    assert len(made) == 20
    said = await refused(_create(world, project_id=home))
    assert (said.code, said.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")
    assert said.metadata["maximum"] == "20"
    await history(world, "ann").DeleteWebhook(
        pb.DeleteWebhookRequest(webhook_id=made[0].webhook.webhook_id)
    )
    assert (await _create(world, project_id=home)).webhook.webhook_id


async def test_pages(world: World) -> None:
    home = await project(world)
    made = {(await _create(world, project_id=home)).webhook.webhook_id for _ in range(5)}
    seen: list[str] = []
    request = pb.ListWebhooksRequest(project_id=home, page_size=2)
    while True:
        answer = await history(world, "ann").ListWebhooks(request)
        seen += [each.webhook_id for each in answer.webhooks]
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert sorted(seen) == sorted(made)
    bad = pb.ListWebhooksRequest(account_id="a_one", page_token=request.page_token)
    assert (await refused(history(world, "ann").ListWebhooks(bad))).reason == "INVALID_PAGE_TOKEN"


async def test_an_outdated_etag(world: World) -> None:
    made = (await _create(world, account_id="a_one")).webhook
    said = await refused(
        history(world, "ann").DeleteWebhook(
            pb.DeleteWebhookRequest(webhook_id=made.webhook_id, etag='"other"')
        )
    )
    assert (said.code, said.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


async def test_repeats_have_one_effect(world: World) -> None:
    home, once = await project(world), request_id()
    answers = await asyncio.gather(
        *(_create(world, project_id=home, request_id=once) for _ in range(10))
    )
    assert len({each.webhook.webhook_id for each in answers}) == 1
    said = await refused(_create(world, project_id=home, request_id=once, description="other"))
    assert said.reason == "REQUEST_ID_REUSED"
    stub, end = history(world, "ann"), request_id()
    request = pb.DeleteWebhookRequest(
        webhook_id=answers[0].webhook.webhook_id, request_id=end
    )
    assert await stub.DeleteWebhook(request) == await stub.DeleteWebhook(request)


async def test_a_hold_needs_the_right_of_the_home(world: World) -> None:
    """Who manages access of a project alone cannot stop its uploads."""
    shared, own = await project(world, account_id="a_one"), await project(world)
    for home in (shared, own):
        await world.grants("ann").CreateGrant(
            CreateGrantRequest(
                project_id=home,
                target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
                target_id="zoe",
                permissions=[Permission.PERMISSION_MANAGE_ACCESS, Permission.PERMISSION_VIEW],
            )
        )
        assert (await _create(world, "zoe", project_id=home)).webhook.webhook_id
        said = await refused(_create(world, "zoe", project_id=home, document_ready_hold=True))
        assert said.code is DENIED
        assert not await holds_uploads(world.records, home)
        made = (await _create(world, project_id=home, document_ready_hold=True)).webhook
        assert made.document_ready_hold
        assert await holds_uploads(world.records, home)
        await history(world, "ann").DeleteWebhook(
            pb.DeleteWebhookRequest(webhook_id=made.webhook_id)
        )
        assert not await holds_uploads(world.records, home)


async def test_a_hold_of_the_account_holds_all_its_projects(world: World) -> None:
    inside, outside = await project(world, account_id="a_one"), await project(world)
    await _create(world, account_id="a_one", document_ready_hold=True)
    assert await holds_uploads(world.records, inside)
    assert not await holds_uploads(world.records, outside)
    assert not await holds_uploads(world.records, "p_none")


async def test_addresses_are_for_who_manages_access(world: World) -> None:
    """Viewers see neither the address nor that there is a webhook."""
    home = await project(world, account_id="a_one", restricted=False)
    await _create(world, project_id=home, url=URL + "?token=hidden")
    seen = await history(world, "eve").ListActivity(pb.ListActivityRequest(project_id=home))
    assert seen.events
    assert "hidden" not in str(seen)
    owner = await history(world, "ann").ListActivity(pb.ListActivityRequest(project_id=home))
    assert "webhook.created" in [event.type for event in owner.events]


async def test_the_chain_with_webhooks_is_unbroken(world: World) -> None:
    home = await project(world)
    made = (await _create(world, project_id=home)).webhook.webhook_id
    await history(world, "ann").DeleteWebhook(pb.DeleteWebhookRequest(webhook_id=made))
    found = await history(world, "ann").VerifyActivity(
        pb.VerifyActivityRequest(project_id=home)
    )
    assert (found.intact, list(found.faults)) == (True, [])


async def test_a_manager_who_left_manages_no_more(world: World) -> None:
    made = (await _create(world, account_id="a_one")).webhook.webhook_id
    world.people.member("a_one", "ann", Role.ACCOUNT_ROLE_VIEWER)
    said = await refused(
        history(world, "ann").DeleteWebhook(pb.DeleteWebhookRequest(webhook_id=made))
    )
    assert said.code is DENIED


async def test_what_is_known_of_holds_follows_every_change(world: World) -> None:
    home = await project(world, account_id="a_one")
    holds = UploadHolds(world.records)
    for scope in ({"project_id": home}, {"account_id": "a_one"}):
        for _ in range(2):
            assert not await holds.of_project(home)
            made = (await _create(world, document_ready_hold=True, **scope)).webhook
            for _ in range(2):
                assert await holds.of_project(home)
            await history(world, "ann").DeleteWebhook(
                pb.DeleteWebhookRequest(webhook_id=made.webhook_id)
            )
    assert not await holds.of_project(home)


async def test_a_hold_does_not_follow_its_project_to_another_home(world: World) -> None:
    home = await project(world)
    await _create(world, project_id=home, document_ready_hold=True)
    holds = UploadHolds(world.records)
    assert await holds.of_project(home)
    await world.projects("ann").AssignProject(
        AssignProjectRequest(project_id=home, account_id="a_one")
    )
    assert not await holds.of_project(home)


async def test_a_missing_name_and_one_inside_are_refused_alike(world: World) -> None:
    said = [
        await refused(_create(world, account_id="a_one", url=f"https://{host}/hook"))
        for host in ("localhost", "missing.invalid", "10.1.2.3")
    ]
    assert len({(each.code, each.reason, each.message) for each in said}) == 1
