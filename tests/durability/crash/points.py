"""Crash points: the process is dead from the k-th durable step on.

A durable step is a commit of the record driver or a change of the object store;
between two of them a crash leaves nothing behind that the disk does not have. So
the steps of a story, before and after each, are all of its crash points, found by
running it once. Their names tell what was being written.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.objects.port import StoreUnavailable
from services.processes.workspace import WorkspaceProcess
from services.records.port import DriverUnavailable, Put

__all__ = ["CrashPoints"]

_CHANGES = ("write", "copy", "delete", "multipart_create", "multipart_complete", "multipart_abort")
_READS = ("get", "batch_get", "query", "changes", "scan", "tail")
_OBJECT_READS = ("head", "list", "multipart_parts")
_IN_THEIR_OWN_TIME = frozenset(
    f"row.{family}" for family in ("relay", "follower", "index_cursor", "lease", "search_document")
)
"""Commits of the background: when they come differs from run to run."""


@dataclass
class CrashPoints:
    """Notes the durable steps of a process while armed; dies at the step `at`, the n-th
    of a name (`after`: once it is done). Without `at` it only notes their names: what the
    background commits in its own time moves no step to another number."""

    at: tuple[str, int] | None = None
    after: bool = False
    names: list[str] = field(default_factory=list)
    dead: bool = False
    armed: bool = False

    def install(self, process: WorkspaceProcess) -> None:
        """Put it between the process and its drivers."""
        records, objects = process.kernel.records.driver, process.object_driver
        self._step(records, "commit", _commit_name, DriverUnavailable("dead", ambiguous=True))
        for name in _READS:
            self._read(records, name, DriverUnavailable("dead"))
        for name in _CHANGES:
            self._step(objects, name, lambda *_, name=name: f"objects.{name}", _DEAD_OBJECTS)
        for name in _OBJECT_READS:
            self._read(objects, name, _DEAD_OBJECTS)

    def _step(
        self, driver: Any, name: str, told: Callable[..., str], error: Exception
    ) -> None:
        real: Callable[..., Awaitable[Any]] = getattr(driver, name)

        async def step(*args: Any, **kwargs: Any) -> Any:
            if self.dead:
                raise error
            kind = told(*args)
            if not self.armed or kind in _IN_THEIR_OWN_TIME:
                return await real(*args, **kwargs)
            here = kind, self.names.count(kind)
            self.names.append(kind)
            if here == self.at and not self.after:
                self.dead = True
                raise error
            result = await real(*args, **kwargs)
            if here == self.at:
                self.dead = True
                raise error
            return result

        setattr(driver, name, step)

    def _read(self, driver: Any, name: str, error: Exception) -> None:
        real: Callable[..., Awaitable[Any]] = getattr(driver, name)

        async def read(*args: Any, **kwargs: Any) -> Any:
            if self.dead:
                raise error
            return await real(*args, **kwargs)

        setattr(driver, name, read)


_DEAD_OBJECTS = StoreUnavailable("dead")


def _commit_name(_pk: str, puts: Sequence[Put]) -> str:
    """What the commit is about: the type of its event, or the kind of row."""
    for put in puts:
        if put.family == "activity_event":
            return str(json.loads(put.body)["type"])
    return f"row.{puts[0].family}"
