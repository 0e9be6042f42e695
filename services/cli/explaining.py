"""An explanation as a tree for people: what gives, what is blocked, what would help."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from workspace.project.v1.permission_pb2 import ExplainOutcome

__all__ = ["explanation_lines", "ids_in", "named"]

_ID = re.compile(r"\b(?:(?:users|teams|accounts|projects)/)?([utap]_[a-z2-7]{26})\b")
_MARKS = {
    ExplainOutcome.EXPLAIN_OUTCOME_ALLOWS: "+",
    ExplainOutcome.EXPLAIN_OUTCOME_GIVES_NOTHING: "-",
    ExplainOutcome.EXPLAIN_OUTCOME_BLOCKS: "x",
}


def explanation_lines(answer: Any, label: Callable[[str], str]) -> Iterator[str]:
    """The lines of an ExplainPermissionResponse. `label` names an id."""
    yield "allowed" if answer.allowed else "denied"
    yield named(answer.root.text, label)
    yield from _children(answer.root, "", label)
    if answer.remedies:
        yield ""
        yield "What would change it:"
        for remedy in answer.remedies:
            yield f"  * {named(remedy, label)}"
    yield ""
    yield "+ gives, or is in order   - gives nothing   x blocks"


def ids_in(answer: Any) -> set[str]:
    """The ids of people, teams, accounts and projects that it speaks of."""
    texts = [*answer.remedies, *_texts(answer.root)]
    return {found for text in texts for found in _ID.findall(text)}


def named(text: str, label: Callable[[str], str]) -> str:
    """`users/u_...` as the label of that id."""
    return _ID.sub(lambda match: label(match[1]), text)


def _children(node: Any, indent: str, label: Callable[[str], str]) -> Iterator[str]:
    for number, child in enumerate(node.children, start=1):
        last = number == len(node.children)
        mark = _MARKS.get(child.outcome, "?")
        yield f"{indent}{'`-' if last else '|-'} {mark} {named(child.text, label)}"
        yield from _children(child, indent + ("   " if last else "|  "), label)


def _texts(node: Any) -> Iterator[str]:
    yield node.text
    for child in node.children:
        yield from _texts(child)
