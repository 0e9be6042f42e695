"""`wm health`: what the health service of a process says, for probes and HEALTHCHECK.

It runs every few seconds beside a server, so it imports gRPC and next to nothing else.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from services.cli.exit_codes import ExitCode
from services.cli.failures import CliError, usage
from services.cli.options import options_of

if TYPE_CHECKING:
    import grpc

app = typer.Typer(add_completion=False)

_SERVING = "SERVING"
_OPTIONS = [("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0)]


@app.command()
def health(
    ctx: typer.Context,
    address: str = typer.Argument(
        "", metavar="[ADDRESS]", show_default=False,
        help="HOST:PORT, or https://HOST:PORT for a port with TLS (authority: --ca, WM_CA, "
        "WM_PEER_CA, else the public ones). Default: 127.0.0.1:$WM_PROBE_PORT.",
    ),
    service: str = typer.Option("", "--service", help="A gRPC service; default: the process."),
    timeout: float = typer.Option(3.0, "--timeout", min=0.1, max=60, help="Seconds."),
) -> None:
    """Ask whether a process is ready: exit code 0 when it says SERVING, else 8."""
    asked = address or _own()
    options = options_of(ctx)
    ca_file = options.ca or _authority()
    status = ask(asked, service=service, timeout=timeout, ca_file=ca_file)
    if status != _SERVING:
        raise CliError(
            f"{asked} says {status}", remedy="its log says what it waits for",
            exit_code=ExitCode.UNAVAILABLE,
        )
    shown = json.dumps({"address": asked, "status": status}) if options.json else status
    sys.stdout.write(f"{shown}\n")


def ask(
    address: str, *, service: str = "", timeout: float = 3.0, ca_file: Path | None = None
) -> str:
    """The status of `service` (empty: of the process) at `address`, as the names of
    grpc.health.v1.HealthCheckResponse; `timeout` in seconds covers the connection too.
    `ca_file`: PEM of authorities, for addresses with TLS. Raises CliError, with exit code 8
    when nothing that speaks the protocol answers in time."""
    import grpc
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
    from grpc_health.v1.health_pb2_grpc import HealthStub

    stub: Any = HealthStub  # its package has no types
    with _channel(address, ca_file) as channel:
        try:
            answer = stub(channel).Check(HealthCheckRequest(service=service), timeout=timeout)
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.NOT_FOUND:  # the protocol's word for an unknown service
                return "SERVICE_UNKNOWN"
            raise _silent(address, code, timeout) from None
    return str(HealthCheckResponse.ServingStatus.Name(answer.status))


def _channel(address: str, ca_file: Path | None) -> grpc.Channel:
    """Plain text, for nothing secret passes here; TLS where the address asks for it."""
    import grpc

    target = address.removeprefix("https://").removeprefix("grpc://").rstrip("/")
    if not target.rpartition(":")[2].isdecimal():
        raise usage(f"{address} is no HOST:PORT", remedy="give the port, as 127.0.0.1:50052")
    if not address.startswith("https://"):
        return grpc.insecure_channel(target, options=_OPTIONS)
    from services.cli.trust import Reached

    credentials = grpc.ssl_channel_credentials(Reached(address, ca_file).pem())
    return grpc.secure_channel(target, credentials, options=_OPTIONS)


def _authority() -> Path | None:
    path = os.environ.get("WM_CA") or os.environ.get("WM_PEER_CA")
    return Path(path) if path else None


def _own() -> str:
    port = os.environ.get("WM_PROBE_PORT", "")
    if not port:
        raise usage(
            "there is no address to ask",
            remedy="give HOST:PORT, or set WM_PROBE_PORT as the process has it",
        )
    return f"127.0.0.1:{port}"


def _silent(address: str, code: grpc.StatusCode, timeout: float) -> CliError:
    if code.name == "UNIMPLEMENTED":
        text, remedy = f"{address} has no health service", "give WM_PROBE_PORT or the gRPC port"
    elif code.name == "DEADLINE_EXCEEDED":
        text = f"{address} does not answer within {timeout:g} s"
        remedy = "the process is busy or hangs; raise --timeout, see its log"
    else:
        text = f"nothing that speaks gRPC health answers at {address}"
        remedy = "start the process; WM_PROBE_PORT opens this port; https:// for one with TLS"
    return CliError(text, remedy=remedy, exit_code=ExitCode.UNAVAILABLE)
