"""One mutating call with its replay: first, and again when a precondition fails.

Authorise before `settle`. Fifty parallel calls with one request id give one
effect and fifty equal answers: who finds the effect done finds its answer too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from services.model.errors import Reason, WorkspaceError
from services.records.deciding import deciding
from services.records.mutation import Mutation

__all__ = ["settle"]

M = TypeVar("M", bound=Message)


async def settle(
    mutation: Mutation, pk: str, answer: type[M], attempt: Callable[[], Awaitable[M]]
) -> M:
    """The stored answer, or that of `attempt`, which decides under `if_head`."""
    done = await mutation.replay(pk, answer)
    if done is not None:
        return done
    try:
        return await deciding(attempt)
    except WorkspaceError as error:
        if error.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE:
            raise
        done = await mutation.replay(pk, answer)
        if done is None:
            raise
        return done
