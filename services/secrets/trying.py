"""Calls to services that keep secrets, repeated while the service is busy."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from services.model.errors import WorkspaceError
from services.secrets.port import SecretProblem

__all__ = ["tried"]

T = TypeVar("T")
_TRIES: Final = 5
_PAUSE: Final = 0.2
_LONGEST: Final = 5.0


async def tried(
    call: Callable[[], Awaitable[T]], problem_of: Callable[[Exception], SecretProblem]
) -> T:
    """What `call` returns, tried a few times while its problem is a passing one. Only for
    calls whose repeats do no harm. Raises SecretProblem, whose cause is the SDK's error."""
    for attempt in range(_TRIES):
        try:
            return await call()
        except WorkspaceError:
            raise
        except Exception as error:
            problem = problem_of(error)
            if not problem.passing or attempt == _TRIES - 1:
                raise problem from error
        pause = _PAUSE * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311
        await asyncio.sleep(max(pause, min(problem.pause, _LONGEST)))
    raise AssertionError(_TRIES)  # the last try returned or raised
