"""Who is signed in where: `credentials.json` (0600) in the user's configuration.

`$WM_CONFIG_DIR`, else `$XDG_CONFIG_HOME/wm`, else `~/.config/wm`. Per server it
holds the people who signed in, which of them is the current one, and the path of the
server's authority where it is not a public one.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.cli.exit_codes import ExitCode
from services.cli.failures import CliError

__all__ = ["Login", "Profiles", "config_dir"]


@dataclass(frozen=True, slots=True)
class Login:
    """One signed-in person. `expires_at` is unix seconds. `data_dir` is where
    the local secret lies that renews the token, or ''."""

    email: str
    user_id: str
    token: str
    expires_at: int
    name: str = ""
    data_dir: str = ""

    def __repr__(self) -> str:
        return f"Login(user_id={self.user_id!r})"  # tokens and addresses stay out of logs


def config_dir() -> Path:
    """The folder of `wm`'s own files."""
    if explicit := os.environ.get("WM_CONFIG_DIR"):
        return Path(explicit)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "wm"


class Profiles:
    """The credentials file. Every change is one locked, atomic replacement."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or config_dir()
        self._path = self._folder / "credentials.json"

    @property
    def last_server(self) -> str:
        """The server of the latest sign-in, or ''."""
        return str(self._read().get("last_server", ""))

    def authority(self, server: str) -> str:
        """The file of the authority that a sign-in at `server` was made with, or ''."""
        return str(self._read().get("servers", {}).get(server, {}).get("ca", ""))

    def find(self, server: str, email: str = "") -> Login | None:
        """A person signed in at `server`; the current one without `email`."""
        entry = self._read().get("servers", {}).get(server, {})
        found = entry.get("logins", {}).get(email.lower() or entry.get("current", ""))
        return Login(**found) if found else None

    def logins(self, server: str) -> list[Login]:
        """Everybody signed in at `server`."""
        entry = self._read().get("servers", {}).get(server, {})
        return [Login(**found) for found in entry.get("logins", {}).values()]

    def save(
        self, server: str, login: Login, *, current: bool = True, ca_file: Path | None = None
    ) -> None:
        """Keep a sign-in, or a renewed token with `current=False`; and the path of the
        server's authority, if it has one of its own."""
        with self._changing() as content:
            entry = content.setdefault("servers", {}).setdefault(server, {"logins": {}})
            entry["logins"][login.email.lower()] = asdict(login)
            if ca_file is not None:
                entry["ca"] = str(ca_file.absolute())
            if current:
                entry["current"] = login.email.lower()
                content["last_server"] = server

    def forget(self, server: str, email: str = "") -> str:
        """Sign someone out here; the address, or '' when nobody was signed in."""
        with self._changing() as content:
            entry = content.get("servers", {}).get(server, {})
            gone = email.lower() or entry.get("current", "")
            if entry.get("logins", {}).pop(gone, None) is None:
                return ""
            if entry.get("current") == gone:
                # Nobody: a script must not go on as somebody else.
                entry["current"] = ""
            return str(gone)

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise CliError(
                f"{self._path} is damaged",
                remedy="remove it and sign in again",
                exit_code=ExitCode.NOT_SIGNED_IN,
            )
        return content

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            content = self._read()
            yield content
            self._write(content)
        finally:
            os.close(lock)

    def _write(self, content: dict[str, Any]) -> None:
        temp = self._path.with_name(f".credentials.{secrets.token_hex(8)}")
        fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
        temp.replace(self._path)
