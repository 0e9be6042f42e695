"""Server processes on 127.0.0.1: started, asked for their address, ended by id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Server", "bare_server", "clean_environment", "ended", "resident_mib", "workspace"]

ROOT = Path(__file__).parents[2]
_STOP_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Server:
    """A running process. `http` and `methods` are empty for the control."""

    grpc: str
    http: str
    methods: frozenset[str]
    pid: int
    data_dir: Path

    def serves(self, *methods: str) -> bool:
        """Whether these RPCs are registered (`/package.Service/Method`)."""
        return self.methods.issuperset(methods)


@contextmanager
def bare_server(folder: Path) -> Iterator[Server]:
    """The bare `grpc.aio` server with the null RPC."""
    with _running("tests.bench.controls", [], folder / "bare.log") as (found, pid):
        yield Server(found["grpc"], "", frozenset(), pid, folder)


@contextmanager
def workspace(folder: Path, name: str = "workspace", **settings: int) -> Iterator[Server]:
    """The whole workspace with a data folder of its own below `folder`."""
    data_dir = folder / name
    arguments = [str(data_dir), json.dumps(settings)]
    with _running("tests.bench.workspace", arguments, folder / f"{name}.log") as (found, pid):
        methods = frozenset(found["methods"].split())
        yield Server(found["grpc"], found["http"], methods, pid, data_dir)


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The process is gone when the block is left."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def clean_environment() -> dict[str, str]:
    """Ours without WM_*: a benchmark does not depend on the user's settings."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("WM_")}
    return found | {"GRPC_VERBOSITY": "NONE"}


def resident_mib(pid: int) -> float:
    """Resident memory of a process, MiB."""
    asked = ["ps", "-o", "rss=", "-p", str(pid)]
    told = subprocess.run(asked, check=True, capture_output=True, text=True)
    return int(told.stdout) / 1024


@contextmanager
def _running(
    module: str, arguments: Sequence[str], log: Path
) -> Iterator[tuple[Mapping[str, str], int]]:
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], cwd=ROOT, env=clean_environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
        )
        with ended(process):
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{module} did not start:\n{log.read_text()[-2000:]}")
            yield json.loads(line), process.pid
