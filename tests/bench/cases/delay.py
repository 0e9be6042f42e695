"""A distance: what a server sends arrives later."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from urllib.parse import urlsplit

__all__ = ["Delay"]

_BLOCK = 64 * 1024


class Delay:
    """A proxy on a thread of its own, while entered; `seconds` for every answer, however
    many are under way."""

    def __init__(self, upstream: str, seconds: float) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 80)
        self._seconds = seconds
        self._loop = asyncio.new_event_loop()
        self._ready, self._ended = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="delay", daemon=True)
        self.url = ""

    def __enter__(self) -> Delay:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._one, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()[:2]
        self.url = f"http://{host}:{port}"
        self._ready.set()
        await self._ended.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, on = await asyncio.open_connection(*self._upstream)
        try:
            await asyncio.gather(_piped(near, on, 0), _piped(far, back, self._seconds))
        except (OSError, asyncio.CancelledError):
            pass  # an end of the connection is gone, or the proxy ends
        finally:
            on.close()
            back.close()


async def _piped(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, seconds: float
) -> None:
    while data := await source.read(_BLOCK):
        if seconds:
            await asyncio.sleep(seconds)
        target.write(data)
        await target.drain()
    target.close()
