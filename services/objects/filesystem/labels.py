"""Where an object's SHA-256 and content type are kept, and how they are trusted.

The label is one extended attribute of the file itself (`user.workspace.object`,
JSON). It is set on the temporary file before its fsync, so it becomes visible
and durable in the same moment as the bytes, and no second file can be lost,
left behind or paired with other bytes. It is a record of what was verified
when the object was written; the truth is the bytes. Where the label is absent
(macOS, a filesystem without extended attributes, a copy that dropped them) or
names another size, the SHA-256 is computed from the bytes and remembered by
(device, inode, size, mtime_ns), and the content type is
`application/octet-stream`; the workspace records hold both anyway.
"""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass

from services.objects.filesystem.syscalls import Syscalls

__all__ = ["DEFAULT_TYPE", "HashCache", "Label", "read_label", "write_label"]

DEFAULT_TYPE = "application/octet-stream"
_NAME = "user.workspace.object"


@dataclass(frozen=True, slots=True)
class Label:
    """SHA-256 (lower hex), content type, and the size they were verified for."""

    sha256: str
    content_type: str
    size: int


def write_label(calls: Syscalls, fd: int, label: Label) -> bool:
    """Attach; False where the filesystem keeps no attributes."""
    fields = {"content_type": label.content_type, "sha256": label.sha256, "size": label.size}
    return calls.set_label(fd, _NAME, json.dumps(fields, sort_keys=True).encode())


def read_label(calls: Syscalls, fd: int, status: os.stat_result) -> Label | None:
    """The label of an open file, unless it is absent or about other bytes."""
    try:
        fields = json.loads(calls.get_label(fd, _NAME) or b"{}")
        label = Label(fields["sha256"], fields["content_type"], fields["size"])
    except (ValueError, KeyError, TypeError):
        return None
    return label if _is_sound(label) and label.size == status.st_size else None


def _is_sound(label: Label) -> bool:
    texts = isinstance(label.sha256, str) and isinstance(label.content_type, str)
    return texts and len(label.sha256) == 64


class HashCache:
    """SHA-256 of unlabelled files, least recently used dropped."""

    def __init__(self, *, size: int = 4096) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._hashes: OrderedDict[tuple[int, int, int, int], str] = OrderedDict()

    def get(self, status: os.stat_result) -> str:
        """The remembered hash, or ''."""
        with self._lock:
            key = _identity(status)
            if key in self._hashes:
                self._hashes.move_to_end(key)
            return self._hashes.get(key, "")

    def put(self, status: os.stat_result, sha256: str) -> None:
        with self._lock:
            self._hashes[_identity(status)] = sha256
            while len(self._hashes) > self._size:
                self._hashes.popitem(last=False)


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
