"""The README's tour works when it is pasted, on a fresh data folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.servers.ports import free_port

ROOT = Path(__file__).parents[2]


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
    log = tmp_path / "server.log"  # a pipe that nobody reads holds 64 KiB, then the server waits
    with log.open("wb") as stderr:
        server = subprocess.Popen(["wm", "serve"], env=environment, stderr=stderr)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "data" / "endpoint.json").exists():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield environment, http
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)
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


def run_group(script: str, environment: dict[str, str], *, seconds: float) -> tuple[str, int]:
    """What a script printed, and its exit code. Servers that it started end with it."""
    shell = subprocess.Popen(
        ["bash", "-e", "-c", script], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        out, _ = shell.communicate(timeout=seconds)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
    return out, shell.returncode


@pytest.mark.timeout(300)
def test_two_computers_and_a_disk(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    story = re.search(r"<!-- tour: sync -->\n```sh\n(.*?)```", text, re.DOTALL)
    assert story is not None
    environment = {
        **{name: v for name, v in os.environ.items() if not name.startswith("WM_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "WM_CONFIG_DIR": str(tmp_path / "config"),
    }
    out, code = run_group(story[1].replace("/tmp/", f"{tmp_path}/"), environment, seconds=270)
    assert code == 0, out
    assert "Usable." in out
    assert "arrived whole" in out
    assert "1 conflict opened" in out
    assert "* title" in out
    assert "no conflicts" in out
    shown = out[out.index("no conflicts") :]
    assert "How it is built" in shown
    assert "compared: equal." in shown
    assert "backup (Folder): green" in shown
    differ = subprocess.run(
        ["diff", "-r", tmp_path / "laptop" / "objects", tmp_path / "studio" / "objects"],
        capture_output=True, text=True, check=False,
    )
    assert [line for line in differ.stdout.splitlines() if "/.tmp" not in line] == []
