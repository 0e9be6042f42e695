"""The system calls of the driver, in one place so that tests can make them fail.

Every path is one name relative to an open folder (`dir_fd`); no call takes a
path of several parts, so no call can follow a link on the way.
"""

from __future__ import annotations

import errno
import os
import sys

__all__ = ["Syscalls"]

_UNSUPPORTED = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
_NO_XATTR = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENODATA, errno.EPERM, errno.ENOSYS})
_F_FULLFSYNC = 51  # macOS: fsync(2) alone does not reach the medium


class Syscalls:
    """Thin wrappers over `os`; each raises OSError as the kernel reports it."""

    def open(self, name: str, flags: int, *, dir_fd: int | None = None) -> int:
        """Open without following a link at `name`; new files are 0600."""
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=dir_fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def read(self, fd: int, count: int, offset: int) -> bytes:
        return os.pread(fd, count, offset)

    def write(self, fd: int, data: memoryview) -> int:
        """May write less than asked for."""
        return os.write(fd, data)

    def copy_range(self, source: int, target: int, count: int, offset: int) -> int:
        """Copy inside the kernel from `offset` to the end of `target`; -1 where
        the kernel or filesystem cannot."""
        if not hasattr(os, "copy_file_range"):
            return -1
        try:
            return os.copy_file_range(source, target, count, offset_src=offset)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return -1
            raise

    def fsync(self, fd: int) -> None:
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(fd, _F_FULLFSYNC)
        else:
            os.fsync(fd)

    def link(self, source: str, target: str, *, dir_fd: int) -> None:
        """Create-only: FileExistsError where `target` is there."""
        os.link(source, target, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False)

    def rename(self, source: str, target: str, *, dir_fd: int) -> None:
        os.rename(source, target, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)

    def unlink(self, name: str, *, dir_fd: int) -> None:
        os.unlink(name, dir_fd=dir_fd)

    def mkdir(self, name: str, *, dir_fd: int) -> None:
        os.mkdir(name, 0o700, dir_fd=dir_fd)

    def rmdir(self, name: str, *, dir_fd: int) -> None:
        os.rmdir(name, dir_fd=dir_fd)

    def stat(self, name: str, *, dir_fd: int) -> os.stat_result:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)

    def fstat(self, fd: int) -> os.stat_result:
        return os.fstat(fd)

    def set_label(self, fd: int, name: str, value: bytes) -> bool:
        """Set an extended attribute; False where the filesystem has none."""
        if not hasattr(os, "setxattr"):
            return False
        try:
            os.setxattr(fd, name, value)
        except OSError as error:
            if error.errno in _NO_XATTR:
                return False
            raise
        return True

    def get_label(self, fd: int, name: str) -> bytes:
        """The extended attribute, or b'' where there is none."""
        if not hasattr(os, "getxattr"):
            return b""
        try:
            return os.getxattr(fd, name)
        except OSError as error:
            if error.errno in _NO_XATTR:
                return b""
            raise
