"""A stream of bytes that is read once, in blocks, several of which are sent at a time."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from services.objects.port import WrongBytes

__all__ = ["Intake", "block_size", "sent"]

_T = TypeVar("_T")

_MIB = 1024 * 1024
_GROWS_EVERY = 1_000
_AT_ONCE = 4


class Intake:
    """Blocks of a stream, with what is known of it so far. `size` is the announced one in
    bytes; `run` does blocking work in a thread."""

    def __init__(
        self, chunks: AsyncIterator[bytes], size: int | None, run: Callable[..., Awaitable[Any]]
    ) -> None:
        self.size = size
        self.count = 0
        self.ended = False
        self._chunks = aiter(chunks)
        self._run = run
        self._digest = hashlib.sha256()
        self._rest = bytearray()

    @property
    def sha256(self) -> str:
        """Of the blocks that were given out."""
        return self._digest.hexdigest()

    async def block(self, length: int) -> bytes:
        """The next bytes, `length` of them or all that is left (`ended` then). Raises
        WrongBytes where there are more or fewer than announced."""
        data = self._rest
        # One byte more shows whether this is the last block.
        while len(data) <= length and not self.ended:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                self.ended = True
            else:
                data += chunk
                self.count += len(chunk)
                self._check_length()
        block, self._rest = bytes(memoryview(data)[:length]), data[length:]
        if len(block) <= _MIB:
            self._digest.update(block)
        else:
            await self._run(self._digest.update, block)
        if self.ended and self.size is not None and self.count != self.size:
            raise WrongBytes(f"{self.count} bytes instead of the announced {self.size}")
        if self.ended and self._rest:
            self.ended = False  # a block is still to come
        return block

    def check(self, sha256: str | None) -> None:
        """Raises WrongBytes where another SHA-256 was announced."""
        if sha256 and self.sha256 != sha256:
            raise WrongBytes("the bytes do not have the announced SHA-256")

    def _check_length(self) -> None:
        if self.size is not None and self.count > self.size:
            raise WrongBytes(f"more than the announced {self.size} bytes")


def block_size(size: int | None, number: int, *, least: int, most_blocks: int) -> int:
    """Bytes of block `number` of `size` (None: not known), such that the blocks suffice."""
    if size is None:
        return int(least * 2 ** (number // _GROWS_EVERY))
    return max(least, -(-size // (most_blocks - 1) // _MIB) * _MIB)


async def sent(
    first: bytes, intake: Intake, send: Callable[[int, bytes], Awaitable[_T]], *,
    step: Callable[[int], int],
) -> list[_T]:
    """All blocks, a few at a time, from number 1 on. Whatever happens, none is under way
    afterwards."""
    tasks: list[asyncio.Task[_T]] = []
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int, data: bytes) -> _T:
        return await send(number, data)

    data, number = first, 1
    try:
        while data:
            await turns.acquire()
            task = asyncio.create_task(one(number, data))
            task.add_done_callback(lambda _: turns.release())
            tasks.append(task)
            _raise_first(tasks)
            number += 1
            data = b"" if intake.ended else await intake.block(step(number))
    finally:
        done = await asyncio.gather(*tasks, return_exceptions=True)
    for each in done:
        if isinstance(each, BaseException):
            raise each
    return [each for each in done if not isinstance(each, BaseException)]


def _raise_first(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error
