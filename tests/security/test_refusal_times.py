"""What a stranger may not see and what does not exist take the same time to refuse (Z02, I06).

Measured without caches, where every fact is read: what a first call of a process shows. The
two are asked in turn, so that whatever else the machine does meets both; a ratio outside of
the band counts only when more samples say the same. (`test_matrix` holds that they are refused
alike to the letter.)
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from tests.contract.served import CONTRACT
from tests.harness import Workspace
from tests.security.cast import MISSING, Cast, Things
from tests.security.requests_table import DENIED, ROWS

pytestmark = pytest.mark.asyncio(loop_scope="module")

BAND = (0.5, 2.0)
ROUNDS = (7, 15, 40, 100)
"""Samples of each kind. The next round is for what the one before found outside of the band."""
PLANTED_SECONDS = 0.005
NAMING = [path for path, row in ROWS.items() if row.elsewhere is DENIED]

Ask = Callable[[], Awaitable[object]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cast]:
    folder = tmp_path_factory.mktemp("times")
    async with Workspace.open(folder, permission_cache=False) as ws:
        opened = Cast(ws)
        await opened.enter()
        yield opened


def asking(cast: Cast, path: str, things: Things) -> Ask:
    rpc, channel = CONTRACT[path], cast.channel("stranger")
    request = ROWS[path].ask(things.seen_by(cast.id("stranger")))

    async def ask() -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rpc(channel, request)
        assert caught.value.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED, path

    return ask


async def seconds(ask: Ask) -> float:
    began = time.perf_counter()
    await ask()
    return time.perf_counter() - began


async def ratio(one: Ask, other: Ask) -> float:
    """How many times as long `one` takes: of medians, by the fewest samples that tell."""
    found = 0.0
    for samples in ROUNDS:
        pairs = [(await seconds(one), await seconds(other)) for _ in range(samples)]
        first, second = (statistics.median(each) for each in zip(*pairs, strict=True))
        found = first / second
        if BAND[0] <= found <= BAND[1]:
            break
    return found


@pytest.mark.case("Z02", "I06")
async def test_forbidden_and_missing_take_the_same_time(cast: Cast) -> None:
    told: dict[str, Any] = {}
    for path in NAMING:
        found = await ratio(asking(cast, path, cast.foreign), asking(cast, path, MISSING))
        if not BAND[0] <= found <= BAND[1]:
            told[path] = round(found, 2)
    assert told == {}


async def test_a_planted_difference_is_seen(cast: Cast) -> None:
    """The control: 5 ms more, or where a busy machine takes longer, twice the time."""
    path = "/workspace.project.v1.DocumentService/GetDocument"
    foreign, missing = (asking(cast, path, each) for each in (cast.foreign, MISSING))
    usual = statistics.median([await seconds(missing) for _ in range(9)])

    async def slower() -> None:
        await foreign()
        await asyncio.sleep(max(PLANTED_SECONDS, 2 * usual))

    assert await ratio(slower, missing) > BAND[1]
