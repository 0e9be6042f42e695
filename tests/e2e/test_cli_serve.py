"""How `wm serve` starts, refuses to start, and stops."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.serving import ANN, Serving


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Serving]:
    served = Serving(tmp_path)
    yield served
    if served.process is not None:
        served.end(signal.SIGKILL)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_is_ready_and_ends_with_0(stopped: Serving, how: signal.Signals) -> None:
    stopped.start()
    endpoint = json.loads((stopped.data / "endpoint.json").read_text())
    with urllib.request.urlopen(f"{endpoint['http']}/readyz", timeout=10) as response:
        assert response.status == 200
    assert stopped.end(how) == 0
    assert not (stopped.data / "endpoint.json").exists()
    lines = (stopped.folder / "serve.log").read_text().splitlines()
    ready = [json.loads(line) for line in lines if '"ready"' in line]
    assert ready[-1]["grpc"] == endpoint["grpc"]


def test_what_was_written_is_there_after_a_restart(stopped: Serving) -> None:
    stopped.start()
    stopped.wm("login", "--as", ANN)
    stopped.wm("projects", "create", "Kept")
    stopped.end(signal.SIGKILL)
    stopped.start()
    names = [p["name"] for p in stopped.json("projects", "list")["projects"]]
    assert names == ["Kept"]


def refusal(stopped: Serving, *arguments: object, code: int) -> str:
    text = stopped.wm("serve", "--grpc-port", "0", "--http-port", "0", *arguments, code=code)
    assert len(text.splitlines()) <= 2, text
    assert text.startswith("wm: ")
    return text


def test_a_second_one_on_the_same_data_is_refused(stopped: Serving) -> None:
    stopped.start()
    assert stopped.process is not None
    text = refusal(stopped, code=7)
    assert f"process {stopped.process.pid}" in text


@pytest.mark.parametrize("flag", ["--grpc-port", "--http-port"])
def test_a_busy_port_names_the_flag(stopped: Serving, flag: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        text = refusal(stopped, flag, taken.getsockname()[1], code=7)
    assert flag in text
    assert "in use" in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("provider = ", "not readable TOML"),
        ('provider = "moon"', "must be local, aws or azure"),
        ('provider = "local"\nprefix = "AKIAABCDEFGHIJKLMNOP"', "looks like a secret"),
        ('provider = "local"\n[database]\npassword = "hunter22"', "database.password"),
    ],
)
def test_a_broken_selection_is_refused(stopped: Serving, content: str, words: str) -> None:
    path = stopped.folder / "backend.toml"
    path.write_text(content, encoding="utf-8")
    text = refusal(stopped, "--backend", path, code=2)
    assert words in text
    assert "hunter22" not in text
    assert "AKIA" not in text
    assert not stopped.data.exists()


def test_beyond_loopback_without_tls_is_refused(stopped: Serving) -> None:
    assert "TLS" in refusal(stopped, "--grpc-host", "0.0.0.0", code=2)


def test_without_a_server_the_remedy_is_named(stopped: Serving) -> None:
    assert "wm serve" in stopped.wm("login", "--as", ANN, code=3)
    stopped.start()
    stopped.wm("login", "--as", ANN)
    stopped.end()
    text = stopped.wm("projects", "list", code=8)
    assert "wm serve" in text


def test_a_token_of_another_workspace_is_no_token(stopped: Serving, tmp_path: Path) -> None:
    stopped.start()
    stopped.wm("login", "--as", ANN)
    stopped.end()
    stopped.data = tmp_path / "other"
    stopped.start()
    assert "wm login" in stopped.wm("projects", "list", code=3)


@pytest.mark.parametrize("target", ["identity", "project", "storage", "sync"])
def test_a_package_is_a_target(target: str, tmp_path: Path) -> None:
    """`python -m project_svc` is `wm serve --target project`: on SQLite it is refused."""
    done = subprocess.run(
        [sys.executable, "-m", f"{target}_svc", "--grpc-port", "0"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "a SQLite file belongs to one process" in done.stderr
