"""Rights, people, watches and mail follow what came by sync."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.invitation_pb2 import InvitationTerms
from workspace.identity.v1.invitation_service_pb2 import (
    AcceptInvitationRequest,
    CreateInvitationRequest,
)
from workspace.identity.v1.invitation_service_pb2_grpc import InvitationServiceStub
from workspace.project.v1.document_service_pb2 import SearchDocumentsRequest
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import (
    CreateGrantRequest,
    RevokeGrantRequest,
)
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.history_service_pb2 import WatchEventsRequest
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub
from workspace.project.v1.permission_service_pb2 import (
    CheckPermissionRequest,
    WatchPermissionsRequest,
)
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub
from workspace.project.v1.project_service_pb2 import UpdateProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.sync.v1.conflict_pb2 import Resolution

from services.events.following import Follower
from tests.integration.storage.people import refused
from tests.integration.sync.arriving import (
    again,
    documents,
    eventually,
    send,
    two_nodes,
)
from tests.integration.sync.nodes import ANN, BOB, EVE, Node, in_step, request_id

VIEW, WRITE = Permission.PERMISSION_VIEW, Permission.PERMISSION_WRITE
SECONDS = 20


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[tuple[Node, Node]]:
    async with two_nodes(tmp_path) as made:
        yield made


async def give(node: Node, project_id: str, who: str, *permissions: Any, by: str = "id") -> str:
    """A grant to a user, named by id or by address; its id."""
    target: dict[str, Any] = {"target_email": who}
    if by == "id":
        target = {"target_id": await node.ws.sign_in(who)}
    made = await node.stub(GrantServiceStub).CreateGrant(
        CreateGrantRequest(
            project_id=project_id, target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            permissions=permissions, request_id=request_id(), **target,
        )
    )
    return str(made.grant.grant_id)


async def allowed(node: Node, who: str, project_id: str, permission: Any = VIEW) -> bool:
    await node.ws.sign_in(who)
    answer = await node.stub(PermissionServiceStub, who).CheckPermission(
        CheckPermissionRequest(project_id=project_id, permission=permission)
    )
    return bool(answer.allowed)


def mails(node: Node, kind: str) -> list[Any]:
    """Mails in the folder whose subject has these words."""
    folder = node.ws.process.settings.data_dir / "mail"
    found = [
        email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        for path in sorted(folder.glob("*.eml"))
    ]
    return [each for each in found if kind in str(each["subject"])]


@asynccontextmanager
async def heard(stream: Any, into: list[Any]) -> AsyncIterator[None]:
    """Messages of a stream that has begun."""
    begun = asyncio.Event()

    async def listen() -> None:
        async for message in stream:
            into.append(message)
            begun.set()

    task = asyncio.ensure_future(listen())
    async with asyncio.timeout(SECONDS):
        await begun.wait()
    try:
        yield
    finally:
        stream.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_rights_that_were_decided_from_memory_end_with_a_revocation_that_came(
    nodes: tuple[Node, Node],
) -> None:
    a, b = nodes
    project_id = await a.project()
    grant_id = await give(a, project_id, BOB, VIEW, WRITE)
    await send(a, b)
    assert await allowed(b, BOB, project_id, WRITE)
    messages: list[Any] = []
    watch = b.stub(PermissionServiceStub, BOB).WatchPermissions(
        WatchPermissionsRequest(project_ids=[project_id])
    )
    async with heard(watch, messages):
        await a.stub(GrantServiceStub).RevokeGrant(
            RevokeGrantRequest(
                project_id=project_id, grant_id=grant_id, request_id=request_id()
            )
        )
        await a.push()
        assert await allowed(b, BOB, project_id, WRITE)
        await b.pull()
        assert not await allowed(b, BOB, project_id, WRITE)
        assert not await allowed(b, BOB, project_id)

        async def told() -> bool:
            return any(each.project_id == project_id for each in messages)

        await eventually(told)


async def test_events_that_came_are_watched_once_and_published_by_their_own_node_alone(
    nodes: tuple[Node, Node],
) -> None:
    a, b = nodes
    project_id = await a.project()
    await send(a, b)
    messages: list[Any] = []
    watch = b.stub(HistoryServiceStub).WatchEvents(WatchEventsRequest())
    async with heard(watch, messages):
        await give(a, project_id, BOB, VIEW)
        document_id = await a.document(project_id, "plan.txt")
        for _ in range(3):
            await in_step(a, b, rounds=5)

        def events() -> list[Any]:
            return [each.event for each in messages if each.HasField("event")]

        async def complete() -> bool:
            return "document.file_attached" in {each.type for each in events()}

        await eventually(complete)
        await b.edit(document_id, title="of b")

        async def local_too() -> bool:
            return "document.updated" in {each.type for each in events()}

        await eventually(local_too)
        counted = Counter(each.event_id for each in events())
        assert set(counted.values()) == {1}
        assert {"grant.created", "document.created"} <= {each.type for each in events()}
    # Bob is told of his grant by the node that gave it.

    async def told() -> list[Any]:
        return mails(a, "Access to")

    assert len(await eventually(told)) == 1
    assert mails(b, "Access to") == []


async def test_a_user_who_came_is_found_by_address(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    project_id = await a.project()
    bob = await a.ws.sign_in(BOB)
    said = await refused(_given_by_address(b, await b.project("Other")))
    assert said.reason in ("NOT_FOUND", "INVALID_FIELD", "PERMISSION_DENIED")
    await send(a, b)
    await _given_by_address(b, project_id)
    assert await allowed(b, BOB, project_id)
    assert await b.ws.sign_in(BOB) == bob


async def _given_by_address(node: Node, project_id: str) -> str:
    return await give(node, project_id, BOB, VIEW, by="address")


async def test_an_invitation_that_came_is_accepted_here_by_whom_it_names_but_not_by_its_link(
    nodes: tuple[Node, Node],
) -> None:
    a, b = nodes
    project_id = await a.project()
    made = await a.stub(InvitationServiceStub).CreateInvitation(
        CreateInvitationRequest(
            project_id=project_id, email=EVE, terms=InvitationTerms(permissions=[VIEW]),
            request_id=request_id(),
        )
    )
    await send(a, b)
    await b.ws.sign_in(EVE)
    await b.ws.sign_in(BOB)
    stub = b.stub(InvitationServiceStub, EVE)
    said = await refused(
        stub.AcceptInvitation(
            AcceptInvitationRequest(token=made.token, request_id=request_id())
        )
    )
    assert said.reason == "INVITATION_VOID"
    assert "by the invitation's id" in said.message
    by_id = {"invitation_id": made.invitation.invitation_id}
    other = b.stub(InvitationServiceStub, BOB)
    said = await refused(
        other.AcceptInvitation(AcceptInvitationRequest(**by_id, request_id=request_id()))
    )
    assert said.reason == "INVITATION_VOID"
    await stub.AcceptInvitation(AcceptInvitationRequest(**by_id, request_id=request_id()))
    assert await allowed(b, EVE, project_id)
    await in_step(b, a, rounds=5)
    assert await allowed(a, EVE, project_id)


async def _differ(a: Node, b: Node) -> tuple[str, str]:
    """A project and a document of it whose title is in conflict."""
    project_id = await a.project()
    document_id = await a.document(project_id, "plan.txt", b"12345")
    await give(a, project_id, BOB, VIEW)
    await in_step(a, b, rounds=5)
    await a.edit(document_id, title="Anna")
    await b.edit(document_id, title="Berta")
    return project_id, document_id


async def test_a_document_in_conflict_is_listed_found_read_and_decided_by_what_is_shown(
    nodes: tuple[Node, Node],
) -> None:
    a, b = nodes
    project_id, document_id = await _differ(a, b)
    await in_step(a, b, rounds=5)
    shown = (await a.read(document_id)).title
    assert shown in ("Anna", "Berta")
    other = {"Anna": "Berta", "Berta": "Anna"}[shown]
    for node in nodes:
        assert (await node.read(document_id)).title == shown
        assert [each.title for each in await documents(node, project_id=project_id)] == [shown]
        assert await node.bytes_of(document_id) == b"12345"
        assert await allowed(node, BOB, project_id)
        assert not await allowed(node, BOB, project_id, WRITE)
        assert not await allowed(node, EVE, project_id)

        async def found(node: Node = node) -> bool:
            hits = await node.documents.SearchDocuments(SearchDocumentsRequest(query=shown))
            misses = await node.documents.SearchDocuments(SearchDocumentsRequest(query=other))
            return len(hits.documents) == 1 and not misses.documents

        await eventually(found)
    # What is shown may be edited; the edit stands beside the version it did not see.
    await a.edit(document_id, classification="CLASSIFICATION_CONFIDENTIAL")
    assert (await a.read(document_id)).title == shown


async def test_owners_are_told_of_a_conflict_once_by_each_node(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await _differ(a, b)
    for _ in range(3):
        await in_step(a, b, rounds=5)
    for node in nodes:

        async def told(node: Node = node) -> list[Any]:
            return mails(node, "A conflict in")

        (mail,) = await eventually(told)
        assert mail["to"] == ANN
        text = mail.get_content()
        assert '"Plans"' in text
        assert '"plan.txt"' in text
        (conflict,) = await node.conflicts()
        assert f"wm sync resolve {conflict.conflict_id}" in text
        assert "sync.conflict" in text
    for _ in range(2):
        await in_step(a, b, rounds=5)
    assert [len(mails(node, "A conflict in")) for node in nodes] == [1, 1]


async def test_of_a_conflict_that_was_decided_before_nobody_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And without the follower of anything: it makes up for it after a restart."""

    async def idle(_: Follower) -> None:
        return

    with monkeypatch.context() as patched:
        patched.setattr(Follower, "run", idle)
        async with two_nodes(tmp_path) as (a, b):
            _, first = await _differ(a, b)
            _, second = await _differ(a, b)
            await in_step(a, b, rounds=5)
            found = {each.document_id: each.conflict_id for each in await a.conflicts()}
            assert found.keys() == {first, second}
            await a.resolve(found[first], Resolution(ours=Resolution.Ours()))
            assert mails(a, "A conflict in") == []
    async with again(tmp_path / "a") as a:

        async def told() -> list[Any]:
            return mails(a, "A conflict in")

        (mail,) = await eventually(told)
        assert found[second] in mail.get_content()


async def test_a_project_that_was_changed_on_both_nodes_is_told_of_to_its_owner(
    nodes: tuple[Node, Node],
) -> None:
    a, b = nodes
    project_id = await a.project()
    await in_step(a, b, rounds=5)
    for node, name in ((a, "Roads"), (b, "Bridges")):
        request = UpdateProjectRequest(request_id=request_id())
        request.project.project_id, request.project.name = project_id, name
        request.update_mask.paths.append("name")
        await node.stub(ProjectServiceStub).UpdateProject(request)
    await in_step(a, b, rounds=5)

    async def told() -> list[Any]:
        return mails(b, "A conflict in")

    (mail,) = await eventually(told)
    assert "the project " in mail.get_content()


async def test_who_may_not_see_the_project_is_not_told(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await b.ws.sign_in(EVE)
    await _differ(a, b)
    await in_step(a, b, rounds=5)

    async def told() -> list[Any]:
        return mails(b, "A conflict in")

    assert {str(each["to"]) for each in await eventually(told)} == {ANN}
    (found,) = await b.conflicts()
    b.who = EVE
    said = await refused(b.conflict(found.conflict_id))
    assert said.reason == "PERMISSION_DENIED"
