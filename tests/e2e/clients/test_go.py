"""The Go client: generated from the contract, tested, and the story told with it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.clients.harness import CLIENTS, ROOT, STORY, differences, run, told
from tests.servers.tools import HAS_GO

pytestmark = [
    pytest.mark.skipif(not HAS_GO, reason="needs Go"),
    pytest.mark.timeout(900),  # the first build compiles gRPC
]
_MODULE = ROOT / "protos/gen/go"
_BY_HAND = ["README.md", "go.mod", "go.sum", "workspace.go", "workspace_test.go"]
_SECONDS = 800


def _go(folder: Path, *arguments: str | Path) -> str:
    path = os.pathsep.join([os.environ["PATH"], "/usr/local/go/bin"])
    go = shutil.which("go", path=path)
    assert go is not None
    return run([go, *arguments], folder, {"GOFLAGS": "-mod=readonly"}, seconds=_SECONDS)


def test_the_committed_code_is_what_the_contract_says(tmp_path: Path) -> None:
    run(["bash", ROOT / "protos/clients/go.sh", tmp_path], tmp_path, {}, seconds=_SECONDS)
    assert differences(tmp_path, _MODULE) == _BY_HAND


def test_the_module_holds_what_it_promises() -> None:
    _go(_MODULE, "vet", "./...")
    tested = _go(_MODULE, "test", "-count=1", "./...")
    assert tested.startswith("ok")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_go_tells_the_story(tmp_path: Path, tls: bool) -> None:
    folder, program = CLIENTS / "go", tmp_path / "story"
    _go(folder, "vet", "./...")
    _go(folder, "build", "-buildvcs=false", "-o", program, ".")
    async with told(tmp_path, tls=tls) as env:
        assert run([program], tmp_path, env) == STORY
