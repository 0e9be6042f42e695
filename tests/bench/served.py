"""What the two server processes have in common: say where, wait, stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from typing import Any

import uvloop

from services.rpc.server import stop_signals

__all__ = ["announce_and_wait", "run"]


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop, as `wm serve` does."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


async def announce_and_wait(**where: str) -> None:
    """Print one JSON line with the addresses; return on SIGTERM or when the
    parent is gone (its end of our stdin closes)."""
    async with stop_signals() as stop:
        threading.Thread(target=_watch_parent, daemon=True).start()
        print(json.dumps(where), flush=True)
        await stop.wait()


def _watch_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
