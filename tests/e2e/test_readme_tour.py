"""The README's tour works when it is pasted, on a fresh data folder."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[dict[str, str], int]]:
    """A running `wm serve`, the environment that finds it, and its HTTP port."""
    http = free_port()
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "WM_DATA_DIR": str(tmp_path / "data"),
        "WM_CONFIG_DIR": str(tmp_path / "config"),
        "WM_GRPC_PORT": str(free_port()),
        "WM_HTTP_PORT": str(http),
    }
    server = subprocess.Popen(["wm", "serve"], env=environment, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "data" / "endpoint.json").exists():
            assert server.poll() is None, server.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield environment, http
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)
    assert server.returncode == 0


def test_the_tour_works_when_pasted(served: tuple[dict[str, str], int], tmp_path: Path) -> None:
    environment, http = served
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tour = re.search(r"<!-- tour -->\n```sh\n(.*?)```", text, re.DOTALL)
    assert tour is not None
    script = tour[1].replace(":8080", f":{http}").replace("/tmp/plans-out", f"{tmp_path}/out")
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    out = done.stdout
    assert out.index("no projects") < out.index("viewer")
    assert "allowed" in out
    assert "Bob may not write" in out
    assert "identical" in out
    assert "ERROR_REASON_UNAUTHENTICATED" in out
    assert "Healthy." in out
    imported = re.findall(r"(\d+) files? imported, \d+ revised, (\d+) unchanged", out)
    assert imported[0] == (imported[1][1], "0")
    assert imported[1][0] == "0"
