"""Keys in byte order, read from the folders without following links."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from services.objects.filesystem.blobs import TEMP_PREFIX, Blobs
from services.objects.port import ObjectInfo, ObjectMissing, ObjectPage

__all__ = ["list_page", "sweep_temporary"]

_Names = tuple[str, ...]


def list_page(blobs: Blobs, prefix: str, after: str, limit: int) -> ObjectPage:
    """At most `limit` objects behind `after`. The SHA-256 of an object that
    has no label is '' here: a page never hashes files."""
    found: list[ObjectInfo] = []
    for folders, name in _walk(blobs, (), prefix, after.encode()):
        if len(found) == limit:
            return ObjectPage(tuple(found), found[-1].key)
        with suppress(ObjectMissing), blobs.tree.folder(folders) as folder:
            key = "/".join((*folders, name))
            found.append(blobs.describe(key, folder, name, compute=False))
    return ObjectPage(tuple(found), None)


def sweep_temporary(blobs: Blobs, *, older_than: float, stop: list[bool]) -> int:
    """Remove temporary files of dead writers last changed before `older_than`
    (unix seconds); ends early once `stop` holds something."""
    removed = 0
    pending: list[_Names] = [()]
    while pending and not stop:
        folders = pending.pop()
        for name, is_folder in _entries(blobs, folders):
            if is_folder:
                pending.append((*folders, name))
            elif name.startswith(TEMP_PREFIX):
                with suppress(ObjectMissing), blobs.tree.folder(folders) as folder:
                    removed += blobs.sweep(folder, name, older_than=older_than)
    return removed


def _entries(blobs: Blobs, folders: _Names) -> list[tuple[str, bool]]:
    """(name, is a folder) of real folders and plain files."""
    try:
        with blobs.tree.folder(folders) as fd, blobs.health.guard("scandir"), os.scandir(fd) as it:
            return [
                (entry.name, entry.is_dir(follow_symlinks=False))
                for entry in it
                if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)
            ]
    except ObjectMissing:
        return []


def _walk(blobs: Blobs, folders: _Names, prefix: str, after: bytes) -> Iterator[tuple[_Names, str]]:
    """Depth first. Ordering a folder as `name/` makes that the order of keys."""
    visible = [entry for entry in _entries(blobs, folders) if _is_key_name(entry[0])]
    for name, is_folder in sorted(visible, key=lambda entry: _sort_key(*entry)):
        path = "/".join((*folders, name)) + ("/" if is_folder else "")
        raw = os.fsencode(path)
        if is_folder:
            wanted = path.startswith(prefix) or prefix.startswith(path)
            if wanted and (raw > after or after.startswith(raw)):
                yield from _walk(blobs, (*folders, name), prefix, after)
        elif path.startswith(prefix) and raw > after:
            yield folders, name


def _is_key_name(name: str) -> bool:
    """Neither hidden nor something that is not UTF-8 (and so not written by us)."""
    return not name.startswith(".") and name.encode("utf-8", "ignore") == os.fsencode(name)


def _sort_key(name: str, is_folder: bool) -> bytes:
    return os.fsencode(name) + (b"/" if is_folder else b"")
