"""A workspace without Azure imports nothing of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LOCAL = """
import sys
from services.processes.workspace import WorkspaceProcess, find_services
from services.cli import main
from services.config import load_settings
import services.azure.selected, services.azure.place, services.azure.roles
import services.azure.permissions
find_services()
load_settings()
found = sorted(name for name in sys.modules if name.split(".")[0] in ("azure", "aiohttp", "msal"))
assert not found, found
"""
MISSING = """
import sys
sys.modules["azure.identity.aio"] = None  # as if it were not installed
from services.model.errors import WorkspaceError
try:
    import services.azure.clients
except WorkspaceError as error:
    assert "pip install 'workspace-management[azure]'" in error.message, error.message
    assert error.metadata == {"extra": "azure"}
else:
    raise AssertionError("imported without its SDK")
"""


@pytest.mark.parametrize("script", [LOCAL, MISSING])
def test_the_sdk_is_an_extra(script: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'protos/gen/python'}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
