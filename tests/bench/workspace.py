"""The whole workspace as `wm serve` runs it, with the null RPC on top.

    python -m tests.bench.workspace DATA_DIR '{"setting": ...}'
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import services.processes.workspace
from services.config import load_settings
from services.kernel import Kernel, Registration, ServiceModule
from services.processes.workspace import WorkspaceProcess, find_services
from services.rpc.policy import USER
from services.telemetry.logs import configure_logging
from tests.bench.null_service import FULL_NAME, METHOD, NullServicer, add_null_service, declare
from tests.bench.served import announce_and_wait, run

_CALLS = 100_000_000
"""A minute: calls are counted, and a benchmark is not refused."""


def _null_module(kernel: Kernel, peers: Any) -> ServiceModule:
    """The null RPC for signed-in people: every interceptor has its full work."""
    del kernel, peers
    registration = Registration(add_null_service, NullServicer(), FULL_NAME)
    return ServiceModule("bench", [registration], {METHOD: USER})


async def _serve(data_dir: Path, given: dict[str, Any]) -> None:
    declare()
    services.processes.workspace.find_services = lambda: [*find_services(), _null_module]
    limits = {"user_calls_per_minute": _CALLS, "address_calls_per_minute": _CALLS}
    settings = {"data_dir": data_dir, "grpc_port": 0, "http_port": 0, **limits, **given}
    process = WorkspaceProcess(load_settings(**settings))
    await process.start()
    try:
        await announce_and_wait(
            grpc=process.grpc_address,
            http=process.http_url,
            methods=" ".join(process.rpc.methods),
        )
    finally:
        await process.stop()


if __name__ == "__main__":
    configure_logging(level="INFO", as_json=True)
    run(_serve(Path(sys.argv[1]), json.loads(sys.argv[2])))
