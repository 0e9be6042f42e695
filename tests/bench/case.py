"""What every case is given."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.load import Load

__all__ = ["Bench", "Machine", "this_machine"]


@dataclass(frozen=True, slots=True)
class Bench:
    """`folder` is empty, on the disk of the project and gone after the case.
    `no_ghz` says why the load is not ghz ('' when it is)."""

    folder: Path
    load: Load
    no_ghz: str
    rounds: int

    @property
    def skipped(self) -> list[str]:
        """What a case that makes load has to report."""
        return [self.no_ghz] if self.no_ghz else []


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and when. `load_average` (1 min) is from before the case: other
    work on the machine shows there."""

    measured_at: str
    processors: int
    system: str
    python: str
    load_average: float
    client: str


def this_machine(client: str) -> Machine:
    """This machine now."""
    return Machine(
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        processors=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        load_average=round(os.getloadavg()[0], 2),
        client=client,
    )
