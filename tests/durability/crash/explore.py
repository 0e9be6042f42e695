"""Runs a story once for every crash point and compares what came of it."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
from google.protobuf.json_format import MessageToDict

from services.cli.doctor.finding import healthy
from services.cli.doctor.run import examine
from tests.durability.checker import problems
from tests.durability.crash.points import CrashPoints
from tests.harness import Workspace

__all__ = ["Story", "explore", "plain"]

_MOVING = frozenset(
    ("etag", "created_at", "updated_at", "timestamp", "uploaded_at", "deleted_at", "trashed_at",
     "revoked_at", "resolved_at", "purge_at", "purge_after", "expires_at", "last_seen_at",
     "verified_at", "completed_at", "decided_at", "consistency_token", "accepted_at", "purged_at")
)


@dataclass(frozen=True)
class Story:
    """`prepare` makes the scene and returns its ids; `act` is what a client does,
    with fixed request ids, and is repeated after a crash; `look` answers what
    people then see; `settle` lets the background finish, after a restart."""

    prepare: Callable[[Workspace], Awaitable[dict[str, str]]]
    act: Callable[[Workspace, dict[str, str]], Awaitable[None]]
    look: Callable[[Workspace, dict[str, str]], Awaitable[Any]]
    settle: Callable[[Workspace], Awaitable[None]] | None = None


async def explore(story: Story, folder: Path) -> dict[str, str]:
    """What went wrong, by crash point; empty when nothing did."""
    scene = folder / "scene"
    async with Workspace.open(scene) as ws:
        ids = await story.prepare(ws)
    wanted, names = await _undisturbed(story, folder, scene, ids)
    assert names, "the story has no durable step"
    faults: dict[str, str] = {}
    for at, name in enumerate(names):
        number = names[:at].count(name)
        for after in (False, True):
            place = folder / "crashed"
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(scene, place)
            points = CrashPoints((name, number), after)
            fault = await _crashed(story, place, ids, wanted, points)
            if fault:
                faults[f"{number}:{name}:{_side(after)}"] = fault
    return faults


async def _undisturbed(
    story: Story, folder: Path, scene: Path, ids: dict[str, str]
) -> tuple[Any, list[str]]:
    place = folder / "undisturbed"
    shutil.copytree(scene, place)
    points = CrashPoints()
    async with _opened(place) as ws:
        points.install(ws.process)
        points.armed = True
        await story.act(ws, ids)
        points.armed = False
    return await _outcome(story, place, ids), points.names


async def _crashed(
    story: Story, place: Path, ids: dict[str, str], wanted: Any, points: CrashPoints
) -> str:
    async with _opened(place) as ws:
        points.install(ws.process)
        points.armed = True
        with suppress(grpc.aio.AioRpcError, httpx.HTTPError, AssertionError):
            await story.act(ws, ids)
    if not points.dead:
        return ""  # this time the story took fewer steps: nothing to crash
    found = await problems(place / "wm-data")
    if found:
        return f"after the crash: {found}"
    async with _opened(place) as ws:
        try:
            await story.act(ws, ids)
        except (grpc.aio.AioRpcError, httpx.HTTPError, AssertionError) as error:
            return f"the repeat failed: {error}"
    seen = await _outcome(story, place, ids)
    if seen != wanted:
        return f"seen {seen}, wanted {wanted}"
    found = await problems(place / "wm-data")
    health = await examine(place / "wm-data")
    return "" if not found and healthy(health) else f"{found} {health}"


async def _outcome(story: Story, place: Path, ids: dict[str, str]) -> Any:
    async with _opened(place) as ws:
        if story.settle is not None:
            await story.settle(ws)
        return await story.look(ws, ids)


def _side(after: bool) -> str:
    return "after" if after else "before"


def _opened(place: Path) -> Any:
    return Workspace.open(place)


def plain(value: Any) -> Any:
    """A message as a dict, without what differs between two runs."""
    if hasattr(value, "DESCRIPTOR"):
        value = MessageToDict(value, preserving_proto_field_name=True)
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items() if name not in _MOVING}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value
