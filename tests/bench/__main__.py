"""Runs the benchmarks: all of them, or those that are named.

    python -m tests.bench [--rounds N] [case ...]

The exit code is 0 when everything ran, whatever the numbers are; 1 when a case
failed to run.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.bench.case import Bench, this_machine
from tests.bench.cases import CASES
from tests.bench.figures import Result, print_table, write_result
from tests.bench.load import Load, find_load
from tests.bench.null_service import declare
from tests.bench.plot import draw

_RESULTS = Path(__file__).parent / "results"
_ROUNDS = 5


def main(arguments: Sequence[str]) -> int:
    """Run, write results, print the table and draw."""
    options = _parser().parse_args(arguments)
    _RESULTS.mkdir(exist_ok=True)
    declare()
    # Not the system's folder for temporary files: that is often in memory.
    work = Path(tempfile.mkdtemp(prefix="local-", dir=_RESULTS))
    done: list[tuple[str, Result]] = []
    try:
        load, no_ghz = find_load(work)
        for name in options.cases or CASES:
            result = _run(name, work / name, load, no_ghz, options.rounds)
            if result is not None:
                done.append((name, result))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print_table(done)
    print(f"results: {_shown(draw(_RESULTS))}, and one JSON file a case beside it")
    return 0 if len(done) == len(options.cases or CASES) else 1


def _run(name: str, folder: Path, load: Load, no_ghz: str, rounds: int) -> Result | None:
    case = CASES[name]
    print(f"{name}: {case.TITLE} ...", flush=True)
    folder.mkdir()
    machine = this_machine(load.name)
    began = time.perf_counter()
    try:
        result = case.run(Bench(folder, load, no_ghz, rounds))
    except Exception:
        traceback.print_exc()
        print(f"{name}: FAILED", flush=True)
        return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if result.figures:  # nothing measured must not wipe out what is known
        write_result(_RESULTS, name, case.TITLE, result, machine)
    print(f"  {time.perf_counter() - began:.0f} s", flush=True)
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="of A and B; default 5")
    return parser


def _shown(path: Path | None) -> str:
    return str(path.relative_to(Path.cwd())) if path else "no picture"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
