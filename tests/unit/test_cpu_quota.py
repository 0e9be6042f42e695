"""Limits of processor time for the benchmark of replicas."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bench.cpu_quota import CpuQuota, missing, quotas, seconds_used

_NONE = missing()


def test_version_two_is_told_quota_and_weight(tmp_path: Path) -> None:
    group = CpuQuota(tmp_path / "group", cores=0.15)
    group.make()
    told = {path.name: path.read_text() for path in (tmp_path / "group").iterdir()}
    assert told == {"cpu.max": "15000 100000", "cpu.weight": "2000"}
    free = CpuQuota(tmp_path / "free", cores=None)
    free.make()
    assert (tmp_path / "free" / "cpu.max").read_text() == "max 100000"


def test_the_time_of_a_process_counts_its_children_that_ended() -> None:
    before = seconds_used(os.getpid())
    work = "import time\nwhile time.process_time() < 0.2: pass"
    subprocess.run([sys.executable, "-c", work], check=True)
    assert seconds_used(os.getpid()) - before >= 0.19


@pytest.mark.skipif(bool(_NONE), reason=f"capability: {_NONE}")
def test_a_process_gets_no_more_than_its_share() -> None:
    """However fast the machine is: a tenth, and a period that it may be ahead."""
    loop = "while True: pass"
    with quotas(1, cores=0.1) as [group], subprocess.Popen([sys.executable, "-c", loop]) as process:
        try:
            group.add(process.pid)
            used, began = seconds_used(process.pid), time.monotonic()
            while seconds_used(process.pid) - used < 0.3:
                time.sleep(0.01)
            assert time.monotonic() - began >= 2.0
            assert group.throttled() > 0
        finally:
            process.kill()
            process.wait()
