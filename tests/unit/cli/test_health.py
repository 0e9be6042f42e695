"""`wm health`, asked of real ports."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from threading import Thread

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from services.cli.exit_codes import ExitCode
from services.cli.main import run
from tests.authority import Authority

_SERVING = HealthCheckResponse.SERVING
_NOT_SERVING = HealthCheckResponse.NOT_SERVING


@contextmanager
def answering(
    servicer: health.HealthServicer | None, credentials: grpc.ServerCredentials | None = None
) -> Iterator[str]:
    """The address of a server with this health service (None: with no service at all)."""
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    if servicer is not None:
        add_HealthServicer_to_server(servicer, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def saying(status: int, service: str = "") -> health.HealthServicer:
    servicer = health.HealthServicer()
    servicer.set("", _NOT_SERVING)
    servicer.set(service, status)
    return servicer


def test_serving_is_exit_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(saying(_SERVING)) as address:
        assert run(["health", address]) == ExitCode.OK
        assert capsys.readouterr().out == "SERVING\n"
        assert run(["health", address, "--json"]) == ExitCode.OK
        assert json.loads(capsys.readouterr().out) == {"address": address, "status": "SERVING"}


def test_not_serving_is_exit_code_8_and_says_where_to_look(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with answering(saying(_NOT_SERVING)) as address:
        assert run(["health", address]) == ExitCode.UNAVAILABLE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"{address} says NOT_SERVING" in shown.err
    assert "log" in shown.err


def test_the_default_is_the_probe_port_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with answering(saying(_SERVING)) as address:
        monkeypatch.setenv("WM_PROBE_PORT", address.rpartition(":")[2])
        assert run(["health"]) == ExitCode.OK


def test_without_a_port_anywhere_it_says_which_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WM_PROBE_PORT", raising=False)
    assert run(["health"]) == ExitCode.USAGE
    assert "WM_PROBE_PORT" in capsys.readouterr().err


def test_a_service_is_asked_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(saying(_SERVING, "workspace.sync.v1.SyncService")) as address:
        name = "workspace.sync.v1.SyncService"
        assert run(["health", address, "--service", name]) == ExitCode.OK
        assert run(["health", address]) == ExitCode.UNAVAILABLE
        assert run(["health", address, "--service", "other"]) == ExitCode.UNAVAILABLE
        assert "says SERVICE_UNKNOWN" in capsys.readouterr().err


def test_a_closed_port_and_a_port_of_another_kind(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else can take it
        bound.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{bound.getsockname()[1]}"
        assert run(["health", closed]) == ExitCode.UNAVAILABLE
    assert f"nothing that speaks gRPC health answers at {closed}" in capsys.readouterr().err
    with answering(None) as empty:
        assert run(["health", empty]) == ExitCode.UNAVAILABLE
    assert f"{empty} has no health service" in capsys.readouterr().err


def test_who_takes_the_connection_and_says_nothing_is_waited_for_a_set_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        held: list[socket.socket] = []
        taking = Thread(target=lambda: held.append(silent.accept()[0]), daemon=True)
        taking.start()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert run(["health", address, "--timeout", "0.3"]) == ExitCode.UNAVAILABLE
        taking.join()
        held[0].close()
    assert f"{address} does not answer within 0.3 s" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["nonsense", "127.0.0.1", "host:name"])
def test_what_is_no_address_is_a_usage_error(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["health", text]) == ExitCode.USAGE
    assert f"{text} is no HOST:PORT" in capsys.readouterr().err


def test_a_port_with_tls_is_asked_as_https(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path, "tests")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    authority.issue(certificate, key, x509.IPAddress(ip_address("127.0.0.1")))
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    with answering(saying(_SERVING), credentials) as address:
        assert run(["health", f"https://{address}"]) == ExitCode.UNAVAILABLE  # not the system's
        monkeypatch.delenv("WM_CA", raising=False)
        monkeypatch.setenv("WM_PEER_CA", str(authority.ca_file))
        assert run(["health", f"https://{address}"]) == ExitCode.OK
        assert run(["health", address]) == ExitCode.UNAVAILABLE  # plain text, to a port with TLS
        monkeypatch.setenv("WM_PEER_CA", str(tmp_path / "none"))
        assert run(["health", f"https://{address}"]) == ExitCode.USAGE
        assert run(["health", f"https://{address}", "--ca", str(authority.ca_file)]) == ExitCode.OK


def test_it_loads_neither_the_servers_nor_the_contracts() -> None:
    """It runs every few seconds in each container: what it imports is what it costs."""
    program = (
        "import sys\n"
        "from services.cli.main import run\n"
        "print(run(['health', sys.argv[1]]))\n"
        "print(*(name.split('.')[0] for name in sys.modules))\n"
    )
    with answering(saying(_SERVING)) as address:
        done = subprocess.run(
            [sys.executable, "-c", program, address], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
    status, code, loaded = done.stdout.splitlines()
    assert (status, code) == ("SERVING", "0")
    for heavy in ("sqlalchemy", "starlette", "pydantic_settings", "workspace", "boto3", "httpx"):
        assert heavy not in loaded.split()
    assert "grpc_health" in loaded.split()
