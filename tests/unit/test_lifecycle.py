"""A process that waits for what is not there yet, and says so; and one that does not."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import Counter

from services.model.errors import Reason, WorkspaceError, invalid_field
from services.objects.port import StoreUnavailable
from services.processes.lifecycle import Lifecycle
from services.processes.operations import Operations
from services.records.port import DriverUnavailable
from services.rpc.health import LIVENESS
from services.rpc.server import Listener, RpcServer
from services.secrets.resolve import resolve_secrets
from services.settings import Settings

HealthStub = health_pb2_grpc.HealthStub


class Process(Lifecycle):
    """Fails to start as often as a test says."""

    def __init__(self, settings: Settings, failures: list[Exception]) -> None:
        super().__init__(settings)
        self.failures = failures
        self.opened = self.closed = 0

    async def _start(self) -> None:
        Counter("things", "One in each registry.", registry=self.registry).inc()
        self.opened += 1
        self._closers.append(self._ended)
        if self.failures:
            raise self.failures.pop(0)
        self.rpc = RpcServer(listeners=[Listener("127.0.0.1:0")], health=self.health)
        self._closers.append(self.rpc.stop)
        await self.rpc.start()

    async def _ended(self) -> None:
        self.closed += 1

    async def tried(self) -> None:
        """Wait for the first start that failed."""
        async with asyncio.timeout(20):
            while self.closed == 0:  # noqa: ASYNC110 - another is polled
                await asyncio.sleep(0.01)


def unavailable(text: str = "the database does not answer") -> WorkspaceError:
    return WorkspaceError(Reason.ERROR_REASON_BACKEND_UNAVAILABLE, text)


def settings(tmp_path: Path, **more: Any) -> Settings:
    return Settings(data_dir=tmp_path, **more)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.processes.lifecycle._RETRY_SECONDS", 0.05)


async def status(port: int, service: str = "") -> str:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = await HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


async def until(port: int, wanted: str) -> None:
    async with asyncio.timeout(20):
        while await status(port) != wanted:  # noqa: ASYNC110 - another is polled
            await asyncio.sleep(0.02)


async def test_without_a_probe_port_what_is_missing_ends_the_start(tmp_path: Path) -> None:
    process = Process(settings(tmp_path), [unavailable()])
    with pytest.raises(WorkspaceError, match="does not answer"):
        await process.start()
    assert (process.opened, process.closed) == (1, 1)


async def test_with_a_probe_port_it_waits_and_goes_on(
    tmp_path: Path, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    reasons = [unavailable(), unavailable(), unavailable("run `wm migrate`"), unavailable()]
    process = Process(settings(tmp_path, probe_port=0, metrics_port=0), [*reasons])
    starting = asyncio.ensure_future(process.start())
    async with asyncio.timeout(20):
        while process.probe_port is None:  # noqa: ASYNC110 - another is polled
            await asyncio.sleep(0.01)
    assert await status(process.probe_port, LIVENESS) == "SERVING"
    await starting
    await until(process.probe_port, "SERVING")
    assert (process.opened, process.closed) == (5, 4)
    told = [each.getMessage() for each in caplog.records if "not ready" in each.getMessage()]
    assert [text.partition(": ")[2] for text in told] == [
        "the database does not answer",
        "run `wm migrate`",
        "the database does not answer",
    ]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.metrics_port}") as client:
        assert "things_total 1.0" in (await client.get("/metrics")).text
        assert (await client.get("/readyz")).status_code == 200
    await process.stop()
    assert process.closed == 5


async def test_it_is_not_ready_while_it_waits(tmp_path: Path) -> None:
    process = Process(settings(tmp_path, probe_port=0, metrics_port=0), [unavailable()])
    starting = asyncio.ensure_future(process.start())
    await process.tried()
    assert process.probe_port is not None
    assert await status(process.probe_port) == "NOT_SERVING"
    assert await status(process.probe_port, LIVENESS) == "SERVING"
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.metrics_port}") as client:
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/healthz")).status_code == 200
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", process.probe_port)) != 0


async def test_stores_that_do_not_answer_are_waited_for(
    tmp_path: Path, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    away: list[Exception] = [
        DriverUnavailable("PostgreSQL is away"),
        StoreUnavailable("S3 is away"),
    ]
    process = Process(settings(tmp_path, probe_port=0), [*away])
    await process.start()
    told = " ".join(each.getMessage() for each in caplog.records)
    assert "the record store: PostgreSQL is away; check WM_RECORDS" in told
    assert "the object store: S3 is away; check WM_OBJECTS" in told
    await process.stop()


async def test_a_wrong_setting_is_not_waited_for(tmp_path: Path, impatient: None) -> None:
    process = Process(settings(tmp_path, probe_port=0), [invalid_field("WM_X", "is wrong")])
    with pytest.raises(WorkspaceError, match="WM_X"):
        await process.start()
    assert process.opened == 1


async def test_many_that_start_at_once_wait_for_each_other(
    tmp_path: Path, impatient: None
) -> None:
    reason = Reason.ERROR_REASON_CONFLICTING_WRITE
    process = Process(
        settings(tmp_path, probe_port=0), [WorkspaceError(reason, "too many start at once")]
    )
    await process.start()
    assert process.opened == 2
    await process.stop()


async def test_each_try_reads_its_secrets_anew(tmp_path: Path, impatient: None) -> None:
    """A password that was wrong may have been mended where the setting leads."""
    file = tmp_path / "dsn"
    file.write_text("first")
    seen: list[str] = []

    class Reading(Process):
        async def _start(self) -> None:
            self.settings = await resolve_secrets(self.settings)
            assert self.settings.records_dsn is not None
            seen.append(self.settings.records_dsn.get_secret_value())
            file.write_text("second")
            await super()._start()

    process = Reading(
        settings(tmp_path, probe_port=0, records_dsn=f"file:{file}"), [unavailable()]
    )
    await process.start()
    assert seen == ["first", "second"]
    await process.stop()


async def test_a_try_that_fails_late_takes_its_readiness_along(tmp_path: Path) -> None:
    class Late(Process):
        async def _start(self) -> None:
            failures, self.failures = self.failures, []
            await super()._start()
            await self.rpc.readiness.poll()
            assert self.health.ready
            if failures:
                raise failures[0]

    process = Late(settings(tmp_path, probe_port=0), [unavailable()])
    starting = asyncio.ensure_future(process.start())
    await process.tried()
    assert process.probe_port is not None
    assert await status(process.probe_port) == "NOT_SERVING"
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)


async def test_a_stop_while_it_waits_ends_it_well(tmp_path: Path) -> None:
    process = Process(settings(tmp_path, probe_port=0), [unavailable()] * 1000)
    called: list[int] = []
    running = asyncio.ensure_future(process.run(lambda: called.append(1)))
    await process.tried()
    async with asyncio.timeout(20):
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running == 0
    assert called == []


async def test_a_draining_process_is_alive_and_not_ready(tmp_path: Path) -> None:
    process = Process(settings(tmp_path, probe_port=0), [])
    await process.start()
    assert process.probe_port is not None
    await until(process.probe_port, "SERVING")
    await process.health.drain()
    await process.health.set_ready(True)  # a probe that succeeds meanwhile changes nothing
    assert await status(process.probe_port) == "NOT_SERVING"
    assert await status(process.probe_port, LIVENESS) == "SERVING"
    await process.stop()


async def test_a_probe_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = Process(settings(tmp_path, probe_port=port), [])
        with pytest.raises(WorkspaceError, match="WM_PROBE_PORT"):
            await process.start()
        process = Process(settings(tmp_path, metrics_port=port), [])
        with pytest.raises(WorkspaceError, match="WM_METRICS_PORT"):
            await process.start()


async def test_the_probe_port_serves_health_and_nothing_else(tmp_path: Path) -> None:
    process = Process(settings(tmp_path, probe_port=0), [])
    await process.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{process.probe_port}") as channel:
        call = channel.unary_unary("/workspace.identity.v1.IdentityService/GetSession")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    await process.stop()


async def test_nobody_takes_the_room_of_the_probes(tmp_path: Path) -> None:
    process = Process(settings(tmp_path, probe_port=0), [])
    await process.start()
    assert process.probe_port is not None
    async with grpc.aio.insecure_channel(f"127.0.0.1:{process.probe_port}") as channel:
        watch = HealthStub(channel).Watch
        watches = [watch(health_pb2.HealthCheckRequest()) for _ in range(100)]
        codes = await asyncio.wait_for(asyncio.gather(*(each.code() for each in watches)), 20)
        assert set(codes) == {grpc.StatusCode.UNIMPLEMENTED}
        assert await status(process.probe_port, LIVENESS) == "SERVING"
    await process.stop()


async def test_operations_without_ports_open_nothing(tmp_path: Path) -> None:
    process = Process(settings(tmp_path), [])
    operations = Operations(process.settings, process.health, process.shown)
    assert await operations.start() == (None, None)
    await operations.stop()
