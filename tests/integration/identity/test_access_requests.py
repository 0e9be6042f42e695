"""Asking for access: the same answer whether or not there is such a project, and
a decision that gives no more than CreateGrant would."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from workspace.project.v1 import grant_pb2 as gr
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import history_service_pb2 as hs
from workspace.project.v1 import project_service_pb2 as prs
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.rpc.context import peek_call
from tests.harness import Workspace
from tests.integration.identity.inviting import COMMENT, MANAGE, OWN, VIEW, WRITE, Scene
from tests.integration.identity.people import (
    ANN,
    BOB,
    CAT,
    DAN,
    new_request_id,
    reason_of,
    refused,
)

MISSING = "p_" + "q" * 26
ASKED = gr.ACCESS_REQUEST_STATUS_PENDING
APPROVED = gr.ACCESS_REQUEST_STATUS_APPROVED
DECLINED = gr.ACCESS_REQUEST_STATUS_DECLINED


@pytest.fixture
async def scene(ws: Workspace) -> Scene:
    opened = Scene(ws)
    await opened.enter()
    return opened


async def ask(scene: Scene, who: str, project_id: str, *permissions: int, **more: Any) -> Any:
    request = gs.RequestAccessRequest(
        project_id=project_id, permissions=permissions or [VIEW], **more
    )
    return await scene.grants(who).RequestAccess(request)


async def listed(scene: Scene, who: str, project_id: str, **more: Any) -> Any:
    request = gs.ListAccessRequestsRequest(project_id=project_id, **more)
    return await scene.grants(who).ListAccessRequests(request)


async def decide(scene: Scene, who: str, asked: Any, **more: Any) -> Any:
    more.setdefault("etag", asked.access_request.etag)
    request = gs.DecideAccessRequestRequest(
        project_id=asked.access_request.project_id,
        access_request_id=asked.access_request.access_request_id, **more,
    )
    return await scene.grants(who).DecideAccessRequest(request)


class TestAsking:
    async def test_there_or_not_the_answer_has_the_same_shape(self, scene: Scene) -> None:
        project_id = await scene.project()
        there = await ask(scene, CAT, project_id, COMMENT, note="please")
        missing = await ask(scene, CAT, MISSING, COMMENT, note="please")
        for answer in (there, missing):
            assert answer.access_request.status == ASKED
            assert answer.access_request.user_id == scene.cat
            assert answer.consistency_token
            assert answer.access_request.etag
        assert shape(there) == shape(missing)

    async def test_there_or_not_the_work_is_the_same(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project_id = await scene.project()
        counts = []
        for each in (project_id, MISSING, project_id, MISSING):
            seen: list[str] = []
            with monkeypatch.context() as patch:
                note_calls(patch, scene.ws.records.driver, seen)
                await ask(scene, CAT, each)
            counts.append(seen)
        assert counts[0] == counts[1]
        assert counts[2] == counts[3]
        assert "commit" in counts[0]

    async def test_a_missing_project_stays_missing(self, scene: Scene) -> None:
        asked = await ask(scene, CAT, MISSING)
        with refused("PERMISSION_DENIED"):
            await scene.ws.stub(ProjectServiceStub, as_=CAT).GetProject(
                prs.GetProjectRequest(project_id=MISSING)
            )
        for who in (ANN, CAT):
            with refused("PERMISSION_DENIED"):
                await listed(scene, who, MISSING)
            with refused("PERMISSION_DENIED"):
                await decide(scene, who, asked, approve=True)

    async def test_one_request_of_a_user_on_a_project(self, scene: Scene) -> None:
        project_id = await scene.project()
        one = await ask(scene, CAT, project_id)
        two = await ask(scene, CAT, project_id, WRITE)
        assert one.access_request.access_request_id == two.access_request.access_request_id
        found = (await listed(scene, ANN, project_id)).access_requests
        assert [list(each.permissions) for each in found] == [[WRITE]]
        assert found[0].created_at == one.access_request.created_at

    async def test_asking_again_opens_it_again(self, scene: Scene) -> None:
        project_id = await scene.project()
        asked = await ask(scene, CAT, project_id)
        await decide(scene, ANN, asked, note="no")
        again = await ask(scene, CAT, project_id)
        assert again.access_request.status == ASKED
        assert again.access_request.decision_note == ""

    async def test_a_replay_answers_the_same(self, scene: Scene) -> None:
        request_id = new_request_id()
        for project_id in (await scene.project(), MISSING):
            one = await ask(scene, CAT, project_id, request_id=request_id)
            assert await ask(scene, CAT, project_id, request_id=request_id) == one
            with refused("REQUEST_ID_REUSED"):
                await ask(scene, CAT, project_id, WRITE, request_id=request_id)

    @pytest.mark.case("A14")
    async def test_ten_a_minute(self, scene: Scene) -> None:
        for n in range(10):
            await ask(scene, CAT, f"p_{n}")
        with refused("LIMIT_EXCEEDED"):
            await ask(scene, CAT, "p_more")
        await ask(scene, DAN, "p_more")

    async def test_owner_cannot_be_asked_for(self, scene: Scene) -> None:
        with refused("INVALID_FIELD"):
            await ask(scene, CAT, await scene.project(), OWN)


class TestListing:
    async def test_needs_manage_access(self, scene: Scene) -> None:
        project_id = await scene.project()
        await scene.give(project_id, BOB, WRITE)
        await ask(scene, CAT, project_id)
        for who in (BOB, CAT):
            with refused("PERMISSION_DENIED"):
                await listed(scene, who, project_id)

    async def test_pages_by_state(self, scene: Scene) -> None:
        project_id = await scene.project()
        asked = [await ask(scene, who, project_id) for who in (BOB, CAT, DAN)]
        await decide(scene, ANN, asked[0])
        seen, token = [], ""
        while True:
            page = await listed(scene, ANN, project_id, page_size=1, page_token=token)
            seen += [each.user_id for each in page.access_requests]
            token = page.next_page_token
            if not token:
                break
        assert sorted(seen) == sorted([scene.cat, scene.dan])
        declined = (await listed(scene, ANN, project_id, status=DECLINED)).access_requests
        assert [each.user_id for each in declined] == [scene.bob]
        page = await listed(scene, ANN, project_id, page_size=1)
        with refused("INVALID_PAGE_TOKEN"):
            await listed(
                scene, ANN, project_id, page_size=1, status=DECLINED,
                page_token=page.next_page_token,
            )

    async def test_viewers_do_not_see_who_asks_in_the_activity(self, scene: Scene) -> None:
        project_id = await scene.project()
        await scene.give(project_id, BOB, WRITE)
        await ask(scene, CAT, project_id, note="a secret wish")
        history = scene.ws.stub(HistoryServiceStub, as_=BOB)
        activity = await history.ListActivity(hs.ListActivityRequest(project_id=project_id))
        assert not [e for e in activity.events if e.type.startswith("access_request")]


class TestDeciding:
    async def test_approval_gives_the_grant_in_the_same_commit(self, scene: Scene) -> None:
        project_id = await scene.project()
        asked = await ask(scene, CAT, project_id, COMMENT)
        done = await decide(scene, ANN, asked, approve=True, note="welcome")
        assert done.access_request.status == APPROVED
        assert done.access_request.decided_by == scene.ann
        assert done.access_request.grant_id == done.grant.grant_id
        assert done.grant.source_id == done.access_request.access_request_id
        assert list(done.grant.permissions) == [COMMENT]
        assert await scene.allowed(CAT, project_id, COMMENT)
        items = await scene.ws.records.scan(None, 10_000)
        commits = [i for i in items if '"type":"access_request.approved"' in i.body]
        assert len(commits) == 1
        assert '"family":"project_grant"' in commits[0].body

    async def test_other_rights_and_an_end(self, scene: Scene) -> None:
        project_id = await scene.project()
        asked = await ask(scene, CAT, project_id, WRITE)
        end = Timestamp(seconds=4_000_000_000)
        done = await decide(
            scene, ANN, asked, approve=True, permissions=[VIEW], expires_at=end
        )
        assert (list(done.grant.permissions), done.grant.expires_at) == ([VIEW], end)

    async def test_declining_gives_nothing(self, scene: Scene) -> None:
        project_id = await scene.project()
        done = await decide(scene, ANN, await ask(scene, CAT, project_id), note="no")
        assert done.access_request.status == DECLINED
        assert not done.HasField("grant")
        assert not await scene.allowed(CAT, project_id)

    @pytest.mark.case("G01")
    async def test_g01_never_more_than_the_decider_holds(self, scene: Scene) -> None:
        project_id = await scene.project()
        await scene.give(project_id, BOB, MANAGE, VIEW)
        inside = await ask(scene, CAT, project_id, WRITE)
        await scene.add_member(ANN, scene.account_id, CAT, 5)
        with refused("EXCEEDS_OWN_RIGHTS"):
            await decide(scene, BOB, inside, approve=True)
        with refused("EXCEEDS_OWN_RIGHTS"):
            await decide(scene, BOB, inside, approve=True, permissions=[OWN])
        await decide(scene, BOB, inside, approve=True, permissions=[VIEW])

    @pytest.mark.case("G02")
    async def test_g02_nobody_approves_himself(self, scene: Scene) -> None:
        project_id = await scene.project()
        await scene.give(project_id, BOB, MANAGE)
        with refused("EXCEEDS_OWN_RIGHTS"):
            await decide(scene, BOB, await ask(scene, BOB, project_id), approve=True)

    async def test_outside_of_the_account_needs_share_project(self, scene: Scene) -> None:
        project_id = await scene.project()
        await scene.give(project_id, BOB, MANAGE, VIEW)  # an editor has no share_project
        with refused("PERMISSION_DENIED"):
            await decide(scene, BOB, await ask(scene, CAT, project_id), approve=True)

    async def test_decided_is_decided_and_missing_is_missing(self, scene: Scene) -> None:
        project_id = await scene.project()
        asked = await ask(scene, CAT, project_id)
        with refused("ETAG_MISMATCH"):
            await decide(scene, ANN, asked, etag="old")
        await decide(scene, ANN, asked)
        with refused("INVALID_STATE"):
            await decide(scene, ANN, asked, approve=True)
        asked.access_request.access_request_id = "q_" + "q" * 26
        with refused("NOT_FOUND"):
            await decide(scene, ANN, asked)

    async def test_who_has_a_grant_gets_no_second(self, scene: Scene) -> None:
        project_id = await scene.project()
        asked = await ask(scene, CAT, project_id, WRITE)
        await scene.give(project_id, CAT, VIEW)
        with refused("ALREADY_EXISTS"):
            await decide(scene, ANN, asked, approve=True)

    async def test_approving_and_declining_at_once(self, scene: Scene) -> None:
        project_id = await scene.project()
        asked = await ask(scene, CAT, project_id)
        results = await asyncio.gather(
            *(outcome(decide(scene, ANN, asked, approve=n % 2 == 0)) for n in range(10))
        )
        assert sorted(results) == ["INVALID_STATE"] * 9 + ["OK"]
        found = await scene.live_grants(project_id, scene.cat)
        status = (await listed(scene, ANN, project_id, status=APPROVED)).access_requests
        assert len(found) == len(status)

    async def test_a_replay_answers_the_same(self, scene: Scene) -> None:
        project_id, request_id = await scene.project(), new_request_id()
        asked = await ask(scene, CAT, project_id)
        one = await decide(scene, ANN, asked, approve=True, request_id=request_id)
        assert await decide(scene, ANN, asked, approve=True, request_id=request_id) == one
        with refused("REQUEST_ID_REUSED"):
            await decide(scene, ANN, asked, request_id=request_id)

    async def test_an_approval_gives_what_was_read(self, scene: Scene) -> None:
        project_id = await scene.project()
        read = await ask(scene, CAT, project_id, VIEW)
        await ask(scene, CAT, project_id, WRITE)
        with refused("INVALID_FIELD"):
            await decide(scene, ANN, read, approve=True, etag="")
        with refused("ETAG_MISMATCH"):
            await decide(scene, ANN, read, approve=True)
        assert not await scene.allowed(CAT, project_id)
        done = await decide(scene, ANN, read, approve=True, permissions=[VIEW], etag="")
        assert list(done.grant.permissions) == [VIEW]

    async def test_wrong_input(self, scene: Scene) -> None:
        asked = await ask(scene, CAT, await scene.project())
        with refused("INVALID_FIELD"):
            await decide(scene, ANN, asked, permissions=[VIEW])


async def test_over_http(scene: Scene) -> None:
    project_id = await scene.project()
    async with scene.ws.client(CAT) as client:
        for each in (project_id, MISSING):
            sent = await client.post(
                f"/api/projects/{each}/accessRequests",
                json={"permissions": ["PERMISSION_VIEW"], "note": "please"},
            )
            assert sent.status_code == 200, sent.text
    async with scene.ws.client(ANN) as client:
        found = (await client.get(f"/api/projects/{project_id}/accessRequests")).json()
        (asked,) = found["access_requests"]
        done = await client.post(
            f"/api/projects/{project_id}/accessRequests/{asked['access_request_id']}:decide",
            json={"approve": True, "etag": asked["etag"]},
        )
        assert done.json()["access_request"]["status"] == "ACCESS_REQUEST_STATUS_APPROVED"
    assert await scene.allowed(CAT, project_id)


async def outcome(call: Any) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return reason_of(error)
    return "OK"


def shape(answer: Any) -> list[str]:
    return [field.name for field, _ in answer.access_request.ListFields()]


def note_calls(patch: pytest.MonkeyPatch, driver: Any, seen: list[str]) -> None:
    for name in ("get", "batch_get", "query", "commit"):
        patch.setattr(driver, name, _noted(getattr(driver, name), name, seen))


def _noted(method: Any, name: str, seen: list[str]) -> Any:
    async def noted(*args: Any, **kwargs: Any) -> Any:
        if peek_call() is not None:  # not the loops in the background
            seen.append(name)
        return await method(*args, **kwargs)

    return noted
