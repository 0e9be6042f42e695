"""ListQuarantine and RetryQuarantined, over gRPC and a spoiled backup folder; and what
a busy workspace writes passes screening."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import pytest
from workspace.common.v1.error_reason_pb2 import ErrorReason
from workspace.project.v1.project_service_pb2 import DeleteProjectRequest
from workspace.sync.v1.connection_service_pb2 import DeleteConnectionRequest
from workspace.sync.v1.quarantine_pb2 import QuarantinedRecord
from workspace.sync.v1.quarantine_pb2 import QuarantineReason as Why
from workspace.sync.v1.run_pb2 import RunStatus
from workspace.sync.v1.sync_service_pb2 import ListQuarantineRequest, RetryQuarantinedRequest
from workspace.sync.v1.sync_service_pb2_grpc import SyncServiceStub

from services.model.families import FAMILIES
from services.records.port import Item, Key, Match, Put
from services.records.siblings import Rows
from services.records.sql import SqliteDriver
from services.rpc.errors import error_info, peer_status
from sync_svc.engine.screening import screen
from tests.integration.sync.surfaces import BOB, Node, node


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Node]:
    async with node(tmp_path / "here") as made:
        yield made


async def rewrite(folder: Path, keys: Sequence[Key], **changes: str) -> list[Item]:
    """Change rows of a backup folder by hand; the rows as they were."""
    driver = await SqliteDriver.open(folder / "workspace.sqlite", portable=True)
    try:
        before = []
        for key in keys:
            item = await driver.get(key)
            assert item is not None
            new = replace(item, **changes)
            put = Put(
                key, Match(item.token), new.family, new.body, new.stamp, indexes=new.indexes
            )
            await driver.commit(key.pk, [put])
            before.append(item)
        return before
    finally:
        await driver.close()


def key_of(project_id: str) -> Key:
    return Key(f"PROJECT#{project_id}", f"PROJECT#{project_id}")


async def spoiled(here: Node, folder: Path, count: int = 1, name: str = "backup") -> list[str]:
    """Projects that are in the backup, of which the backup then says nonsense."""
    projects = [await here.project(f"Project {name} {n}") for n in range(count)]
    await here.connect(folder, name)
    await here.push(name)
    await here.pull(name)
    await rewrite(folder, [key_of(each) for each in projects], body='{"name":"By hand"}')
    run = await here.pull(name)
    assert run.status == RunStatus.RUN_STATUS_SUCCEEDED_WITH_ISSUES
    return projects


async def listed(here: Node, **fields: object) -> list[QuarantinedRecord]:
    answer = await here.sync.ListQuarantine(ListQuarantineRequest(**fields))  # type: ignore[arg-type]
    return list(answer.records)


async def retried(here: Node, *ids: str, request_id: str = "") -> list[object]:
    answer = await here.sync.RetryQuarantined(
        RetryQuarantinedRequest(quarantine_ids=ids, request_id=request_id)
    )
    assert [each.quarantine_id for each in answer.results] == list(ids)
    return list(answer.results)


async def test_what_was_changed_by_hand_is_listed_and_says_why(
    here: Node, tmp_path: Path
) -> None:
    (project,) = await spoiled(here, tmp_path / "b")
    (record,) = await listed(here)
    assert (record.connection_id, record.family) == ("backup", "project")
    assert (record.pk, record.sk) == (f"PROJECT#{project}", f"PROJECT#{project}")
    assert record.reason == Why.QUARANTINE_REASON_DIGEST_MISMATCH
    assert record.project_id == project
    assert record.stamp.dot.counter > 0
    assert record.error.message
    assert record.attempts == 1
    assert record.size_bytes == len('{"name":"By hand"}')
    assert "By hand" not in str(record)


async def test_a_retry_tells_why_it_still_does_not_apply(here: Node, tmp_path: Path) -> None:
    await spoiled(here, tmp_path / "b")
    (record,) = await listed(here)
    (result,) = await retried(here, record.quarantine_id)
    assert result.error.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]  # type: ignore[attr-defined]
    assert "digest" in result.error.message  # type: ignore[attr-defined]
    (again,) = await listed(here)
    assert again.attempts == 2
    assert again.created_at == record.created_at


async def test_a_retry_applies_what_is_fine_again(here: Node, tmp_path: Path) -> None:
    projects = [await here.project(f"P{n}") for n in range(2)]
    await here.connect(tmp_path / "b")
    await here.push()
    await here.pull()
    keys = [key_of(each) for each in projects]
    before = await rewrite(tmp_path / "b", keys, body='{"name":"By hand"}')
    await here.pull()
    first = {each.project_id: each for each in await listed(here)}
    await rewrite(tmp_path / "b", keys[:1], body=before[0].body)
    ids = [first[each].quarantine_id for each in projects]
    request_id = str(uuid.uuid4())
    one, two = await retried(here, *ids, request_id=request_id)
    assert one.applied.project_id == projects[0]  # type: ignore[attr-defined]
    assert two.error.message  # type: ignore[attr-defined]
    assert [each.project_id for each in await listed(here)] == projects[1:]
    assert await retried(here, *ids, request_id=request_id) == [one, two]


async def test_what_is_not_in_quarantine_is_not_found(here: Node, tmp_path: Path) -> None:
    (result,) = await retried(here, "0" * 64)
    assert result.error.code == grpc.StatusCode.NOT_FOUND.value[0]  # type: ignore[attr-defined]


async def test_a_surface_that_is_gone_is_unavailable(here: Node, tmp_path: Path) -> None:
    await spoiled(here, tmp_path / "b")
    (record,) = await listed(here)
    (tmp_path / "b").rename(tmp_path / "unplugged")
    (result,) = await retried(here, record.quarantine_id)
    assert result.error.code in (  # type: ignore[attr-defined]
        grpc.StatusCode.UNAVAILABLE.value[0], grpc.StatusCode.FAILED_PRECONDITION.value[0]
    )
    assert len(await listed(here)) == 1


async def test_pages_filters_and_their_tokens(here: Node, tmp_path: Path) -> None:
    await spoiled(here, tmp_path / "b", 3)
    everything = [each.quarantine_id for each in await listed(here)]
    assert len(everything) == 3
    seen: list[str] = []
    token = ""
    while True:
        answer = await here.sync.ListQuarantine(
            ListQuarantineRequest(page_size=1, page_token=token)
        )
        seen += [each.quarantine_id for each in answer.records]
        token = answer.next_page_token
        if not token:
            break
    assert seen == everything
    assert len(await listed(here, connection_id="backup")) == 3
    assert await listed(here, reason=Why.QUARANTINE_REASON_INVALID) == []
    assert len(await listed(here, reason=Why.QUARANTINE_REASON_DIGEST_MISMATCH)) == 3
    first = await here.sync.ListQuarantine(ListQuarantineRequest(page_size=1))
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await here.sync.ListQuarantine(
            ListQuarantineRequest(connection_id="backup", page_token=first.next_page_token)
        )
    assert _reason(failure.value) == ErrorReason.ERROR_REASON_INVALID_PAGE_TOKEN


async def test_only_those_who_may_use_a_connection_see_its_quarantine(
    here: Node, tmp_path: Path
) -> None:
    await spoiled(here, tmp_path / "b")
    (record,) = await listed(here)
    bob = here.ws.stub(SyncServiceStub, as_=BOB)
    assert not (await bob.ListQuarantine(ListQuarantineRequest())).records
    for name in ("backup", "no-such"):
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await bob.ListQuarantine(ListQuarantineRequest(connection_id=name))
        assert _reason(failure.value) == ErrorReason.ERROR_REASON_PERMISSION_DENIED
    answer = await bob.RetryQuarantined(
        RetryQuarantinedRequest(quarantine_ids=[record.quarantine_id])
    )
    assert answer.results[0].error.code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_all_that_a_workspace_writes_passes_screening(here: Node, tmp_path: Path) -> None:
    project = await here.project("Bridge")
    await here.projects.DeleteProject(DeleteProjectRequest(project_id=project))
    await spoiled(here, tmp_path / "b")
    await here.connections.DeleteConnection(DeleteConnectionRequest(connection_id="backup"))
    kernel = here.ws.process.kernel
    seen, after = set(), None
    while items := await kernel.records.scan(after, 500):
        after = items[-1].key
        for item in items:
            family = FAMILIES.get(item.family)
            if family is not None and family.synced:
                seen.add(item.family)
                refusal = screen(
                    Rows(item.key, item), local=None, own_actor="another",
                    now_ms=int(kernel.now() * 1000),
                )
                assert refusal is None, (item.key, refusal)
    assert {"user", "account", "account_member", "project", "activity_event"} <= seen


def _reason(error: grpc.aio.AioRpcError) -> int:
    status = peer_status(error)
    assert status is not None
    info = error_info(status)
    assert info is not None
    return ErrorReason.Value(info.reason)
