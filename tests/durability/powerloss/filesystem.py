"""A FUSE file system that keeps on disk only what was fsynced.

Strict in both ways that POSIX allows: bytes and size of a file survive from its
last fsync, names survive from the last fsync of their folder. A file whose name
is durable but whose bytes are not comes back empty. (Stricter than LazyFS, which
keeps names.) Everything else lives in this process: kill it and it is gone.

    python -m tests.durability.powerloss.filesystem BACKING MOUNTPOINT

It also fails on demand: the attribute `user.fault` of the mount point, set to
`ENOSPC 12` or `EIO 3 sticky`, makes the 12th (3rd) change from now on fail, and
with `sticky` all that follow. Reading it tells how many changes there were since.

BACKING holds what is durable: `inodes/<n>` (bytes), `inodes/<n>.json`
(attributes), `folders/<n>.json` (names). Inode 1 is the root.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mfusepy

ROOT = 1
_NO_XATTR = errno.ENODATA
_FAULT = "user.fault"


@dataclass
class File:
    """An inode as the running system sees it. `dirty` are unsynced byte ranges."""

    mode: int
    data: bytearray = field(default_factory=bytearray)
    names: dict[str, int] = field(default_factory=dict)
    attributes: dict[str, bytes] = field(default_factory=dict)
    links: int = 1
    mtime_ns: int = field(default_factory=time.time_ns)
    dirty: list[tuple[int, int]] = field(default_factory=list)

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)


class Durable:
    """The backing folder."""

    def __init__(self, folder: Path) -> None:
        self._inodes, self._folders = folder / "inodes", folder / "folders"
        for made in (self._inodes, self._folders):
            made.mkdir(parents=True, exist_ok=True)

    def newest(self) -> int:
        return max((int(p.name.split(".")[0]) for p in self._folders.parent.rglob("[0-9]*")),
                   default=ROOT)

    def load(self, number: int) -> File | None:
        """The inode as it survived; None when nothing of it did."""
        names = self._folders / f"{number}.json"
        if names.exists():
            found = json.loads(names.read_text())
            return File(found["mode"], names=found["names"], links=2)
        meta = self._inodes / f"{number}.json"
        if not meta.exists():
            return None
        known = json.loads(meta.read_text())
        data = (self._inodes / str(number)).read_bytes()[: known["size"]]
        attributes = {name: bytes.fromhex(text) for name, text in known["attributes"].items()}
        return File(
            known["mode"], bytearray(data), attributes=attributes, mtime_ns=known["mtime_ns"]
        )

    def save_file(self, number: int, file: File) -> None:
        path = self._inodes / str(number)
        with path.open("r+b" if path.exists() else "w+b") as stored:
            for start, end in file.dirty:
                stored.seek(start)
                stored.write(file.data[start:end])
            stored.truncate(len(file.data))
        file.dirty.clear()
        attributes = {name: value.hex() for name, value in file.attributes.items()}
        meta = {"mode": file.mode, "size": len(file.data), "mtime_ns": file.mtime_ns}
        self._replace(self._inodes / f"{number}.json", meta | {"attributes": attributes})

    def save_folder(self, number: int, folder: File) -> None:
        members = {"mode": folder.mode, "names": folder.names}
        self._replace(self._folders / f"{number}.json", members)

    @staticmethod
    def _replace(path: Path, members: dict[str, Any]) -> None:
        temp = path.with_suffix(".tmp")
        temp.write_text(json.dumps(members))
        temp.replace(path)


class Volatile(mfusepy.Operations):  # type: ignore[misc]  # the library has no types
    """The file system; one thread calls it."""

    use_ns = True

    def __init__(self, backing: Path) -> None:
        self._durable = Durable(backing)
        self._files: dict[int, File] = {}
        self._next = self._durable.newest()
        self._changes, self._fault = 0, ("", 0, False)
        if self._durable.load(ROOT) is None:
            self._durable.save_folder(ROOT, File(stat.S_IFDIR | 0o755, links=2))

    # What survived is loaded when it is first looked at.
    def _file(self, number: int) -> File:
        if number not in self._files:
            found = self._durable.load(number)
            self._files[number] = found or File(stat.S_IFREG | 0o600)
        return self._files[number]

    def _number(self, path: str) -> int:
        number = ROOT
        for name in filter(None, path.split("/")):
            folder = self._file(number)
            if not folder.is_folder:
                raise mfusepy.FuseOSError(errno.ENOTDIR)
            if name not in folder.names:
                raise mfusepy.FuseOSError(errno.ENOENT)
            number = folder.names[name]
        return number

    def _at(self, path: str) -> File:
        return self._file(self._number(path))

    def _place(self, path: str) -> tuple[File, str]:
        folder, _, name = path.rpartition("/")
        return self._at(folder), name

    def _new(self, path: str, mode: int) -> int:
        folder, name = self._place(path)
        self._next += 1
        self._files[self._next] = File(mode)
        folder.names[name] = self._next
        return self._next

    def _change(self) -> None:
        """A change of the disk: counted, and failed when its turn has come."""
        self._changes += 1
        name, at, sticky = self._fault
        if name and (self._changes == at or (sticky and self._changes > at)):
            raise mfusepy.FuseOSError(getattr(errno, name))

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        number = fh or self._number(path)
        file = self._file(number)
        return {
            "st_mode": file.mode, "st_nlink": max(file.links, 1), "st_size": len(file.data),
            "st_ino": number, "st_mtime": file.mtime_ns, "st_ctime": file.mtime_ns,
            "st_atime": file.mtime_ns, "st_uid": os.getuid(), "st_gid": os.getgid(),
            "st_blocks": (len(file.data) + 511) // 512,
        }

    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:
        folder = self._file(fh) if fh else self._at(path)
        names = {".": fh or ROOT, "..": ROOT, **folder.names}
        # An entry without a number is not shown (getdents).
        return [
            (name, {"st_mode": self._file(number).mode, "st_ino": number}, 0)
            for name, number in names.items()
        ]

    def statfs(self, path: str) -> dict[str, int]:
        free = 1 << 20
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": free, "f_bfree": free,
                "f_bavail": free, "f_files": free, "f_ffree": free, "f_namemax": 255}

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        self._change()
        return self._new(path, stat.S_IFREG | stat.S_IMODE(mode))

    def open(self, path: str, flags: int) -> int:
        return self._number(path)

    def opendir(self, path: str) -> int:
        return self._number(path)

    def mkdir(self, path: str, mode: int) -> int:
        self._change()
        self._file(self._new(path, stat.S_IFDIR | stat.S_IMODE(mode))).links = 2
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(self._file(fh).data[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._change()
        file = self._file(fh)
        start = min(offset, len(file.data))
        file.data.extend(b"\0" * (offset - len(file.data)))
        file.data[offset : offset + len(data)] = data
        file.dirty.append((start, offset + len(data)))
        file.mtime_ns = time.time_ns()
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        self._change()
        file = self._file(fh) if fh else self._at(path)
        if length > len(file.data):
            file.dirty.append((len(file.data), length))
            file.data.extend(b"\0" * (length - len(file.data)))
        del file.data[length:]
        file.dirty = [(s, min(e, length)) for s, e in file.dirty if s < length]
        file.mtime_ns = time.time_ns()
        return 0

    def unlink(self, path: str) -> int:
        folder, name = self._place(path)
        self._file(folder.names.pop(name)).links -= 1
        return 0

    def rmdir(self, path: str) -> int:
        if self._at(path).names:
            raise mfusepy.FuseOSError(errno.ENOTEMPTY)
        folder, name = self._place(path)
        del folder.names[name]
        return 0

    def rename(self, old: str, new: str) -> int:
        self._change()
        source, name = self._place(old)
        target, new_name = self._place(new)
        target.names[new_name] = source.names[name]
        if (source, name) != (target, new_name):
            del source.names[name]
        return 0

    def link(self, target: str, source: str) -> int:
        self._change()
        number = self._number(source)
        folder, name = self._place(target)
        folder.names[name] = number
        self._file(number).links += 1
        return 0

    def chmod(self, path: str, mode: int) -> int:
        file = self._at(path)
        file.mode = stat.S_IFMT(file.mode) | stat.S_IMODE(mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        self._at(path).mtime_ns = int(times[1]) if times else time.time_ns()
        return 0

    def setxattr(
        self, path: str, name: str, value: bytes, options: int, position: int = 0
    ) -> int:
        if name == _FAULT:
            words = value.decode().split()
            self._changes = 0
            self._fault = (words[0], int(words[1]), "sticky" in words) if words else ("", 0, False)
            return 0
        self._change()
        self._at(path).attributes[name] = value
        return 0

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        if name == _FAULT:
            return str(self._changes).encode()
        found = self._at(path).attributes.get(name)
        if found is None:
            raise mfusepy.FuseOSError(_NO_XATTR)
        return found

    def listxattr(self, path: str) -> list[str]:
        return list(self._at(path).attributes)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._change()
        self._durable.save_file(fh, self._file(fh))
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self._change()
        folder = self._file(fh)
        for number in folder.names.values():  # a folder whose name survives is one, if empty
            if self._file(number).is_folder and self._durable.load(number) is None:
                self._durable.save_folder(number, File(self._file(number).mode))
        self._durable.save_folder(fh, folder)
        return 0


def main(backing: str, mountpoint: str) -> None:
    mfusepy.FUSE(
        Volatile(Path(backing)), mountpoint, foreground=True, nothreads=True, use_ino=True,
        hard_remove=True, fsname="volatile", encoding="utf-8",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
