"""Checks of the objects: each one a record names is there, byte for byte."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from services.cli.doctor.finding import MAX_EXAMPLES, Finding, Verdict
from services.cli.doctor.records import ExpectedObject, Survey

__all__ = ["check_awaited", "check_objects", "check_orphans"]

_REMEDY = "restore objects/ from a backup, or put the files again"


async def check_objects(root: Path, survey: Survey) -> Finding:
    """Size and SHA-256 of every object that a record says is available, but for those
    that sync is still to bring."""
    coming = _coming(root, survey)
    expected = [each for each in survey.expected if each.storage_key not in coming]
    faults = await asyncio.to_thread(lambda: list(_faults(root, expected)))
    return Finding.of_faults(
        "objects", faults, good=f"{len(expected)} files have their checksums",
        bad="files are missing or damaged", remedy=_REMEDY,
    )


def check_awaited(root: Path, survey: Survey) -> list[Finding]:
    """Objects that sync is still to bring; nothing when there are none."""
    coming = sorted(_coming(root, survey))
    if not coming:
        return []
    examples = tuple(f"{key} (over {survey.awaited[key]})" for key in coming[:MAX_EXAMPLES])
    return [
        Finding(
            "awaited", Verdict.WARNING, f"{len(coming)} files are still to come by sync",
            "pull again over these connections, or over another that has them", examples,
        )
    ]


async def check_orphans(root: Path, survey: Survey) -> Finding:
    """Objects that no record names: harmless, they only take space."""
    found = await asyncio.to_thread(lambda: sorted(_keys(root) - survey.named))
    if not found:
        return Finding("orphans", Verdict.OK, "every object is named by a record")
    size = sum((root / key).lstat().st_size for key in found)
    return Finding(
        "orphans", Verdict.INFO, f"{len(found)} objects ({size} bytes) are named by no record",
        "harmless: left by interrupted uploads, removed by collection", tuple(found[:MAX_EXAMPLES]),
    )


def _coming(root: Path, survey: Survey) -> set[str]:
    return {key for key in survey.awaited if not (root / key).exists()}


def _faults(root: Path, expected: Sequence[ExpectedObject]) -> Iterator[str]:
    for item in expected:
        path = root / item.storage_key
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            yield f"{item.storage_key}: {error.strerror} (of {item.named_by})"
            continue
        with os.fdopen(fd, "rb") as file:
            size = os.fstat(fd).st_size
            if size != item.size:
                yield f"{item.storage_key}: {size} bytes instead of {item.size}"
            elif hashlib.file_digest(file, "sha256").hexdigest() != item.sha256:
                yield f"{item.storage_key}: other bytes than were uploaded"


def _keys(root: Path) -> set[str]:
    """Keys of all objects; names that begin with a dot are the store's own."""
    found: set[str] = set()
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        prefix = Path(folder).relative_to(root)
        found |= {(prefix / name).as_posix() for name in files if not name.startswith(".")}
    return found
