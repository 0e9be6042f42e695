"""A workspace without AWS imports nothing of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
SCRIPT = """
import sys
from services.processes.workspace import WorkspaceProcess, find_services
from services.cli import main
find_services()
found = sorted(name for name in sys.modules if name.split(".")[0] in ("boto3", "botocore"))
assert not found, found
"""


def test_a_local_process_and_the_cli_import_no_sdk() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'protos/gen/python'}"},
    )
    assert done.returncode == 0, done.stderr
