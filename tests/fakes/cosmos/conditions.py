"""What a condition says of an item, in three values: an undefined operand makes it
undefined, and an item is found when it is true (Microsoft Learn, "Equality and comparison
operators")."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.fakes.cosmos.indexing import Path
from tests.fakes.cosmos.nodes import Call, Compare, Constant, Logic, Node, Not, OneOf, PathOf
from tests.fakes.cosmos.values import UNDEFINED, at, sort_key

__all__ = ["Bounds", "Spans", "compiled", "paths_of", "spans_of"]

Check = Callable[[Any], Any]
Bounds = tuple[tuple[int, Any], tuple[int, Any], bool, bool]
"""Lowest and highest sort key, and whether each is within."""
Spans = tuple[Bounds, ...]
"""Apart from each other, ascending."""
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "="}


def compiled(node: Node) -> Check:
    """A function of the body of an item to its value."""
    match node:
        case PathOf(steps):
            return lambda body: at(body, steps)
        case Constant(value):
            return lambda _body: value
        case Compare(operator, left, right):
            first, second, judge = compiled(left), compiled(right), _JUDGES[operator]
            return lambda body: judge(first(body), second(body))
        case OneOf(value, among) if (texts := _texts(among)) is not None:
            return _one_text_of(compiled(value), texts)
        case OneOf(value, among):
            return _one_of(compiled(value), [compiled(each) for each in among])
        case Logic(operator, parts):
            return _logic(operator == "AND", [compiled(part) for part in parts])
        case Not(part):
            inside = compiled(part)
            return lambda body: _negated(inside(body))
        case Call(name, arguments):
            called, values = _FUNCTIONS[name], [compiled(each) for each in arguments]
            return lambda body: called(*[value(body) for value in values])


def paths_of(node: Node | None) -> Iterator[tuple[str | int, ...]]:
    """Every path that the condition looks at."""
    match node:
        case PathOf(steps):
            yield steps
        case Compare(_, left, right):
            yield from paths_of(left)
            yield from paths_of(right)
        case OneOf(value, among):
            for each in (value, *among):
                yield from paths_of(each)
        case Logic(_, parts) | Call(_, parts):
            for each in parts:
                yield from paths_of(each)
        case Not(part):
            yield from paths_of(part)


def spans_of(node: Node | None) -> dict[Path, Spans]:
    """By path, where the condition lets its values be."""
    parts = node.parts if isinstance(node, Logic) and node.operator == "AND" else (node,)
    found: dict[Path, Spans] = {}
    for part in parts:
        if (one := _spans(part)) is not None:
            path, spans = one
            known = found.get(path)
            found[path] = spans if known is None else tuple(
                _both(first, second) for first in known for second in spans
            )
    return found


def _spans(node: Node | None) -> tuple[Path, Spans] | None:
    match node:
        case OneOf(PathOf(steps), among) if (texts := _texts(among)) is not None:
            keys = [(4, text) for text in sorted(texts)]
            return _named(steps), tuple((key, key, True, True) for key in keys)
        case _:
            one = _bound(node)
            return None if one is None else (one[0], (one[1],))


def _texts(among: tuple[Node, ...]) -> set[str] | None:
    """None: there are others."""
    values = [each.value for each in among if isinstance(each, Constant)]
    texts = {value for value in values if isinstance(value, str)}
    return texts if len(values) == len(among) and all(isinstance(v, str) for v in values) else None


def _bound(node: Node | None) -> tuple[Path, Bounds] | None:
    match node:
        case Compare(operator, PathOf(steps), Constant(value)) if operator in _TURNED:
            pass
        case Compare(operator, Constant(value), PathOf(steps)) if operator in _TURNED:
            operator = _TURNED[operator]
        case Call("STARTSWITH", (PathOf(steps), Constant(str(value)))):
            ends = (4, value + "\U0010ffff"), False
            return _named(steps), ((4, value), ends[0], True, ends[1])
        case _:
            return None
    key = sort_key(value)
    lowest, highest = (key[0],), (key[0] + 1,)
    if operator == "=":
        return _named(steps), (key, key, True, True)
    if operator[0] == "<":
        return _named(steps), (lowest, key, True, operator == "<=")  # type: ignore[return-value]
    return _named(steps), (key, highest, operator == ">=", False)  # type: ignore[return-value]


def _both(first: Bounds, second: Bounds) -> Bounds:
    low, in_low = max((first[0], not first[2]), (second[0], not second[2]))
    high, in_high = min((first[1], first[3]), (second[1], second[3]))
    return low, high, not in_low, in_high


def _named(steps: tuple[str | int, ...]) -> Path:
    return tuple(str(step) for step in steps)


def _judged(judge: Callable[[Any, Any], bool], *, ordered: bool) -> Callable[[Any, Any], Any]:
    def check(left: Any, right: Any) -> Any:
        first, second = sort_key(left), sort_key(right)
        if first[0] != second[0] or not first[0] or (ordered and first[0] > 4):
            return UNDEFINED
        return judge(first, second) if ordered else judge(left, right)

    return check


def _negated(value: Any) -> Any:
    return not value if isinstance(value, bool) else UNDEFINED


def _one_text_of(value: Check, texts: set[str]) -> Check:
    def check(body: Any) -> Any:
        found = value(body)
        return found in texts if isinstance(found, str) else UNDEFINED

    return check


def _one_of(value: Check, among: list[Check]) -> Check:
    def check(body: Any) -> Any:
        found = [_JUDGES["="](value(body), each(body)) for each in among]
        return True if True in found else (False if False in found else UNDEFINED)

    return check


def _logic(every: bool, parts: list[Check]) -> Check:
    def check(body: Any) -> Any:
        result: Any = every
        for part in parts:
            value = part(body)
            if value is (not every):
                return not every
            if value is not every:
                result = UNDEFINED
        return result

    return check


def _starts_with(text: Any, start: Any) -> Any:
    if not isinstance(text, str) or not isinstance(start, str):
        return UNDEFINED
    return text.startswith(start)


def _array_contains(values: Any, value: Any) -> Any:
    if not isinstance(values, list) or value is UNDEFINED:
        return False if isinstance(values, list) else UNDEFINED
    kind = sort_key(value)[0]
    return any(sort_key(each)[0] == kind and each == value for each in values)


_JUDGES: dict[str, Callable[[Any, Any], Any]] = {
    "=": _judged(lambda left, right: left == right, ordered=False),
    "!=": _judged(lambda left, right: left != right, ordered=False),
    "<": _judged(lambda left, right: left < right, ordered=True),
    "<=": _judged(lambda left, right: left <= right, ordered=True),
    ">": _judged(lambda left, right: left > right, ordered=True),
    ">=": _judged(lambda left, right: left >= right, ordered=True),
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "IS_DEFINED": lambda value: value is not UNDEFINED,
    "STARTSWITH": _starts_with,
    "ARRAY_CONTAINS": _array_contains,
}
