"""Objects pushed to Azurite, by the SDK's own uploads of the same files to the same server.

Ours: `ObjectStore.write` with AzureBlobDriver, as many at once as sync moves (4), size and
SHA-256 known as they are from records, durable and create-only. The control is the SDK's
asynchronous client with its settings: the large file by `upload_blob` with
`max_concurrency=4` (blocks of 4 MiB), small ones by `upload_blob` one after another, both
create-only and without a checksum. It keeps its connections, as it does with Azure (with an
authority of one's own it would make a new one for each request).
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
import time
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import uvloop
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob import ContentSettings
from azure.storage.blob.aio import ContainerClient

from tests.bench.case import Bench
from tests.bench.cases.azure_stores import MISSING_NPM, opened_blobs, servers
from tests.bench.cases.pushed_files import AT_ONCE, MIB, TYPE, digests_of, filled, push_files
from tests.bench.figures import Figure, Goal, Result, interleave
from tests.servers import azure
from tests.servers.containers import local_clients, new_container

TITLE = "Objects in Blob Storage (Azurite), by the SDK's uploads"
_LARGE_MIB, _SMALL = 128, 300


def run(bench: Bench) -> Result:
    """Whole pushes of one large object and of many small ones."""
    if MISSING_NPM:
        return Result(skipped=[MISSING_NPM])
    with servers():
        large = _taken(bench, filled(bench.folder / "large", 1, _LARGE_MIB * MIB))
        small = _taken(bench, filled(bench.folder / "small", _SMALL, 4096))
    return Result([
        _figure(f"one object of {_LARGE_MIB} MiB", "MiB/s", _LARGE_MIB, large,
                "upload_blob, max_concurrency=4", 0.9),
        _figure(f"{_SMALL} objects of 4 KiB", "objects/s", _SMALL, small,
                "upload_blob, one by one", 1.5),
    ])  # fmt: skip


def _figure(
    name: str, unit: str, amount: int, taken: Mapping[str, list[float]], control: str, goal: float
) -> Figure:
    rates = {side: [amount / seconds for seconds in each] for side, each in taken.items()}
    return Figure(
        name, unit, control, rates["ours"], rates["sdk"], goal=Goal("ratio", at_least=goal)
    )


def _taken(bench: Bench, folder: Path) -> dict[str, list[float]]:
    """In a container of its own: Azurite keeps it in memory, and what lies there costs."""
    digests, name, numbers = digests_of(folder), new_container(), itertools.count(1)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        async def ours() -> float:
            objects = await opened_blobs(name)
            seconds = await push_files(objects, f"ours{next(numbers)}", digests)
            await objects.close()
            return seconds

        async def theirs() -> float:
            return await _uploaded(name, f"sdk{next(numbers)}", list(digests))

        return interleave(
            bench.rounds,
            {"sdk": lambda: runner.run(theirs()), "ours": lambda: runner.run(ours())},
        )


async def _uploaded(name: str, prefix: str, paths: list[Path]) -> float:
    clients = local_clients()
    context = ssl.create_default_context(cafile=azure.ca_file())
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context), trust_env=True,
        cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False,
    )  # fmt: skip
    url = clients.place.blob_url(azure.ACCOUNT)
    transport = AioHttpTransport(session=session)
    async with ContainerClient(url, name, clients.credential, transport=transport) as sdk:
        await sdk.get_container_properties()  # signed in, as a driver that was opened
        began = time.perf_counter()
        for path in paths:
            with await asyncio.to_thread(path.open, "rb") as file:
                await sdk.upload_blob(
                    f"{prefix}/{path.name}", file, overwrite=False, max_concurrency=AT_ONCE,
                    content_settings=ContentSettings(content_type=TYPE),
                )
        seconds = time.perf_counter() - began
    await clients.close()
    return seconds
