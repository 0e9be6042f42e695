"""Operations that run on after their call ("Track asynchronous Azure operations"): by
`Azure-AsyncOperation`, or by `Location` alone. They end when they were looked at `looks`
times: there is no clock."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Operation", "Operations"]


@dataclass
class Operation:
    """On `path`. `failure` is its error (code, message), '' for none."""

    path: str
    by_location: bool
    looks: int
    ended: Callable[[], dict[str, Any]]
    failure: tuple[str, str] = ("", "")
    name: str = field(default_factory=lambda: str(uuid.uuid4()))
    result: dict[str, Any] | None = None
    is_over: bool = False

    def look(self) -> None:
        """Nearer to its end."""
        if self.is_over:
            return
        self.looks -= 1
        if self.looks < 0:
            self.is_over = True
            self.result = None if self.failure[0] else self.ended()


class Operations:
    """Of one fake. `looks` is what new ones take."""

    def __init__(self) -> None:
        self.looks = 1
        self.all: dict[str, Operation] = {}

    def begin(self, operation: Operation) -> Operation:
        self.all[operation.name] = operation
        return operation

    def under_way(self, path: str) -> Operation | None:
        """The one on a resource, or on what it is part of."""
        for each in self.all.values():
            if not each.is_over and (path + "/").startswith(each.path + "/"):
                return each
        return None

    def looked_at(self, path: str) -> None:
        """A resource was read."""
        for each in self.all.values():
            if each.path == path:
                each.look()
