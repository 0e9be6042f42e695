"""The story in Python, and the guide to it."""

from __future__ import annotations

import os
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from workspace.identity.v1.identity_service_pb2 import GetSessionRequest, GetSessionResponse
from workspace.identity.v1.identity_service_pb2_grpc import (
    IdentityServiceServicer,
    IdentityServiceStub,
    add_IdentityServiceServicer_to_server,
)

from tests.e2e.clients.harness import CLIENTS, ROOT, STORY, differences, run, told
from tests.e2e.guides import blocks, pasted, shell
from tests.e2e.serving import Serving

_STUBS = ROOT / "protos/gen/python"


def _python(env: dict[str, str]) -> dict[str, str]:
    """A program of somebody else's: it has the stubs, and nothing of ours on its path."""
    return env | {"PYTHONPATH": str(_STUBS), "PYTHONIOENCODING": "utf-8"}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_python_tells_the_story(tmp_path: Path, tls: bool) -> None:
    async with told(tmp_path, tls=tls) as env:
        program = CLIENTS / "python/story.py"
        assert run([sys.executable, program], tmp_path, _python(env)) == STORY


async def test_a_server_of_another_authority_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with told(tmp_path, tls=True) as env, told(tmp_path / "other", tls=True) as other:
        program = CLIENTS / "python/story.py"
        with pytest.raises(AssertionError, match="UNAVAILABLE"):
            run([sys.executable, program], tmp_path, _python(env | {"WM_CA": other["WM_CA"]}))


def test_the_guide_works_when_pasted(tmp_path: Path) -> None:
    serving = Serving(tmp_path)
    serving.start()
    try:
        env = shell(tmp_path, without=("WM_",)) | {
            "WM_DATA_DIR": str(serving.data),
            "PORT": str(serving.ports[0]),
        }
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
        block = blocks("clients/README.md")["clients"]
        block = block.replace("50051", "$PORT").replace("docs/", f"{ROOT}/docs/")
        assert pasted(block, tmp_path, env).endswith(STORY)
    finally:
        serving.end()


def test_the_stubs_bring_the_published_retry_policy() -> None:
    published = list((ROOT / "protos/workspace").rglob("*_service_config.json"))
    assert published
    for file in published:
        copy = _STUBS / file.relative_to(ROOT / "protos")
        assert copy.read_bytes() == file.read_bytes(), file.name
    assert len(list(_STUBS.rglob("*_service_config.json"))) == len(published)


def test_differences_are_found(tmp_path: Path) -> None:
    left, right = tmp_path / "left", tmp_path / "right"
    for side, files in ((left, ("a", "same", "sub/b")), (right, ("same", "sub/b", "sub/c"))):
        for name in files:
            (side / name).parent.mkdir(parents=True, exist_ok=True)
            (side / name).write_text(name)
    (left / "sub/b").write_text("B")
    assert differences(left, right) == ["a", "sub/b", "sub/c"]


class _Flaky(IdentityServiceServicer):
    """Fails its first calls with a code."""

    def __init__(self, code: grpc.StatusCode, failures: int) -> None:
        self.code, self.failures, self.calls = code, failures, 0

    def GetSession(  # noqa: N802 -- the name in the contract
        self, request: GetSessionRequest, context: Any
    ) -> GetSessionResponse:
        self.calls += 1
        if self.calls <= self.failures:
            context.abort(self.code, "not now")
        return GetSessionResponse()


@pytest.mark.parametrize(
    ("code", "failures", "calls", "end"),
    [
        ("UNAVAILABLE", 3, 4, "OK"),
        ("UNAVAILABLE", 9, 4, "UNAVAILABLE"),
        ("ABORTED", 1, 1, "ABORTED"),
    ],
)
def test_the_program_follows_the_policy(code: str, failures: int, calls: int, end: str) -> None:
    open_channel = runpy.run_path(str(CLIENTS / "python/story.py"))["open_channel"]
    service = _Flaky(grpc.StatusCode[code], failures)
    server = grpc.server(ThreadPoolExecutor(1))
    add_IdentityServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with open_channel(f"127.0.0.1:{port}", "") as channel:
            call = IdentityServiceStub(channel).GetSession.with_call
            try:
                outcome = call(GetSessionRequest(), timeout=30)[1].code().name
            except grpc.RpcError as error:
                outcome = error.code().name
    finally:
        server.stop(None).wait()
    assert (outcome, service.calls) == (end, calls)
