"""A `wm serve` of its own, `wm` as its people, and trees of files to send."""

from __future__ import annotations

import filecmp
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.hygiene.log_watch import follow
from tests.servers.ports import free_port

WM = (sys.executable, "-m", "services.cli.main")
ANN, BOB = "ann@example.com", "bob@example.com"
START_SECONDS = 30
MINUTE = 60
ROOT = Path(__file__).parents[2]


class Serving:
    """A `wm serve` of its own, and `wm` as its people."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.process: subprocess.Popen[bytes] | None = None
        self.ports = (free_port(), free_port())
        python_path = os.pathsep.join([str(ROOT), str(ROOT / "protos/gen/python")])
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WM_")}
        self.env = kept | {
            "WM_CONFIG_DIR": str(folder / "config"),
            "PYTHONPATH": python_path,
            "PYTHONIOENCODING": "utf-8",
        }

    def start(self, *more: str) -> None:
        grpc_port, http_port = map(str, self.ports)
        follow(self.folder / "serve.log")
        with (self.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*WM, "serve", "--data", str(self.data), "--grpc-port", grpc_port,
                 "--http-port", http_port, *more],
                env=self.env, cwd=self.folder, stdout=log, stderr=log,
            )
        endpoint = self.data / "endpoint.json"
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            if endpoint.exists() and json.loads(endpoint.read_text())["pid"] == self.process.pid:
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "serve.log").read_text())

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(MINUTE)
        self.process = None
        return code

    def wm(self, *arguments: object, as_: str = "", code: int = 0) -> str:
        """Run `wm`; its standard output. The exit code must be `code`."""
        done = self.run(*arguments, as_=as_)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout if code in (0, 9) or done.stdout else done.stderr

    def json(self, *arguments: object, as_: str = "", code: int = 0) -> Any:
        return json.loads(self.wm(*arguments, "--json", as_=as_, code=code))

    def run(self, *arguments: object, as_: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments, as_=as_),
            env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=MINUTE,
            check=False,
        )

    def command(self, *arguments: object, as_: str = "") -> list[str]:
        person = ["--as", as_] if as_ else []
        return [*WM, "--data", str(self.data), *person, *map(str, arguments)]


def make_tree(root: Path, *, files: int = 0) -> Path:
    for name, data in {
        "plain.txt": b"plain",
        "with spaces/in  it.txt": b"spaces",
        "ünï/cödé 木.md": "木".encode(),
        ".hidden/.dotfile": b"dots",
        "empty": b"",
        "%41#;&'.txt": b"url",
        "nested/a/b/c/d/e.bin": bytes(range(256)) * 5000,
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for number in range(files):
        path = root / f"many/{number % 7}/file {number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d\n" % number * (number % 50))
    return root


def differences(left: Path, right: Path) -> list[str]:
    """Like `diff -r`: names on one side only and files whose bytes differ."""
    compared = filecmp.dircmp(left, right, ignore=[], hide=[])
    found = [*compared.left_only, *compared.right_only, *compared.common_funny]
    _, different, unreadable = filecmp.cmpfiles(left, right, compared.common_files, shallow=False)
    found += different + unreadable
    for name in compared.common_dirs:
        found += differences(left / name, right / name)
    return found
