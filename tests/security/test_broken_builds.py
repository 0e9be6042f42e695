"""Each class catches a build that was broken on purpose."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.security.broken_builds import VARIABLE, every_build

ROOT = Path(__file__).parents[2]
BUILDS = every_build()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(BUILDS))
async def test_a_broken_build_is_caught(name: str, tmp_path: Path) -> None:
    status, shown = await run(name, tmp_path)
    assert status == pytest.ExitCode.TESTS_FAILED, shown
    assert " failed" in shown, shown
    assert " error" not in shown.splitlines()[-1], shown


async def run(name: str, scratch: Path) -> tuple[int, str]:
    """(exit code, what was printed) of the tests that have to catch it."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
        f"--basetemp={scratch / 'broken'}", *BUILDS[name].caught_by,
        cwd=ROOT, env={**environ, VARIABLE: name, "WM_CASES": ""},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode()
