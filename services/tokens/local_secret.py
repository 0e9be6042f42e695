"""The local bootstrap secret: what only the operating-system user can read.

`local.secret` (0600) holds 256 random bits as one line of text. Who can read it
may sign in as anybody at the local provider and become the first platform admin.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from services.model.errors import Reason, WorkspaceError
from services.private_files import (
    PrivateFileError,
    is_known_to_all,
    make_key_file,
    read_private,
    refused,
)

__all__ = ["LOCAL_SECRET_FILE", "LocalSecret"]

LOCAL_SECRET_FILE: Final = "local.secret"  # noqa: S105 - the name of a file
MAX_FAILURES: Final = 10
FAILURE_SECONDS: Final = 60.0
_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class LocalSecret:
    """The secret of a deployment. Only its hash is kept in memory."""

    def __init__(self, secret: str, *, now: Callable[[], float]) -> None:
        self._digest = _digest(secret)
        self._now = now
        self._failures: deque[float] = deque(maxlen=MAX_FAILURES)

    @classmethod
    def open(cls, keys_dir: Path, *, now: Callable[[], float]) -> LocalSecret:
        """Read the file, making it at the first start. Raises INVALID_STATE for
        a file that others can read or that is damaged."""
        path = keys_dir / LOCAL_SECRET_FILE
        if not path.exists():
            make_key_file(path, secrets.token_urlsafe(32).encode("ascii") + b"\n")
        return cls(_read(path), now=now)

    def matches(self, candidate: str) -> bool:
        """Constant-time comparison. A wrong one counts as a failure.

        Raises LIMIT_EXCEEDED instead of answering a wrong one after 10 failures
        within a minute. The right secret always passes: a stranger cannot lock
        the operator out, and 256 bits cannot be guessed.
        """
        if hmac.compare_digest(_digest(candidate), self._digest):
            return True
        self._count_failure()
        return False

    def _count_failure(self) -> None:
        now = self._now()
        if len(self._failures) == MAX_FAILURES and now - self._failures[0] < FAILURE_SECONDS:
            raise WorkspaceError(
                Reason.ERROR_REASON_LIMIT_EXCEEDED,
                "too many wrong secrets; wait a minute, and read the secret from its file",
                metadata={"limit": "wrong_secrets", "maximum": str(MAX_FAILURES)},
                retry_after=FAILURE_SECONDS - (now - self._failures[0]),
            )
        self._failures.append(now)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _read(path: Path) -> str:
    try:
        text = read_private(path).decode("ascii", errors="replace").strip()
    except PrivateFileError as error:
        raise refused(path, str(error)) from error
    if _TEXT.fullmatch(text) is None:
        raise refused(path, "is damaged; remove it, and the next start makes a new one")
    if is_known_to_all(text.encode()):
        raise refused(path, "holds a default; remove it, and the next start makes a new one")
    return text
