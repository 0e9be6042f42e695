"""Pages of a query over one logical or one physical partition.

A query that is ordered, or bounded, by a path of its own in the indexing policy is read
from a sorted list, from where the page before ended. Others are collected and sorted.
A continuation belongs to its query and to its range; that of a range that was split goes on
in both children.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Any

from tests.fakes.cosmos.conditions import Bounds, Spans, compiled, paths_of, spans_of
from tests.fakes.cosmos.containers import Container
from tests.fakes.cosmos.errors import bad_request
from tests.fakes.cosmos.indexing import Path
from tests.fakes.cosmos.items import Holder, Item
from tests.fakes.cosmos.nodes import Query
from tests.fakes.cosmos.sql import parse
from tests.fakes.cosmos.values import UNDEFINED, at, dumped, sort_key

__all__ = ["PAGE_BYTES", "Scope", "check_indexes", "page", "read_query"]

PAGE_BYTES = 4 * 1024 * 1024
_PAGE_ITEMS = 100
_AFTER = float("inf")
Found = tuple[list[Any], Item]
"""The position of an item in the order of the query, and the item."""


@dataclass(frozen=True)
class Scope:
    """`holder` is searched; `low` and `high` bound effective partition keys. `name` and
    `ancestors` say which continuations are good here."""

    holder: Holder
    name: str
    ancestors: tuple[str, ...] = ()
    low: str = ""
    high: str = "FF"

    def has(self, item: Item) -> bool:
        return self.low <= item.partition.epk < self.high


def read_query(body: Any) -> tuple[Query, str]:
    """The query and a digest of it. Raises 400."""
    text = body.get("query") if isinstance(body, dict) else None
    given = body.get("parameters") or [] if isinstance(body, dict) else []
    if not isinstance(text, str) or not isinstance(given, list):
        raise bad_request("The query payload is invalid.")
    parameters = {each["name"]: each.get("value") for each in given}
    digest = hashlib.sha256(json.dumps([text, parameters]).encode()).hexdigest()[:16]
    return parse(text, parameters), digest


def page(
    container: Container,
    scope: Scope,
    query: Query,
    digest: str,
    *,
    count: int,
    continuation: str,
    empty: bool = False,
) -> tuple[list[bytes], str]:
    """Results as JSON, and the continuation; "" at the end. `empty`: a page without
    results before the rest."""
    digest = f"{digest}{container.rid_text}"
    position, served = _opened(continuation, digest, scope)
    if empty:
        return [], _token(digest, scope, position, served)
    limit = _PAGE_ITEMS if count == 0 else count if count > 0 else 1 << 60
    left = (1 << 60) if query.top is None else query.top - served
    results: list[bytes] = []
    size = 0
    for reached, item in _found(container, scope, query, position):
        if len(results) >= left:
            return results, ""
        text = _projected(query, item)
        if text is not None:
            if results and (len(results) >= limit or size + len(text) > PAGE_BYTES):
                return results, _token(digest, scope, position, served + len(results))
            results.append(text)
            size += len(text)
        position = reached
    return results, ""


def check_indexes(container: Container, query: Query, *, scan: bool) -> None:
    """Raises 400 for an order, or without `scan` for a filter, that no index serves."""
    policy = container.policy
    order = [(_named(steps), "descending" if down else "ascending") for steps, down in query.order]
    for path, _ in order:
        if not policy.indexed(path):
            raise bad_request(
                "The index path corresponding to the specified order-by item is excluded."
            )
    if len(order) > 1 and not policy.composite(order):
        raise bad_request(
            "The order by query does not have a corresponding composite index that it can be "
            "served from."
        )
    if not scan and not all(policy.indexed(_named(steps)) for steps in paths_of(query.where)):
        raise bad_request(
            "An invalid query has been specified with filters against path(s) excluded from "
            "indexing. Consider adding allow scan header in the request."
        )


def _found(
    container: Container, scope: Scope, query: Query, position: list[Any] | None
) -> Iterator[Found]:
    keep: Callable[[Any], Any] = compiled(query.where) if query.where else lambda _body: True
    for reached, item in _candidates(container, scope, query, position):
        if scope.has(item) and keep(item.body) is True:
            yield reached, item


def _candidates(
    container: Container, scope: Scope, query: Query, position: list[Any] | None
) -> Iterator[Found]:
    spans = spans_of(query.where)
    paths = [path for path in container.paths if path in spans]
    down = False
    if query.order:
        wanted, down = _named(query.order[0][0]), query.order[0][1]
        paths = [path for path in paths if path == wanted and len(query.order) == 1]
    if paths:
        index = scope.holder.indexes[container.paths.index(paths[0])]
        return _sliced(index, spans[paths[0]], position, down=down)
    if query.order:
        return _sorted(scope.holder, query, position)
    start = position[0] if position else 0
    numbers = sorted(number for number in scope.holder.by_sequence if number > start)
    return (([number], scope.holder.by_sequence[number]) for number in numbers)


def _sliced(
    index: Any, spans: Spans, position: list[Any] | None, *, down: bool
) -> Iterator[Found]:
    for bounds in reversed(spans) if down else spans:
        least, most = _ends(bounds)
        if position and down:
            most = min(most, tuple(position))
        elif position:
            least = max(least, (*position[:2], position[2] + 0.5))
        if least <= most:
            for kind, value, sequence, item in index.irange(least, most, reverse=down):
                yield [kind, value, sequence], item


def _ends(bounds: Bounds) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    low, high, in_low, in_high = bounds
    return low if in_low else (*low, _AFTER), (*high, _AFTER) if in_high else high


def _sorted(holder: Holder, query: Query, position: list[Any] | None) -> Iterator[Found]:
    downs = [down for _, down in query.order]

    def compare(left: list[Any], right: list[Any]) -> int:
        for one, other, down in zip(left, right, [*downs, False], strict=True):
            if one != other:
                return -1 if (one < other) is not down else 1
        return 0

    found = [
        ([*(list(sort_key(at(item.body, steps))) for steps, _ in query.order), item.sequence], item)
        for item in holder.by_sequence.values()
    ]
    found.sort(key=lambda each: cmp_to_key(compare)(each[0]))
    return (each for each in found if position is None or compare(position, each[0]) < 0)


def _projected(query: Query, item: Item) -> bytes | None:
    if query.select is None:
        return item.text
    if query.value:
        value = at(item.body, query.select[0][1])
        return None if value is UNDEFINED else dumped(value)
    found = ((name, at(item.body, steps)) for name, steps in query.select)
    return dumped({name: value for name, value in found if value is not UNDEFINED})


def _named(steps: tuple[str | int, ...]) -> Path:
    return tuple("[]" if isinstance(step, int) else step for step in steps)


def _token(digest: str, scope: Scope, position: list[Any] | None, served: int) -> str:
    text = json.dumps([digest, scope.name, position, served], separators=(",", ":"))
    return base64.b64encode(text.encode()).decode()


def _opened(token: str, digest: str, scope: Scope) -> tuple[list[Any] | None, int]:
    if not token:
        return None, 0
    try:
        of_query, name, position, served = json.loads(base64.b64decode(token, validate=True))
    except ValueError as error:
        raise bad_request("Invalid Continuation Token") from error
    if of_query != digest or (name != scope.name and name not in scope.ancestors):
        raise bad_request("Invalid Continuation Token: it is that of another query or range")
    return position, served
