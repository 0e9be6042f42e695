"""Decisions under `if_head`, made again when the partition moved meanwhile.

async def attempt() -> RevokeGrantResponse:
    head = await records.head(pk)
    ...  # read the rows, decide
    return await mutation.commit(pk, writes, ..., if_head=head)

return await deciding(attempt)

What was decided by rows of other partitions, no head of this one holds: such a commit is
given `still`, which decides once more just before the write.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.model.errors import Reason, WorkspaceError

__all__ = ["Still", "deciding"]

T = TypeVar("T")

Still = Callable[[], Awaitable[object]]
"""Decides again; raises (PERMISSION_DENIED as a rule) when what allowed a write has ended."""

_ATTEMPTS = 40
_LONGEST_PAUSE = 0.05


async def deciding(attempt: Callable[[], Awaitable[T]]) -> T:
    """The result of the first `attempt` that meets no concurrent commit.

    An attempt reads everything anew. Only CONFLICTING_WRITE is repeated, at
    most 40 times with growing random pauses (seconds); then it is raised.
    """
    for number in range(_ATTEMPTS - 1):
        try:
            return await attempt()
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_CONFLICTING_WRITE:
                raise
        longest = min(_LONGEST_PAUSE, 0.001 * 2**number)
        await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - spreads retries
    return await attempt()
