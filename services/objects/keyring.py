"""The keys that sign transfer URLs: one file, two purposes, two live keys each.

`signing-keys.json` (0600) holds for `upload` and for `download` one current
and at most one previous 32-byte key, each with a key id. It is made on the
first start and never repaired: a damaged or readable file stops the process,
because a signer with a guessable key accepts everybody's URLs
(ownCloud CVE-2023-49105).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from services.model.errors import Reason, WorkspaceError
from services.private_files import (
    PrivateFileError,
    install_private,
    is_known_to_all,
    make_key_file,
    read_private,
)

__all__ = ["KEY_BYTES", "KEY_FILE", "Keyring", "Purpose", "SigningKey"]

KEY_BYTES = 32
KEY_FILE = "signing-keys.json"
LIVE_KEYS = 2
REFRESH_SECONDS = 1.0


class Purpose(Enum):
    """What a key may sign; a key of one purpose never verifies the other."""

    UPLOAD = "upload"
    DOWNLOAD = "download"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key id (8 hex digits) and its 32 secret bytes, kept out of repr()."""

    kid: str
    secret: bytes

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r})"


_Keys = Mapping[Purpose, tuple[SigningKey, ...]]


class Keyring:
    """Signing keys by purpose. Build it with `Keyring.open`.

    Other processes that share the folder follow a rotation within a second:
    the file is looked at again when a key is asked for.
    """

    def __init__(self, path: Path, keys: _Keys) -> None:
        self._path = path
        self._keys = keys
        self._lock = threading.Lock()
        self._seen = _fingerprint(path)
        self._checked = time.monotonic()

    @classmethod
    def open(cls, directory: Path, *, create: bool = True) -> Keyring:
        """Load the keys of `directory`, making them on the first start.

        `create=False` refuses instead of making keys: for replicas that must
        share the keys of another process. Raises WorkspaceError
        (INVALID_STATE) naming the file and the remedy when the file is absent,
        readable by others, or holds a short, default or repeated key.
        """
        path = directory / KEY_FILE
        if create and not os.path.lexists(path):
            make_key_file(path, _encode(_fresh_keys()))
        return cls(path, _load(path))

    def current(self, purpose: Purpose) -> SigningKey:
        """The key that signs now."""
        self._refresh()
        return self._keys[purpose][0]

    def find(self, purpose: Purpose, kid: str) -> SigningKey | None:
        """The live key of that purpose and id, or None."""
        self._refresh()
        return next((key for key in self._keys[purpose] if key.kid == kid), None)

    def rotate(self, purpose: Purpose, *, keep_previous: bool = True) -> str:
        """Make a new current key; returns its id. Durable when it returns.

        The former key stays valid until the next rotation. With
        `keep_previous=False` every outstanding URL of the purpose dies: the
        emergency switch of `RevokeTransfers`.
        """
        with self._lock:
            keys = dict(_load(self._path))
            former = keys[purpose][: LIVE_KEYS - 1] if keep_previous else ()
            keys[purpose] = (_new_key(), *former)
            install_private(self._path, _encode(keys), replace=True)
            self._keys = keys
            self._seen = _fingerprint(self._path)
            return keys[purpose][0].kid

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._checked < REFRESH_SECONDS:
            return
        with self._lock:
            seen = _fingerprint(self._path)
            if seen != self._seen:
                self._keys = _load(self._path)
                self._seen = seen
            self._checked = now


def _fingerprint(path: Path) -> tuple[int, int, int]:
    try:
        status = path.lstat()
    except OSError as error:
        raise _refused(path, "cannot be read") from error
    return status.st_ino, status.st_mtime_ns, status.st_size


def _refused(path: Path, problem: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        f"Signing keys {path}: {problem}. Restore the file from backup with mode 0600, or move "
        "it away to make new keys (every outstanding upload and download URL then ends).",
        metadata={"file": KEY_FILE},
    )


def _new_key() -> SigningKey:
    return SigningKey(secrets.token_hex(4), secrets.token_bytes(KEY_BYTES))


def _fresh_keys() -> _Keys:
    return {purpose: (_new_key(),) for purpose in Purpose}


def _load(path: Path) -> _Keys:
    try:
        document = json.loads(read_private(path))
        keys = {purpose: tuple(map(_parse_key, document[purpose.value])) for purpose in Purpose}
        version = document["version"]
    except PrivateFileError as error:
        raise _refused(path, str(error)) from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _refused(path, "is not a key file") from error
    problem = _problem(version, keys)
    if problem:
        raise _refused(path, problem)
    return keys


def _parse_key(entry: Mapping[str, Any]) -> SigningKey:
    kid, secret = entry["kid"], entry["secret"]
    if not (isinstance(kid, str) and isinstance(secret, str)):
        raise TypeError(kid)
    try:
        return SigningKey(kid, base64.b64decode(secret, validate=True))
    except binascii.Error as error:
        raise ValueError(kid) from error


def _problem(version: object, keys: _Keys) -> str:
    everything = [key for group in keys.values() for key in group]
    if version != 1:
        return "has an unknown version"
    if not all(1 <= len(group) <= LIVE_KEYS for group in keys.values()):
        return "lacks a key for uploads or downloads, or has more than two"
    if any(len(key.secret) != KEY_BYTES for key in everything):
        return f"holds a key that is not {KEY_BYTES} bytes long"
    if any(is_known_to_all(key.secret) for key in everything):
        return "holds a default key"
    if len({key.secret for key in everything}) != len(everything):
        return "holds the same key twice"
    if len({key.kid for key in everything}) != len(everything):
        return "holds the same key id twice"
    return ""


def _encode(keys: _Keys) -> bytes:
    document: dict[str, Any] = {"version": 1}
    for purpose, group in keys.items():
        document[purpose.value] = [
            {"kid": key.kid, "secret": base64.b64encode(key.secret).decode()} for key in group
        ]
    return json.dumps(document, indent=1).encode()
