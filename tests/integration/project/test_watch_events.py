"""WatchEvents: what the caller may see, in order, resumable, ended with the right."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1 import history_service_pb2 as pb
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest, RevokeGrantRequest
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub
from workspace.project.v1.project_service_pb2 import CreateProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.events.outbox import Position
from services.records.record import Activity
from services.rpc.resume_tokens import ResumeTokens
from tests.harness import Workspace
from tests.integration.project.files import create, project
from tests.integration.project.world import KEY, Refused, Role, World

VIEW = Permission.PERMISSION_VIEW


class Watch:
    """One stream; `seen` are its events, `token` the newest resume token."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.seen: list[Any] = []
        self.token = ""
        self.checkpoints = 0

    async def next(self) -> Any:
        message = await self.call.read()
        assert message is not grpc.aio.EOF
        assert message.resume_token
        assert message.HasField("event") != message.checkpoint
        self.token = message.resume_token
        if message.checkpoint:
            self.checkpoints += 1
        else:
            self.seen.append(message.event)
        return message

    async def events(self, count: int) -> list[Any]:
        while len(self.seen) < count:
            await self.next()
        return self.seen

    async def types(self, count: int) -> list[str]:
        return [event.type for event in await self.events(count)]

    async def refused(self) -> Refused:
        try:
            while True:
                await self.next()
        except grpc.aio.AioRpcError as error:
            return Refused(error)


@asynccontextmanager
async def watch(
    world: World, user_id: str, *, token: str = "", **fields: Any
) -> AsyncIterator[Watch]:
    """A stream that has begun: what happens from now on is in it."""
    stub = HistoryServiceStub(world._local(""))
    call = stub.WatchEvents(
        pb.WatchEventsRequest(resume_token=token, **fields),
        metadata=(("authorization", f"Bearer {user_id}"),),
        timeout=60,
    )
    opened = Watch(call)
    try:
        if not token:
            assert (await opened.next()).checkpoint
        yield opened
    finally:
        call.cancel()


async def grant(world: World, project_id: str, user_id: str, *permissions: int) -> str:
    made = await world.grants("ann").CreateGrant(
        CreateGrantRequest(
            project_id=project_id,
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            target_id=user_id,
            permissions=permissions,
        )
    )
    return str(made.grant.grant_id)


async def test_everything_visible_as_it_happens(world: World) -> None:
    async with watch(world, "ann") as ann, watch(world, "bob") as bob:
        home = await project(world)
        made = await create(world, home)
        own = await project(world, "bob")
        assert await ann.types(2) == ["project.created", "document.created"]
        assert ann.seen[1].resource == f"documents/{made.document_id}"
        assert [e.project_id for e in await bob.events(1)] == [own]


async def test_filters(world: World) -> None:
    one, two = await project(world), await project(world, account_id="a_one")
    async with (
        watch(world, "ann", project_ids=[one]) as by_project,
        watch(world, "ann", account_id="a_one") as by_account,
        watch(world, "ann", event_types=["document.*"]) as by_noun,
        watch(world, "ann", event_types=["document.archived", "project.created"]) as by_type,
    ):
        await create(world, two)
        await create(world, one)
        three = await project(world)
        assert [e.project_id for e in await by_project.events(1)] == [one]
        assert [e.project_id for e in await by_account.events(1)] == [two]
        assert [e.project_id for e in await by_noun.events(2)] == [two, one]
        assert [e.project_id for e in await by_type.events(1)] == [three]


@pytest.mark.parametrize("bad", ["*", "project", "Project.created", "a.b.c", "project.**"])
async def test_a_filter_that_could_never_match_is_refused(world: World, bad: str) -> None:
    stub = HistoryServiceStub(world._local(""))
    call = stub.WatchEvents(
        pb.WatchEventsRequest(event_types=["project.*", bad]),
        metadata=(("authorization", "Bearer ann"),),
    )
    said = await Watch(call).refused()
    assert (said.reason, said.metadata["field"]) == ("INVALID_FIELD", "event_types[1]")


