"""`endpoint.json` in the data folder: where the process of that folder answers.

A convenience for `wm` on the same machine, never a truth: whoever serves the
folder writes it, and a stale one only leads to "does not answer".
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Endpoint", "forget_endpoint", "read_endpoint", "write_endpoint"]

_NAME = "endpoint.json"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`grpc` is host:port, `http` a base URL, `pid` the process that serves."""

    grpc: str
    http: str
    pid: int


def write_endpoint(data_dir: Path, endpoint: Endpoint) -> None:
    """Replace the file in one step."""
    path = data_dir / _NAME
    temp = path.with_name(f".{_NAME}.{os.getpid()}")
    temp.write_text(json.dumps(asdict(endpoint)) + "\n", encoding="utf-8")
    temp.replace(path)


def read_endpoint(data_dir: Path) -> Endpoint | None:
    """What the file says; None when it is absent or damaged."""
    try:
        found = json.loads((data_dir / _NAME).read_text(encoding="utf-8"))
        return Endpoint(str(found["grpc"]), str(found["http"]), int(found["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget_endpoint(data_dir: Path) -> None:
    """Remove the file, if it is this process's."""
    found = read_endpoint(data_dir)
    if found is not None and found.pid == os.getpid():
        with contextlib.suppress(OSError):
            (data_dir / _NAME).unlink()
