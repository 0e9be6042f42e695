"""What a check found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Finding", "Verdict", "healthy", "members_of"]

MAX_EXAMPLES = 20


class Verdict(StrEnum):
    """`skipped` and `info` do not make a workspace unhealthy, nor does `warning`."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `examples` name what is wrong, at most 20 of them."""

    check: str
    verdict: Verdict
    detail: str
    remedy: str = ""
    examples: tuple[str, ...] = field(default=())

    @classmethod
    def of_faults(
        cls, check: str, faults: Iterable[str], *, good: str, bad: str, remedy: str
    ) -> Finding:
        """OK without faults, else FAILED with the first of them."""
        found = list(faults)
        if not found:
            return cls(check, Verdict.OK, good)
        detail = f"{len(found)} {bad}"
        return cls(check, Verdict.FAILED, detail, remedy, tuple(found[:MAX_EXAMPLES]))


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether nothing failed."""
    return all(finding.verdict is not Verdict.FAILED for finding in findings)


def members_of(findings: list[Finding]) -> dict[str, Any]:
    """For JSON."""
    return {"healthy": healthy(findings), "checks": [asdict(finding) for finding in findings]}