async def test_what_is_named_must_be_visible(world: World) -> None:
    home = await project(world)
    stub = HistoryServiceStub(world._local(""))
    for fields in ({"project_ids": [home]}, {"project_ids": ["p_none"]}, {"account_id": "a_one"}):
        call = stub.WatchEvents(
            pb.WatchEventsRequest(**fields), metadata=(("authorization", "Bearer bob"),)
        )
        said = await Watch(call).refused()
        assert (said.code, said.reason) == (
            grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED",
        )  # fmt: skip


async def test_access_changes_only_for_who_manages_access(world: World) -> None:
    home = await project(world)
    await grant(world, home, "bob", VIEW)
    async with watch(world, "ann") as ann, watch(world, "bob") as bob:
        await grant(world, home, "zoe", VIEW)
        made = await create(world, home)
        assert await ann.types(2) == ["grant.created", "document.created"]
        assert await bob.types(1) == ["document.created"]
        assert bob.seen[0].resource == f"documents/{made.document_id}"
        assert bob.seen[0].changes


async def test_the_account_s_own_events_are_for_its_managers(world: World) -> None:
    async with watch(world, "ann") as ann, watch(world, "eve") as eve:
        await world.records.commit(
            "ACCOUNT#a_one", [],
            activity=Activity("account.updated", "accounts/a_one", account_id="a_one"),
        )  # fmt: skip
        mine = await project(world, "eve")
        assert await ann.types(1) == ["account.updated"]
        assert [e.project_id for e in await eve.events(1)] == [mine]


async def test_a_manager_learns_of_projects_that_only_others_see_without_their_content(
    world: World,
) -> None:
    async with watch(world, "ann", account_id="a_one") as ann:
        hidden = await project(world, "eve", account_id="a_one", restricted=True)
        event = (await ann.events(1))[0]
    assert event.project_id == hidden
    seen = await world.stub(HistoryServiceStub, "ann").ListActivity(
        pb.ListActivityRequest(account_id="a_one", type_prefix="project.created")
    )
    assert list(seen.events) == [event], "the same as ListActivity shows"


@pytest.mark.case("Z22")
async def test_a_revoked_grant_ends_the_stream(world: World) -> None:
    home = await project(world)
    given = await grant(world, home, "bob", VIEW)
    async with watch(world, "bob", project_ids=[home]) as bob, watch(world, "bob") as wide:
        await create(world, home, "a.pdf")
        await bob.events(1)
        await world.grants("ann").RevokeGrant(
            RevokeGrantRequest(project_id=home, grant_id=given)
        )
        await create(world, home, "b.pdf")
        said = await bob.refused()
        assert said.code is grpc.StatusCode.PERMISSION_DENIED
        assert len(bob.seen) == 1, "nothing of after the right had ended"
        own = await project(world, "bob")
        assert [e.project_id for e in (await wide.events(2))] == [home, own]


@pytest.mark.case("Z22")
async def test_a_right_that_ends_elsewhere_ends_an_idle_stream(world: World) -> None:
    """No commit of ours wakes it: it looks by itself."""
    home = await project(world, account_id="a_one", restricted=False)
    async with (
        watch(world, "ann", account_id="a_one") as by_account,
        watch(world, "eve", project_ids=[home]) as by_project,
        watch(world, "zoe") as disabled,
    ):
        world.people.member("a_one", "ann", Role.ACCOUNT_ROLE_VIEWER)
        del world.people.members["a_one", "eve"]
        world.people.users["zoe"] = 0
        for each in (by_account, by_project, disabled):
            async with asyncio.timeout(5):
                assert (await each.refused()).code is grpc.StatusCode.PERMISSION_DENIED


async def test_every_message_can_be_resumed_after(world: World) -> None:
    async with watch(world, "ann") as first:
        start = first.token
        home = await project(world)
        for number in range(6):
            await create(world, home, f"{number}.pdf")
        messages = [(await first.next()) for _ in range(7)]
    ids = [message.event.event_id for message in messages]
    for at, token in enumerate([start, *(message.resume_token for message in messages[:-1])]):
        async with watch(world, "ann", token=token) as again:
            assert [e.event_id for e in await again.events(7 - at)] == ids[at:]


