"""The key files of a deployment as one secret: JSON, file name -> base64 of its bytes."""

from __future__ import annotations

import base64
import binascii
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from services.objects.keyring import KEY_FILE, Keyring
from services.private_files import (
    PrivateFileError,
    install_private,
    load_or_create_secret,
    make_folder,
    read_private,
    refused,
)
from services.secrets.port import SecretProblem
from services.tokens.local import LOCAL_KEY_FILE, LocalIssuer
from services.tokens.local_secret import LOCAL_SECRET_FILE, LocalSecret

__all__ = [
    "INSTANCE_KEY_FILE", "KEY_FILES", "KeyFiles", "dump_keys", "install_keys", "is_unset",
    "load_keys", "new_keys", "read_keys",
]  # fmt: skip

KeyFiles = Mapping[str, bytes]
"""Bytes by file name."""

INSTANCE_KEY_FILE: Final = "instance.key"
KEY_FILES: Final = (INSTANCE_KEY_FILE, LOCAL_KEY_FILE, LOCAL_SECRET_FILE, KEY_FILE)
_PLACEHOLDERS: Final = frozenset(["", "{}", "null"])


def is_unset(text: str) -> bool:
    """Whether a secret holds no keys yet, but what a template must put there."""
    return text.strip() in _PLACEHOLDERS


def new_keys() -> KeyFiles:
    """Keys as a first start makes them. Blocks."""
    with tempfile.TemporaryDirectory(prefix="workspace-keys-") as name:
        folder = Path(name)
        load_or_create_secret(folder / INSTANCE_KEY_FILE)
        LocalIssuer.open(folder, realm="new")
        LocalSecret.open(folder, now=time.time)
        Keyring.open(folder)
        return read_keys(folder)


def read_keys(folder: Path) -> KeyFiles:
    """Those of a folder. Raises INVALID_STATE for a file that others can read. Blocks."""
    found = {}
    for name in KEY_FILES:
        path = folder / name
        if not path.exists():
            continue
        try:
            found[name] = read_private(path)
        except PrivateFileError as error:
            raise refused(path, str(error)) from error
    return found


def install_keys(folder: Path, files: KeyFiles) -> list[str]:
    """Write what differs (0600); the names of those files. Blocks."""
    make_folder(folder)
    there = read_keys(folder)
    changed = [name for name, data in files.items() if there.get(name) != data]
    for name in changed:
        install_private(folder / name, files[name], replace=True)
    return changed


def dump_keys(files: KeyFiles) -> str:
    """The text of the secret. Raises SecretProblem naming a file that is missing."""
    _check_complete(files)
    return json.dumps(
        {name: base64.b64encode(files[name]).decode() for name in KEY_FILES}, indent=1
    )


def load_keys(text: str) -> KeyFiles:
    """Inverse of `dump_keys`. Members that are no key files of ours are passed over.
    Raises SecretProblem, whose text holds nothing of the secret."""
    try:
        document = json.loads(text)
        found = {name: document[name] for name in KEY_FILES if name in document}
        files = {name: base64.b64decode(data, validate=True) for name, data in found.items()}
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error):
        raise SecretProblem(
            "holds no key files (a JSON object: file name, base64): `wm keys push` writes them"
        ) from None
    _check_complete(files)
    return files


def _check_complete(files: KeyFiles) -> None:
    """Replicas would each make one that is missing, and not know those of the others."""
    missing = [name for name in KEY_FILES if not files.get(name)]
    if missing:
        raise SecretProblem(f"lacks {', '.join(missing)}: `wm keys push` writes all of them")
