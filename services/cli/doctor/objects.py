"""Checks of the objects: each one a record names is there, byte for byte."""

from __future__ import annotations

from services.cli.doctor.finding import MAX_EXAMPLES, Finding, Verdict
from services.cli.doctor.records import Survey
from services.cli.doctor.stored import Stored

__all__ = ["check_awaited", "check_objects", "check_orphans"]

_REMEDY = "restore the files from a backup, or put them again"


async def check_objects(stored: Stored, survey: Survey) -> Finding:
    """Size and SHA-256 of every object that a record says is available, but for those
    that sync is still to bring."""
    coming = await stored.absent(survey.awaited.keys())
    expected = [each for each in survey.expected if each.storage_key not in coming]
    faults = await stored.faults(expected)
    return Finding.of_faults(
        "objects", faults, good=f"{len(expected)} files have their checksums",
        bad="files are missing or damaged", remedy=_REMEDY,
    )


async def check_awaited(stored: Stored, survey: Survey) -> list[Finding]:
    """Objects that sync is still to bring; nothing when there are none."""
    coming = sorted(await stored.absent(survey.awaited.keys()))
    if not coming:
        return []
    examples = tuple(f"{key} (over {survey.awaited[key]})" for key in coming[:MAX_EXAMPLES])
    return [
        Finding(
            "awaited", Verdict.WARNING, f"{len(coming)} files are still to come by sync",
            "pull again over these connections, or over another that has them", examples,
        )
    ]


async def check_orphans(stored: Stored, survey: Survey) -> Finding:
    """Objects that no record names: harmless, they only take space."""
    sizes = await stored.sizes()
    found = sorted(sizes.keys() - survey.named)
    if not found:
        return Finding("orphans", Verdict.OK, "every object is named by a record")
    size = sum(sizes[key] for key in found)
    return Finding(
        "orphans", Verdict.INFO, f"{len(found)} objects ({size} bytes) are named by no record",
        "harmless: left by interrupted uploads, removed by collection", tuple(found[:MAX_EXAMPLES]),
    )
