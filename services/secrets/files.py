"""Secrets in files, as containers are given them: `file:/run/secrets/dsn`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from services.secrets.port import ReadOnlyStore, SecretMissing, SecretProblem, SecretValue
from services.secrets.reference import Reference

__all__ = ["FileSecrets"]

_MOST_BYTES: Final = 256 * 1024


class FileSecrets(ReadOnlyStore):
    """Reads files; writes none. Who else may read them is up to the orchestrator: Docker
    and Kubernetes mount secrets into one container, not always for one user."""

    async def read(self, reference: Reference) -> SecretValue:
        try:
            data = await asyncio.to_thread(_content, Path(reference.name))
            return SecretValue(data.decode("utf-8"), "")
        except FileNotFoundError:
            raise SecretMissing("is not there: mount it, or name another file") from None
        except IsADirectoryError:
            raise SecretProblem("is a folder: name the file in it") from None
        except PermissionError:
            user = f"user {os.geteuid()}" if os.name == "posix" else "this user"
            raise SecretProblem(f"may not be read by {user}: change its owner or mode") from None
        except UnicodeDecodeError:
            raise SecretProblem("is no text: name another file") from None
        except OSError as error:
            problem = (error.strerror or type(error).__name__).lower()
            raise SecretProblem(f"cannot be read: {problem}", passing=True) from None


def _content(path: Path) -> bytes:
    """Blocks. A pipe that nobody writes to is not waited for."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        return file.read(_MOST_BYTES)
