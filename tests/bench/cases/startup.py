"""How long `wm serve` takes to be ready, and what it holds while idle."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.case import Bench
from tests.bench.controls import BARE_IMPORTS, import_seconds
from tests.bench.figures import Figure, Goal, Result, interleave
from tests.bench.servers import clean_environment, ended, resident_mib

TITLE = "Start of `wm serve` and its idle memory, by a Python that imports its libraries"
_WAIT_SECONDS = 30
_IDLE_SECONDS = 2.0
_MEMORY_ROUNDS = 2


def run(bench: Bench) -> Result:
    """Seconds from the start of the process to ready, on a data folder that is
    there (the warm-up round makes it); resident MiB after two idle seconds."""
    data_dir = bench.folder / "data"
    times = interleave(
        bench.rounds, {"imports": import_seconds, "start": lambda: _start_seconds(data_dir)}
    )
    memory = interleave(
        _MEMORY_ROUNDS, {"imports": _import_mib, "serve": lambda: _serve_mib(data_dir)},
        warm_up=False,
    )  # fmt: skip
    figures = [
        Figure(
            "second start to ready", "s", BARE_IMPORTS, times["start"], times["imports"],
            more_is_better=False, goal=Goal("value", at_most=1.5),
        ),
        Figure(
            "idle resident memory", "MiB", BARE_IMPORTS, memory["serve"], memory["imports"],
            more_is_better=False, goal=Goal("value", at_most=150),
        ),
    ]
    return Result(figures)


def _start_seconds(data_dir: Path) -> float:
    began = time.perf_counter()
    with _serving(data_dir):
        return time.perf_counter() - began


def _serve_mib(data_dir: Path) -> float:
    with _serving(data_dir) as process:
        time.sleep(_IDLE_SECONDS)
        return resident_mib(process.pid)


def _import_mib() -> float:
    program = f"{BARE_IMPORTS}; print('ready', flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with ended(process):
        assert process.stdout is not None
        process.stdout.readline()
        return resident_mib(process.pid)


@contextmanager
def _serving(data_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`wm serve` from its start until it is ready, ended by its id."""
    command = [sys.executable, "-m", "services.cli.main", "serve"]
    options = ["--data", str(data_dir), "--grpc-port", "0", "--http-port", "0"]
    with (data_dir.parent / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=clean_environment(),
        )
        with ended(process):
            _await_ready(process, data_dir)
            yield process


def _await_ready(process: subprocess.Popen[bytes], data_dir: Path) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if _is_ready(process.pid, data_dir / "endpoint.json"):
            return
        time.sleep(0.005)
    raise RuntimeError("wm serve did not become ready; run it by hand to see why")


def _is_ready(pid: int, endpoint: Path) -> bool:
    try:
        found = json.loads(endpoint.read_text())
        if found["pid"] != pid:
            return False
        with urllib.request.urlopen(found["http"] + "/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, urllib.error.URLError):
        return False
