"""What a query is, once it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = [
    "Call", "Compare", "Constant", "Logic", "Node", "Not", "OneOf", "PathOf", "Query", "Steps",
]  # fmt: skip

Steps = tuple[str | int, ...]


@dataclass(frozen=True)
class PathOf:
    steps: Steps


@dataclass(frozen=True)
class Constant:
    value: Any


@dataclass(frozen=True)
class Compare:
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True)
class OneOf:
    value: Node
    among: tuple[Node, ...]


@dataclass(frozen=True)
class Logic:
    operator: str
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Not:
    part: Node


@dataclass(frozen=True)
class Call:
    name: str
    arguments: tuple[Node, ...]


Node = PathOf | Constant | Compare | OneOf | Logic | Not | Call


@dataclass(frozen=True)
class Query:
    """`select` is None for `*`; `value` for `SELECT VALUE`. `order`: path, descending."""

    select: tuple[tuple[str, Steps], ...] | None
    value: bool
    top: int | None
    where: Node | None
    order: tuple[tuple[Steps, bool], ...]
