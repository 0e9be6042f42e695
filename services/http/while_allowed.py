"""A transfer under way ends when its URL is revoked, however long it takes and however
slowly the client reads or sends: it is looked at beside the transfer, not between chunks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

__all__ = ["LOOK_SECONDS", "UNANSWERED_SECONDS", "EndedError", "while_allowed"]

_LOG = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""From one answer to the next question."""
UNANSWERED_SECONDS = 2.0
"""How long nobody may be able to tell. With a look and the life of a cached answer
(`storage_svc/revocation.py`) it makes up the five seconds in which a URL ends."""
_PAUSE_SECONDS = 0.2


class EndedError(Exception):
    """What ran is not allowed any more; it was cancelled."""


@asynccontextmanager
async def while_allowed(allowed: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
    """Cancel the block as soon as `allowed` says no, or cannot say. Raises EndedError then."""
    limit = asyncio.timeout(None)
    try:
        async with limit:
            watch = asyncio.create_task(_watch(allowed, limit))
            try:
                yield
            finally:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
    except TimeoutError:
        if limit.expired():
            raise EndedError from None
        raise  # one of the block's own


async def _watch(allowed: Callable[[], Awaitable[bool]], limit: asyncio.Timeout) -> None:
    answer = True
    while answer:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            async with asyncio.timeout(UNANSWERED_SECONDS):
                answer = await _answer(allowed)
        except TimeoutError:
            _LOG.warning("revocation cannot be checked; a transfer is cut")
            answer = False
    limit.reschedule(asyncio.get_running_loop().time())


async def _answer(allowed: Callable[[], Awaitable[bool]]) -> bool:
    """The first answer: a peer that is replaced at this moment is asked again."""
    while True:
        try:
            return await allowed()
        except Exception as error:
            _LOG.info("revocation could not be checked: %s", type(error).__name__)
            await asyncio.sleep(_PAUSE_SECONDS)
