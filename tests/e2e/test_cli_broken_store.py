"""`wm serve` over a store that cannot be opened says what to do, not "unexpected"."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.ports import free_port


def serve(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    ports = {"WM_GRPC_PORT": "0", "WM_HTTP_PORT": "0", "WM_DATA_DIR": str(folder)}
    return subprocess.run(
        [str(Path(sys.executable).parent / "wm"), "serve"],
        env={**os.environ, **ports, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_damaged_database(tmp_path: Path) -> None:
    (tmp_path / "workspace.sqlite").write_bytes(b"not a database" * 1000)
    done = serve(tmp_path)
    assert done.returncode == 7, done.stderr
    assert "damaged" in done.stderr
    assert "wm doctor" in done.stderr


@pytest.mark.case("Y03")
def test_a_postgresql_that_does_not_answer(tmp_path: Path) -> None:
    port = free_port()
    done = serve(
        tmp_path,
        WM_RECORDS="postgresql",
        WM_RECORDS_DSN=f"postgresql://user:hidden-word@127.0.0.1:{port}/db?connect_timeout=2",
    )
    assert done.returncode == 8, done.stderr
    assert "WM_RECORDS_DSN" in done.stderr
    assert "hidden-word" not in done.stderr
