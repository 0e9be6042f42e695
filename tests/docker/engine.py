"""A container engine for tests.

Where one runs already (DOCKER_HOST, or a context of the CLI) it is used. Else root on Debian
gets one of its own: its socket, data, bridge and addresses meet no other engine. Images and
layers stay in `.tools/docker` between runs. Several processes may use it at the same time; the
last one to leave stops it.

    with engine() as docker:
        docker.run("run", "--rm", image, "--version")
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Engine", "NoEngine", "engine"]

ROOT = Path(__file__).resolve().parents[2]
_STATE = ROOT / ".tools" / "docker"
_ID = hashlib.sha256(str(_STATE).encode()).hexdigest()[:8]
_RUN = Path(tempfile.gettempdir()) / f"workspace-docker-{_ID}"
_BRIDGE = f"wm-{_ID}"
_ADDRESSES = 200 + int(_ID, 16) % 25 * 2  # 10.N for the bridge, 10.N+1 for networks of tests
_PACKAGES = ("docker.io", "debootstrap", "iptables", "iproute2")
_START_SECONDS = 90.0
_STOP_SECONDS = 60.0


class NoEngine(Exception):
    """There is no container engine; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine: the CLI that speaks to it, and where it listens ('': its default)."""

    program: str
    host: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """For programs that speak to it by themselves."""
        chosen = {"DOCKER_HOST": self.host} if self.host else {}
        return {**os.environ, **chosen, "DOCKER": self.program, "DOCKER_BUILDKIT": "1"}

    def run(
        self, *arguments: str, check: bool = True, stdin: str | None = None,
        seconds: float = 900, environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """One command of the CLI; with `check` a failure is an AssertionError with its text."""
        done = subprocess.run(
            [self.program, *arguments], env={**self.environment, **(environment or {})},
            input=stdin, capture_output=True, text=True, check=False, timeout=seconds,
        )  # fmt: skip
        if check and done.returncode != 0:
            shown = f"docker {' '.join(arguments)} ended with {done.returncode}:"
            raise AssertionError(f"{shown}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done

    def output(self, *arguments: str, **options: float) -> str:
        """What the command prints, without the last line's end."""
        return self.run(*arguments, **options).stdout.strip()  # type: ignore[arg-type]

    @property
    def answers(self) -> bool:
        with suppress(OSError, subprocess.TimeoutExpired):
            asked = self.run("version", "--format", "{{.Server.Version}}", check=False, seconds=20)
            return asked.returncode == 0
        return False


@contextmanager
def engine() -> Iterator[Engine]:
    """An engine while the context is open; NoEngine where there can be none."""
    found = _running()
    if found is not None:
        yield found
        return
    _be_able()
    found = _running()  # installing may have started the machine's own
    if found is not None:
        yield found
        return
    with _in_use():
        yield _started()


def _running() -> Engine | None:
    program = _program()
    found = Engine(program) if program else None
    return found if found is not None and found.answers else None


def _program() -> str:
    """A CLI that can build with BuildKit: with its plugin, or old enough to hold it."""
    for folder in os.get_exec_path():
        program = shutil.which("docker", path=folder)
        if program is None:
            continue
        asked = subprocess.run([program, "buildx", "version"], capture_output=True, check=False)
        if asked.returncode == 0 or _major(program) < 23:
            return program
    return ""


def _major(program: str) -> int:
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    digits = told.stdout.removeprefix("Docker version ").partition(".")[0]
    return int(digits) if digits.isdecimal() else 0


def _be_able() -> None:
    """Everything that an engine of our own needs, or NoEngine."""
    if os.name != "posix" or os.geteuid() != 0:
        raise NoEngine("docker: no engine runs, and only root can start one")
    needed = ("dockerd", "debootstrap", "iptables", "ip")
    if _program() and all(map(shutil.which, needed)):
        return
    if shutil.which("apt-get") is None:
        raise NoEngine("docker: no engine runs, and there is no apt-get to install one")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ("install", "-qq", "-y", "--no-install-recommends", *_PACKAGES)
    for arguments in (("update", "-qq"), install):
        done = subprocess.run(
            ["apt-get", *arguments], env=environment, capture_output=True, text=True, check=False,
            timeout=600,
        )  # fmt: skip
        if done.returncode != 0:
            raise NoEngine(f"docker: apt-get {arguments[0]} failed: {done.stderr[-500:]}")


@contextmanager
def _in_use() -> Iterator[None]:
    """While it is open nobody stops the engine; whoever is last does."""
    _STATE.mkdir(parents=True, exist_ok=True)
    users = (_STATE / "users.lock").open("w")
    fcntl.flock(users, fcntl.LOCK_SH)
    try:
        yield
    finally:
        fcntl.flock(users, fcntl.LOCK_UN)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # somebody still uses it
        else:
            _stop()
        users.close()


def _started() -> Engine:
    """The engine of this checkout, started unless it runs."""
    found = Engine(_program(), f"unix://{_RUN / 'docker.sock'}")
    with (_STATE / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.answers:
            _RUN.mkdir(mode=0o700, exist_ok=True)
            _stop()  # one that was killed may have left its containerd
            _make_bridge()
            _start(found)
    return found


def _start(wanted: Engine) -> None:
    log = _RUN / "dockerd.log"
    command = [
        "dockerd", "--host", wanted.host, "--data-root", str(_STATE / "data"),
        "--exec-root", str(_RUN / "exec"), "--pidfile", str(_RUN / "dockerd.pid"),
        "--bridge", _BRIDGE, "--config-file", str(_RUN / "daemon.json"),
        "--default-address-pool", f"base=10.{_ADDRESSES + 1}.0.0/16,size=24",
    ]  # fmt: skip
    (_RUN / "daemon.json").write_text("{}")  # never that of the machine
    with log.open("w") as out:
        # A session of its own: it outlives whoever started it while others use it.
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    deadline = time.monotonic() + _START_SECONDS
    while not wanted.answers:
        if process.poll() is not None or time.monotonic() > deadline:
            told = log.read_text(errors="replace")[-1500:]
            raise NoEngine(f"docker: dockerd does not start here: {told}")
        time.sleep(0.2)


def _make_bridge() -> None:
    if not Path("/sys/class/net", _BRIDGE).exists():
        _ip("link", "add", "name", _BRIDGE, "type", "bridge")
        _ip("address", "add", f"10.{_ADDRESSES}.0.1/16", "dev", _BRIDGE)
    _ip("link", "set", _BRIDGE, "up")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoEngine(f"docker: ip {' '.join(arguments)}: {done.stderr.strip()}")


def _stop() -> None:
    """End the engine of this checkout (by its pid file), and its bridge."""
    with suppress(FileNotFoundError, ValueError):
        pid = int((_RUN / "dockerd.pid").read_text())
        if _is_ours(pid):
            os.kill(pid, signal.SIGTERM)
            _wait_for_end(pid)
    if Path("/sys/class/net", _BRIDGE).exists():
        subprocess.run(["ip", "link", "delete", _BRIDGE], capture_output=True, check=False)


def _wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + _STOP_SECONDS
    while _is_ours(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.1)


def _is_ours(pid: int) -> bool:
    """A pid file may be older than the machine's last start: the command line decides."""
    with suppress(OSError):
        return str(_STATE).encode() in Path("/proc", str(pid), "cmdline").read_bytes()
    return False
