"""Multipart uploads: `.multipart/<id>/` beside the objects, not reachable as a key.

`upload.json` names the target. A part is one file `<number>-<sha256>`: its
name says which bytes it holds, so a listing reads no file and completion asks
for exactly the parts it was told of. Sending a part again replaces it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress

from services.objects.filesystem.blobs import Blobs, TempFile
from services.objects.port import ObjectMissing, PartInfo, WrongBytes

__all__ = ["AREA", "Multipart"]

AREA = ".multipart"
_STATE = "upload.json"
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_PART = re.compile(r"([0-9]{5})-([0-9a-f]{64})", re.ASCII)


class Multipart:
    """Blocking operations on the parts area."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def create(self, key: str, content_type: str, sha256: str) -> str:
        """A new area for that key; durable when it returns."""
        multipart_id = secrets.token_hex(16)
        temp = self._blobs.begin((AREA, multipart_id))
        try:
            state = {"content_type": content_type, "key": key, "sha256": sha256}
            temp.append(json.dumps(state).encode())
            self._blobs.replace(temp, _STATE)
        finally:
            temp.discard()
        return multipart_id

    def announced(self, key: str, multipart_id: str) -> tuple[str, str]:
        """The announced (type, SHA-256). Raises ObjectMissing for another key or id."""
        with self._blobs.tree.folder(_area(multipart_id)) as folder:
            fd = self._blobs.tree.open_file(folder, _STATE)
            try:
                state = json.loads(self._blobs.calls.read(fd, 64 * 1024, 0))
            finally:
                self._blobs.calls.close(fd)
        if state["key"] != key:
            raise ObjectMissing("multipart upload")
        return str(state["content_type"]), str(state.get("sha256", ""))

    def begin_part(self, key: str, multipart_id: str) -> TempFile:
        """A temporary file for the bytes of a part."""
        self.announced(key, multipart_id)
        return self._blobs.begin(_area(multipart_id), create=False)

    def keep_part(self, temp: TempFile, number: int) -> PartInfo:
        """Durable when it returns; earlier bytes of that number are dropped."""
        name = f"{number:05d}-{temp.sha256}"
        self._blobs.replace(temp, name)
        for other in self._names(temp.folder):
            if other.startswith(f"{number:05d}-") and other != name:
                self._blobs.tree.remove(temp.folder, other)
        return PartInfo(number, temp.size, temp.sha256, temp.sha256)

    def parts(self, key: str, multipart_id: str) -> Sequence[PartInfo]:
        """Received parts by number; of two for one number the later."""
        self.announced(key, multipart_id)
        with self._blobs.tree.folder(_area(multipart_id)) as folder:
            dated = [self._part(folder, name) for name in self._names(folder)]
        newest = {part.number: part for _, part in sorted(dated, key=lambda item: item[0])}
        return tuple(newest[number] for number in sorted(newest))

    def open_part(self, multipart_id: str, part: PartInfo) -> int:
        """The file of a part as listed. Raises WrongBytes when it is not there."""
        try:
            with self._blobs.tree.folder(_area(multipart_id)) as folder:
                fd = self._blobs.tree.open_file(folder, f"{part.number:05d}-{part.tag}")
        except ObjectMissing as error:
            raise WrongBytes(f"part {part.number} was not received with that tag") from error
        if self._blobs.calls.fstat(fd).st_size == part.size:
            return fd
        self._blobs.calls.close(fd)
        raise WrongBytes(f"part {part.number} has another size than announced")

    def drop(self, multipart_id: str) -> None:
        """Remove the area; an unknown id is a success."""
        with suppress(ObjectMissing), self._blobs.tree.folder(_area(multipart_id)) as folder:
            # The state first: from then on the upload is gone for everybody.
            self._blobs.tree.remove(folder, _STATE)
            for name in self._entries(folder):
                self._blobs.tree.remove(folder, name)
            self._blobs.tree.sync(folder)
        with suppress(ObjectMissing):
            self._blobs.tree.prune(_area(multipart_id))

    def _names(self, folder: int) -> list[str]:
        return [name for name in self._entries(folder) if _PART.fullmatch(name)]

    def _entries(self, folder: int) -> list[str]:
        with self._blobs.health.guard("scandir"), os.scandir(folder) as entries:
            return [entry.name for entry in entries]

    def _part(self, folder: int, name: str) -> tuple[int, PartInfo]:
        with self._blobs.health.guard("stat"):
            status = self._blobs.calls.stat(name, dir_fd=folder)
        number, sha256 = int(name[:5]), name[6:]
        return status.st_mtime_ns, PartInfo(number, status.st_size, sha256, sha256)


def _area(multipart_id: str) -> tuple[str, str]:
    if not _ID.fullmatch(multipart_id):
        raise ObjectMissing("multipart upload")
    return AREA, multipart_id
