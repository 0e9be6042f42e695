"""Starting, refusing to start, and stopping a whole process."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from workspace.project.v1.project_service_pb2 import CreateProjectRequest, GetProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.config import load_settings
from services.model.errors import Reason, WorkspaceError
from services.processes.workspace import WorkspaceProcess
from tests.harness import Workspace
from tests.server_process import ServerProcess

ANN = "ann@example.com"


@pytest.fixture(autouse=True)
def clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `backend.toml` and no WM_ variable but what the test sets."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("WM_")]:
        monkeypatch.delenv(name)


async def refusal(tmp_path: Path, **settings: Any) -> WorkspaceError:
    """How the start with these settings is refused."""
    given = {"data_dir": tmp_path / "wm-data", "grpc_port": 0, "http_port": 0} | settings
    with pytest.raises(WorkspaceError) as caught:
        await start_and_stop(given)
    return caught.value


async def start_and_stop(settings: dict[str, Any]) -> None:
    process = WorkspaceProcess(load_settings(**settings))
    try:
        await process.start()
    finally:
        await process.stop()


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


@pytest.mark.parametrize("same_ports", [False, True])
async def test_a_second_process_on_the_data_folder_is_refused(
    tmp_path: Path, same_ports: bool
) -> None:
    """Whatever the ports are: the folder is what two processes cannot share."""
    async with ServerProcess.start(tmp_path / "wm-data") as server:
        ports = {}
        if same_ports:
            ports = {
                "grpc_port": int(server.grpc.rpartition(":")[2]),
                "http_port": int(server.http.rpartition(":")[2]),
            }
        error = await refusal(tmp_path, **ports)
        assert error.reason == Reason.ERROR_REASON_INVALID_STATE
        assert str(tmp_path / "wm-data") in error.message
        assert f"process {server.process.pid}" in error.message
        assert "stop that process" in error.message
        token = await server.sign_in(ANN)  # the first one never noticed
        assert token
        assert await server.terminate() == 0
    async with Workspace.open(tmp_path) as ws:
        assert await ws.sign_in(ANN)


@pytest.mark.parametrize(("setting", "flag"), [
    ("grpc_port", "--grpc-port"), ("http_port", "--http-port"),
])  # fmt: skip
async def test_a_busy_port_is_named_and_nothing_stays_open(
    tmp_path: Path, busy_port: int, setting: str, flag: str
) -> None:
    error = await refusal(tmp_path, **{setting: busy_port})
    assert error.reason == Reason.ERROR_REASON_INVALID_STATE
    assert f"127.0.0.1:{busy_port}" in error.message
    assert flag in error.message
    async with Workspace.open(tmp_path) as ws:
        assert await ws.sign_in(ANN)


@pytest.mark.parametrize(
    ("text", "reason", "named"),
    [
        ("provider = ", "INVALID_FIELD", "backend.toml"),
        ("\x00\x01", "INVALID_FIELD", "backend.toml"),
        ("", "INVALID_FIELD", "provider"),
        ('provider = "gcp"', "INVALID_FIELD", "provider"),
        ('provider = ["local"]', "INVALID_FIELD", "provider"),
        ('provider = "azure"', "INVALID_FIELD", "WM_AZURE_COSMOS_ACCOUNT"),
        ('provider = "azure"\nlocation = 1', "INVALID_FIELD", "backend.toml: location"),
        ('provider = "aws"', "INVALID_FIELD", "WM_AWS_DYNAMODB_TABLE"),
        ('provider = "aws"\nregion = 1', "INVALID_FIELD", "backend.toml: region"),
        ('provider = "local"\n[storage]\naccount_key = "x"', "SECRET_REFUSED", "account_key"),
        (
            'provider = "local"\n[database]\nurl = "postgresql://ann:hunter2@db/x"',
            "SECRET_REFUSED", "database.url",
        ),
    ],
)  # fmt: skip
async def test_a_bad_backend_file_names_the_place_and_no_secret(
    tmp_path: Path, text: str, reason: str, named: str
) -> None:
    file = tmp_path / "backend.toml"
    file.write_text(text)
    error = await refusal(tmp_path)  # found by its name in the working directory
    assert error.reason == Reason.Value(f"ERROR_REASON_{reason}")
    assert named in error.message
    assert "hunter2" not in error.message
    assert not (tmp_path / "wm-data").exists(), "nothing is opened before the selection is good"
    asked_for = await refusal(tmp_path, backend_file=file)
    assert asked_for.message.replace(str(file), file.name) == error.message


async def test_the_backend_file_of_the_environment_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.toml").write_text('provider = "gcp"')
    monkeypatch.setenv("WM_BACKEND_FILE", str(tmp_path / "other.toml"))
    assert "other.toml" in (await refusal(tmp_path)).message


async def test_a_backend_file_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    error = await refusal(tmp_path, backend_file=tmp_path / "nowhere.toml")
    assert error.reason == Reason.ERROR_REASON_INVALID_FIELD
    assert "nowhere.toml" in error.message


async def test_a_backend_file_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "backend.toml").mkdir()
    assert (await refusal(tmp_path)).reason == Reason.ERROR_REASON_INVALID_FIELD


@pytest.mark.parametrize("setting", ["grpc_host", "http_host"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "workspace.example.org"])
async def test_listening_beyond_loopback_needs_tls(
    tmp_path: Path, setting: str, host: str
) -> None:
    error = await refusal(tmp_path, **{setting: host})
    assert "TLS" in error.message
    assert "WM_TLS_CERTIFICATE" in error.message
    assert "127.0.0.1" in error.message


async def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    error = await refusal(
        tmp_path, grpc_host="0.0.0.0", tls_certificate=missing, tls_key=missing
    )
    assert str(missing) in error.message


async def test_half_of_a_tls_pair_is_refused(tmp_path: Path) -> None:
    """Otherwise the address beyond loopback would be served in the clear."""
    error = await refusal(tmp_path, grpc_host="0.0.0.0", tls_certificate=tmp_path / "a.pem")
    assert "WM_TLS_KEY" in error.message
    assert "WM_TLS_KEY" in (await refusal(tmp_path, tls_certificate=tmp_path / "a.pem")).message


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WM_GRPC_PORT", "many"), ("WM_HTTP_PORT", "65536"), ("WM_RECORDS", "oracle"),
        ("WM_DRAIN_GRACE", "-1"), ("WM_MAX_MESSAGE_BYTES", "1"), ("WM_LOG_LEVEL", "loud"),
        ("WM_REFLECTION", "perhaps"), ("WM_TRASH_DAYS", "0"),
    ],
)  # fmt: skip
def test_a_bad_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(WorkspaceError) as caught:
        load_settings()
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_FIELD
    assert caught.value.metadata["field"] == variable
    assert variable in caught.value.message


async def test_postgresql_without_its_address_names_the_variable(tmp_path: Path) -> None:
    assert "WM_RECORDS_DSN" in (await refusal(tmp_path, records="postgresql")).message


async def test_a_data_folder_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "wm-data").write_text("a file")
    error = await refusal(tmp_path)
    assert str(tmp_path / "wm-data") in error.message
    assert "WM_DATA_DIR" in error.message


async def test_a_second_start_serves_the_same_data(tmp_path: Path) -> None:
    async with ServerProcess.start(tmp_path / "wm-data") as server:
        token = await server.sign_in(ANN)
        stub = ProjectServiceStub(server.channel(token))
        made = (await stub.CreateProject(CreateProjectRequest(name="Bridge"))).project
        assert await server.terminate() == 0
    async with ServerProcess.start(tmp_path / "wm-data") as server:
        stub = ProjectServiceStub(server.channel(token))  # the token still verifies
        found = await stub.GetProject(GetProjectRequest(project_id=made.project_id))
        assert (found.project.name, found.project.etag) == ("Bridge", made.etag)


_HELD = """
import asyncio, pathlib
from services.records.sql import SqliteDriver
_commit = SqliteDriver.commit

