"""A surface cannot make this node take a new name at each run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from workspace.common.v1.error_reason_pb2 import ErrorReason
from workspace.sync.v1.connection_pb2 import Connection, Trust
from workspace.sync.v1.run_pb2 import SyncOptions

from services.model.errors import WorkspaceError
from services.records.port import Match, Put
from sync_svc.engine.task import Task
from sync_svc.nodes.preflight import preflight
from sync_svc.nodes.rows import DAY_MS, node_key
from tests.unit.sync_svc.nodes.conftest import Open, stores
from tests.unit.sync_svc.nodes.lives import PUSH, Store, load, push, task_of

__all__ = ["stores"]


async def _forge(box: Store, ann: Store) -> None:
    """The surface has another token than we left."""
    item = await box.records.get_row(node_key((await ann.now()).instance_id))
    assert item is not None
    body = json.loads(item.body)
    text = json.dumps(_with_token(body), sort_keys=True)
    await box.records.put_row(
        Put(item.key, Match(item.token), item.family, text, indexes=item.indexes)
    )


def _with_token(value: object) -> object:
    if isinstance(value, dict):
        return {k: "f" * 24 if k == "token" else _with_token(v) for k, v in value.items()}
    return value


async def _run(ann: Store, box: Store, trust: Trust.ValueType, **options: bool) -> str:
    """A preflight after a forgery; the incarnation that came of it."""
    await push(ann, box)
    await _forge(box, ann)
    task = _task(ann, box, trust, **options)
    await preflight(task, await load(task), sleep=_at_once)
    return (await ann.now()).incarnation


def _task(ann: Store, box: Store, trust: Trust.ValueType, **options: bool) -> Task:
    task = task_of(ann, box, PUSH, options=SyncOptions(**options))
    return replace(task, connection=Connection(connection_id=box.name, trust=trust))


async def _at_once(_: float) -> None:
    return None


async def test_one_new_incarnation_a_day(stores: Open) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await ann.edit("p", name="x")
    first = await _run(ann, box, Trust.TRUST_CONTENT_ONLY)
    with pytest.raises(WorkspaceError) as caught:
        await _run(ann, box, Trust.TRUST_CONTENT_ONLY)
    assert caught.value.reason == ErrorReason.ERROR_REASON_SURFACE_CHANGED
    assert "--reinitialise" in caught.value.message
    assert (await ann.now()).incarnation == first
    ann.clock.now += DAY_MS
    task = _task(ann, box, Trust.TRUST_CONTENT_ONLY)
    await preflight(task, await load(task), sleep=_at_once)
    assert (await ann.now()).incarnation != first


async def test_who_is_trusted_is_believed(stores: Open) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await ann.edit("p", name="x")
    found = [await _run(ann, box, Trust.TRUST_FULL) for _ in range(3)]
    assert len(set(found)) == 3
