"""`wm import` of many small files, by `cp -r` with checksums."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.case import Bench
from tests.bench.controls import copy_tree_with_checksums
from tests.bench.figures import Figure, Result, interleave
from tests.bench.people import TRANSFER_METHODS, signed_in
from tests.bench.servers import Server, clean_environment, workspace

TITLE = "wm import of 2,000 small files, by cp -r and SHA-256"
_FILES = 2000
_FOLDERS = 50
_SIZES = (100, 8000)
_ROUNDS = 2
_EMAIL = "ann@example.com"


def run(bench: Bench) -> Result:
    """Files per second, each into a new project; the process start of `wm` is
    in it. The copy is not durable: the page cache is the best there is."""
    tree = bench.folder / "tree"
    _generate(tree)
    with workspace(bench.folder) as server:
        if not server.serves(*TRANSFER_METHODS):
            return Result(skipped=["the storage services are not installed"])
        wm = _wm(server, bench.folder)
        if not _knows_import(wm):
            return Result(skipped=["wm has no command `import`"])
        wm("login", "--as", _EMAIL)
        copies = iter(range(100))
        sides = {
            "copy": lambda: _rate(
                lambda: copy_tree_with_checksums(tree, bench.folder / f"copy-{next(copies)}")
            ),
            "import": lambda: _import_rate(server, wm, tree),
        }
        taken = interleave(min(bench.rounds, _ROUNDS), sides, warm_up=False)
    figure = Figure(
        "wm import", "files/s", "cp -r, SHA-256, not durable", taken["import"], taken["copy"]
    )
    return Result([figure])


def _generate(tree: Path) -> None:
    """The same files every time: a seed, no clock."""
    source = random.Random(20260101)
    for number in range(_FILES):
        folder = tree / f"folder-{number % _FOLDERS:02}"
        folder.mkdir(parents=True, exist_ok=True)
        body = source.randbytes(source.randint(*_SIZES))
        (folder / f"file-{number:04}.bin").write_bytes(body)


def _import_rate(server: Server, wm: Callable[..., str], tree: Path) -> float:
    project_id = asyncio.run(_project(server))
    told: list[str] = []

    def work() -> int:
        told.append(wm("import", str(tree), "--project", project_id, "--json"))
        return int(json.loads(told[0])["imported"])

    return _rate(work)


def _rate(work: Callable[[], int]) -> float:
    """Files per second. Raises RuntimeError when files are missing."""
    began = time.perf_counter()
    done = work()
    seconds = time.perf_counter() - began
    if done != _FILES:
        raise RuntimeError(f"{done} of {_FILES} files")
    return done / seconds


async def _project(server: Server) -> str:
    async with signed_in(server, _EMAIL) as [ann]:
        return await ann.project(f"import {time.monotonic_ns()}")


def _wm(server: Server, folder: Path) -> Callable[..., str]:
    """`wm` against this server, with credentials of its own."""
    environment = clean_environment() | {
        "WM_CONFIG_DIR": str(folder / "config"),
        "WM_DATA_DIR": str(server.data_dir),
        "WM_SERVER": server.grpc,
    }

    def wm(*arguments: str) -> str:
        told = subprocess.run(
            [sys.executable, "-m", "services.cli.main", *arguments],
            env=environment, capture_output=True, text=True, check=False,
        )
        if told.returncode:
            raise RuntimeError(f"wm {arguments[0]} ended with {told.returncode}: {told.stderr}")
        return told.stdout

    return wm


def _knows_import(wm: Callable[..., str]) -> bool:
    try:
        wm("import", "--help")
    except RuntimeError:
        return False
    return True
