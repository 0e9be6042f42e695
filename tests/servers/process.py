"""A server process of the tests, on a loopback port, ended with its starter."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["Server", "remove_later"]

_READY_SECONDS = 90.0


def remove_later(folder: Path) -> None:
    """By a process that nobody waits for: it is nobody's child, the shell that started it
    is over."""
    command = ["sh", "-c", 'exec >&- 2>&-; rm -rf -- "$0" &', str(folder)]
    subprocess.run(command, start_new_session=True, stdin=subprocess.DEVNULL, check=True)


class Server:
    """`command` started; ready when `url` answers anything over HTTP. `stop` ends it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        url: str,
        environment: Mapping[str, str] | None = None,
        ca_file: str = "",
    ) -> None:
        self.url = url
        self._tls = ssl.create_default_context(cafile=ca_file) if ca_file else None
        self._log = tempfile.NamedTemporaryFile("w+", suffix=".log")  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        try:
            self._await()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """End it; a second call does nothing."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(10)
        self._log.close()

    def _await(self) -> None:
        end = time.monotonic() + _READY_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                said = Path(self._log.name).read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self._process.args!r} does not answer: {said}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.url, timeout=2, context=self._tls).close()
        except urllib.error.HTTPError:
            return True
        except (OSError, ValueError):
            return False
        return True
