"""`wm serve`: the whole workspace in one process, or some targets of a deployment."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from services.cli.failures import usage
from services.cli.options import options_of

if TYPE_CHECKING:
    from services.processes.lifecycle import Lifecycle
    from services.settings import Settings

app = typer.Typer(add_completion=False)

_BANNER = """
  The workspace is running.

    gRPC   {grpc}
    HTTP   {http}
    data   {data}

  Next, in another terminal:  {next}
  Stop it with Ctrl-C.
"""


@app.command()
def serve(
    ctx: typer.Context,
    grpc_port: int | None = typer.Option(None, "--grpc-port", help="0: any free port."),
    http_port: int | None = typer.Option(None, "--http-port", help="0: any free port."),
    grpc_host: str | None = typer.Option(None, "--grpc-host", help="Beyond loopback needs TLS."),
    http_host: str | None = typer.Option(None, "--http-host", help="Beyond loopback needs TLS."),
    backend: Path | None = typer.Option(None, "--backend", help="Selection; backend.toml."),
    log_format: str | None = typer.Option(None, "--log-format", help="auto, json or text."),
    log_level: str | None = typer.Option(None, "--log-level", help="debug, info, warning, error."),
    target: list[str] = typer.Option(
        [], "--target", help="identity, project, storage, sync, gateway or relay; repeatable."
    ),
) -> None:
    """Serve the workspace until Ctrl-C or SIGTERM. Settings: WM_* variables."""
    from services.config import load_settings

    if backend is not None and not backend.is_file():
        raise usage(f"there is no file {backend}", remedy="write it with `wm init`")
    data = options_of(ctx).data
    settings = load_settings(
        data_dir=data, grpc_port=grpc_port, http_port=http_port, grpc_host=grpc_host,
        http_host=http_host, backend_file=backend, log_format=log_format, log_level=log_level,
        targets=",".join(target) or None,
    )
    _configure_logs(settings)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        code = runner.run(_serve(settings, explicit_data=data is not None))
    raise typer.Exit(code)


async def _serve(settings: Settings, *, explicit_data: bool) -> int:
    from services.cli.endpoint import Endpoint, forget_endpoint, write_endpoint

    # Starting makes next to no garbage, and looking for it takes a tenth of the time.
    # What is there at the end stays: later collections pass over it.
    gc.disable()
    from services.processes.opening import open_process

    process = open_process(settings)

    def started() -> None:
        gc.freeze()
        gc.enable()
        if process.targets.everything:
            where = Endpoint(process.grpc_address, process.http_url, os.getpid())
            write_endpoint(settings.data_dir, where)
        _announce(process, explicit_data=explicit_data)

    try:
        return await process.run(started)
    finally:
        gc.enable()
        if process.targets.everything:
            forget_endpoint(settings.data_dir)


def _announce(process: Lifecycle, *, explicit_data: bool) -> None:
    data = process.settings.data_dir.absolute()
    with_banner = sys.stdout.isatty() and process.targets.everything
    if with_banner:
        option = f"--data {process.settings.data_dir} " if explicit_data else ""
        sys.stdout.write(
            _BANNER.format(
                grpc=process.grpc_address, http=process.http_url, data=data,
                next=f"wm {option}login --as you@example.com",
            )
        )
        sys.stdout.flush()
    where = {
        "targets": ",".join(sorted(process.targets.chosen)), "grpc": process.grpc_address,
        "http": process.http_url, "data": str(data),
    }  # fmt: skip
    level = logging.DEBUG if with_banner else logging.INFO  # the banner said it
    logging.getLogger("workspace.serve").log(level, "ready", extra=where)


def _configure_logs(settings: Settings) -> None:
    from services.telemetry.logs import configure_logging

    formats = {"json": True, "text": False}
    as_json = formats.get(settings.log_format, not sys.stderr.isatty())
    levels = {"alembic": "WARNING", "uvicorn": "WARNING"}  # their start is ours to announce
    if not as_json and settings.log_level != "debug":
        levels["workspace.rpc.access"] = "WARNING"  # a person is reading
    configure_logging(level=settings.log_level.upper(), as_json=as_json, levels=levels)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
