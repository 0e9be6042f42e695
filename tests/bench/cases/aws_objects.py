"""Objects pushed to versitygw, by `rclone copy` of the same files to the same server.

Ours: `ObjectStore.write` with S3Driver, as many at once as sync moves (4), size and
SHA-256 known as they are from records, durable and create-only. rclone: its defaults (4
at once, 4 parts at once, MD5), in a process of its own; what an empty run of it takes is
not counted. Both read the same files.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import uvloop

from services.aws.clients import AwsClients
from services.objects.s3 import S3Driver
from services.objects.store import ObjectStore
from tests.bench.case import Bench
from tests.bench.cases.aws_stores import MISSING_GO, bucket, place, servers
from tests.bench.cases.pushed_files import MIB, digests_of, filled, push_files
from tests.bench.figures import Figure, Goal, Result, interleave
from tests.servers.aws import ACCESS_KEY, REGION, SECRET_KEY

TITLE = "Objects in S3 (versitygw), by rclone"
_ROUNDS = 5


def run(bench: Bench) -> Result:
    """Whole pushes of one large object and of many small ones."""
    if MISSING_GO:
        return Result(skipped=[MISSING_GO])
    rclone = shutil.which("rclone")
    if rclone is None:
        return Result(skipped=["rclone (apt-get install rclone)"])
    with servers():
        url, name = bucket()
        work = _Work(rclone, url, name)
        figures = [_large(bench, work), _small(bench, work)]
        return Result(figures, notes={"rclone": _version(rclone)})


def _large(bench: Bench, work: _Work) -> Figure:
    folder = filled(bench.folder / "large", 1, 256 * MIB)
    taken = _taken(bench, work, folder)
    rates = {side: [256 / seconds for seconds in each] for side, each in taken.items()}
    return Figure(
        "one object of 256 MiB", "MiB/s", "rclone copy", rates["ours"], rates["rclone"],
        goal=Goal("ratio", at_least=0.9),
    )


def _small(bench: Bench, work: _Work) -> Figure:
    folder = filled(bench.folder / "small", 500, 4096)
    taken = _taken(bench, work, folder)
    rates = {side: [500 / seconds for seconds in each] for side, each in taken.items()}
    return Figure(
        "500 objects of 4 KiB", "objects/s", "rclone copy", rates["ours"], rates["rclone"],
        goal=Goal("ratio", at_least=1.5),
    )


def _taken(bench: Bench, work: _Work, folder: Path) -> Mapping[str, list[float]]:
    digests = digests_of(folder)
    return interleave(
        min(bench.rounds, _ROUNDS),
        {"rclone": lambda: work.rclone(folder), "ours": lambda: work.ours(digests)},
    )


class _Work:
    """Pushes to one bucket, each below a name of its own."""

    def __init__(self, rclone: str, url: str, bucket_name: str) -> None:
        self._rclone, self._url, self._bucket = rclone, url, bucket_name
        self._number = 0

    def rclone(self, folder: Path) -> float:
        empty = folder.parent / "empty"
        empty.mkdir(exist_ok=True)
        idle = statistics.median(self._copied(empty) for _ in range(3))
        return max(self._copied(folder) - idle, 1e-3)

    def ours(self, digests: Mapping[Path, str]) -> float:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._pushed(digests))

    def _prefix(self) -> str:
        self._number += 1
        return f"run{self._number}"

    def _copied(self, folder: Path) -> float:
        remote = (
            f":s3,provider=Other,access_key_id={ACCESS_KEY},secret_access_key={SECRET_KEY},"
            f"region={REGION},force_path_style=true,endpoint='{self._url}'"
        )
        command = [
            self._rclone, "--config", "/dev/null", "copy", str(folder),
            f"{remote}:{self._bucket}/{self._prefix()}",
        ]  # fmt: skip
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - began

    async def _pushed(self, digests: Mapping[Path, str]) -> float:
        """Opening the store is not counted, as an empty run of rclone is not."""
        clients, prefix = AwsClients(place(s3=self._url)), self._prefix()
        objects = ObjectStore(await S3Driver.open(clients, self._bucket, path_style=True))
        seconds = await push_files(objects, prefix, digests)
        await objects.close()
        return seconds


def _version(rclone: str) -> str:
    said = subprocess.run([rclone, "version"], check=True, capture_output=True, text=True)
    return said.stdout.partition("\n")[0]