async def test_a_checkpoint_covers_what_others_alone_may_see(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("project_svc.history.watch_events.CHECKPOINT_SECONDS", 0.2)
    async with watch(world, "zoe") as zoe:
        home = await project(world)
        for number in range(3):
            await create(world, home, f"{number}.pdf")
        async with asyncio.timeout(15):
            assert (await zoe.next()).checkpoint
        token = zoe.token
    async with watch(world, "zoe", token=token) as zoe:
        own = await project(world, "zoe")
        assert [e.project_id for e in await zoe.events(1)] == [own]


@pytest.mark.case("Z08")
async def test_tokens_are_bound_to_caller_and_arguments(world: World) -> None:
    async with watch(world, "ann") as ann:
        token = ann.token
    stub = HistoryServiceStub(world._local(""))
    cases: Sequence[tuple[str, dict[str, Any]]] = [
        ("bob", {"resume_token": token}),
        ("ann", {"resume_token": token, "event_types": ["project.*"]}),
        ("ann", {"resume_token": token[:-2] + ("AA" if token[-2:] != "AA" else "BB")}),
        ("ann", {"resume_token": "garbage"}),
    ]
    for user_id, fields in cases:
        call = stub.WatchEvents(
            pb.WatchEventsRequest(**fields), metadata=(("authorization", f"Bearer {user_id}"),)
        )
        said = await Watch(call).refused()
        assert (said.code, said.reason, said.metadata["field"]) == (
            grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", "resume_token",
        )  # fmt: skip


async def test_a_token_tells_nothing_of_the_rows_it_names(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("project_svc.history.watch_events.CHECKPOINT_SECONDS", 0.2)
    async with watch(world, "zoe") as zoe:
        start = zoe.token
        home = await project(world)
        async with asyncio.timeout(15):
            await zoe.next()
        tokens = [start, zoe.token]
    for token in tokens:
        plain = base64.urlsafe_b64decode(token + "==")
        assert home.encode() not in plain
        assert b"EVENT" not in plain


async def test_a_token_of_another_life_of_the_store_is_too_old(world: World) -> None:
    """As after a restore: well made, but the feed knows its position no more."""
    request = pb.WatchEventsRequest()
    tokens = ResumeTokens(
        KEY, method="/workspace.project.v1.HistoryService/WatchEvents", caller="ann",
        request=request,
    )  # fmt: skip
    lost = Position(json.dumps(["another store", 5, "", ""]))
    async with watch(world, "ann", token=tokens.issue(lost.dump())) as ann:
        said = await ann.refused()
    assert (said.code, said.reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_LOST")


async def test_a_slow_reader_is_served_from_the_feed(world: World) -> None:
    """While it does not read nothing is gathered for it; then it gets all."""
    home = await project(world)
    async with watch(world, "ann", project_ids=[home]) as ann:
        for number in range(40):
            await create(world, home, f"{number}.pdf")
        sequence = [event.resource for event in await ann.events(40)]
    assert len(set(sequence)) == 40


async def test_over_http_and_over_a_socket(tmp_path: Path) -> None:
    async with Workspace.open(tmp_path) as ws:
        await ws.sign_in("ann@example.com")
        stub = ws.socket_stub(HistoryServiceStub, as_="ann@example.com")
        call = stub.WatchEvents(pb.WatchEventsRequest())
        over_socket = Watch(call)
        await over_socket.next()
        async with (
            ws.client("ann@example.com") as client,
            client.stream("GET", "/api/events:watch") as answer,
        ):
            lines = answer.aiter_lines()
            first = json.loads(await anext(lines))
            await ws.stub(ProjectServiceStub, as_="ann@example.com").CreateProject(
                CreateProjectRequest(name="Bridge")
            )
            second = json.loads(await anext(lines))
        assert await over_socket.types(1) == ["project.created"]
        call.cancel()
    assert first.get("result", first)["checkpoint"] is True
    event = second.get("result", second)["event"]
    assert event["type"] == "project.created"