async def held(self, pk, puts):
    if pk.startswith("PROJECT#") and pathlib.Path("hold").exists():
        print("held", flush=True)
        while pathlib.Path("hold").exists():
            await asyncio.sleep(0.01)
    return await _commit(self, pk, puts)

SqliteDriver.commit = held
"""


async def test_sigterm_lets_a_running_call_finish_and_exits_with_0(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    async with ServerProcess.start(tmp_path / "wm-data", prelude=_HELD, drain_grace=60) as server:
        token = await server.sign_in(ANN)
        hold.touch()
        create = CreateProjectRequest(name="Bridge", request_id=str(uuid.uuid4()))
        running = asyncio.ensure_future(
            ProjectServiceStub(server.channel(token)).CreateProject(create)
        )
        assert await server.line() == "held\n"
        server.process.terminate()
        await refused_from_now_on(server, token)
        assert not running.done()
        hold.unlink()
        made = (await running).project
        assert await server.process.wait() == 0
    async with ServerProcess.start(tmp_path / "wm-data") as server:
        stub = ProjectServiceStub(server.channel(token))
        found = await stub.GetProject(GetProjectRequest(project_id=made.project_id))
        assert found.project.etag == made.etag


async def refused_from_now_on(server: ServerProcess, token: str) -> None:
    """Wait until new connections find nobody."""
    async with asyncio.timeout(60):
        while True:
            stub = ProjectServiceStub(server.channel(token))
            try:
                await stub.GetProject(GetProjectRequest(project_id="p_none"))
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    return


async def test_sigterm_lets_a_running_http_request_finish(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    async with ServerProcess.start(tmp_path / "wm-data", prelude=_HELD, drain_grace=60) as server:
        token = await server.sign_in(ANN)
        hold.touch()
        headers = {"authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=server.http, headers=headers, timeout=60) as client:
            running = asyncio.ensure_future(client.post("/api/projects", json={"name": "Bridge"}))
            assert await server.line() == "held\n"
            server.process.terminate()
            await refused_from_now_on(server, token)
            hold.unlink()
            answer = await running
            assert answer.status_code == 200, answer.text
        assert await server.process.wait() == 0


async def test_health_is_ready_while_serving_and_gone_after(tmp_path: Path) -> None:
    async with Workspace.open(tmp_path) as ws:
        async with ws.client() as client:
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 200
        url = ws.http
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{url}/readyz")
