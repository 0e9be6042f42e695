"""What is in a folder: files, and what is passed over and why.

Nothing is followed and nothing is dropped silently: links, special files,
unreadable folders and empty folders are reported by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pathspec import GitIgnoreSpec

from services.cli.failures import usage

__all__ = ["Entry", "Kind", "load_ignore", "walk"]


class Kind(Enum):
    """What became of an entry of the tree."""

    FILE = "file"
    IGNORED = "ignored"
    LINK = "symbolic link"
    SPECIAL = "not a regular file"
    UNREADABLE = "cannot be read"
    EMPTY_FOLDER = "empty folder"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. `relative` is its path below the root, joined by `/`."""

    kind: Kind
    path: Path
    relative: str
    size: int = 0


def load_ignore(root: Path, ignore_file: str, exclude: Sequence[str]) -> GitIgnoreSpec:
    """The patterns (gitignore syntax) of `ignore_file` in `root`, if it is
    there, and then of --exclude."""
    path = root / ignore_file
    lines: list[str] = []
    if ignore_file and path.is_file():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise usage(f"{path} is not UTF-8 text") from None
    try:
        return GitIgnoreSpec.from_lines([*lines, *exclude])
    except ValueError as error:
        raise usage(f"bad ignore pattern: {error}") from None


def walk(root: Path, ignore: GitIgnoreSpec) -> Iterator[Entry]:
    """Entries in byte order of their paths, folder by folder."""
    yield from _walk(root, "", ignore)


def _walk(folder: Path, prefix: str, ignore: GitIgnoreSpec) -> Iterator[Entry]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
    except OSError:
        yield Entry(Kind.UNREADABLE, folder, prefix)
        return
    if not entries and prefix:
        yield Entry(Kind.EMPTY_FOLDER, folder, prefix)
    for entry in entries:
        yield from _entry(entry, f"{prefix}/{entry.name}" if prefix else entry.name, ignore)


def _entry(entry: os.DirEntry[str], relative: str, ignore: GitIgnoreSpec) -> Iterator[Entry]:
    path = Path(entry.path)
    is_folder = entry.is_dir(follow_symlinks=False)
    if ignore.match_file(_for_matching(relative) + ("/" if is_folder else "")):
        yield Entry(Kind.IGNORED, path, relative)
    elif entry.is_symlink():
        yield Entry(Kind.LINK, path, relative)
    elif is_folder:
        yield from _walk(path, relative, ignore)
    elif entry.is_file(follow_symlinks=False):
        yield _file(entry, path, relative)
    else:
        yield Entry(Kind.SPECIAL, path, relative)


def _file(entry: os.DirEntry[str], path: Path, relative: str) -> Entry:
    try:
        return Entry(Kind.FILE, path, relative, entry.stat(follow_symlinks=False).st_size)
    except OSError:
        return Entry(Kind.UNREADABLE, path, relative)


def _for_matching(relative: str) -> str:
    return relative.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
