"""An explanation as a tree for people: what gives, what is blocked, what would help."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from workspace.project.v1.permission_pb2 import ExplainOutcome

__all__ = ["explanation_lines", "ids_in", "named"]

_ID = re.compile(r"\b(?:(users|teams|accounts|workspaces|projects)/)?([utap]_[a-z2-7]{26})\b")
_GRANT = re.compile(r"\bprojects/[^/\s]+/grants/(g_[a-z2-7]{26})\b")
_MARKS = {
    ExplainOutcome.EXPLAIN_OUTCOME_ALLOWS: "+",
    ExplainOutcome.EXPLAIN_OUTCOME_GIVES_NOTHING: "-",
    ExplainOutcome.EXPLAIN_OUTCOME_BLOCKS: "x",
}


def explanation_lines(answer: Any, name: Callable[[str], str]) -> Iterator[str]:
    """The lines of an ExplainPermissionResponse. `name` says the name of an id, or ''."""
    yield f"{'allowed' if answer.allowed else 'denied'}: {named(answer.root.text, name)}"
    yield from _children(answer.root, "", name)
    if answer.remedies:
        yield ""
        yield "What would change it:"
        for remedy in answer.remedies:
            yield f"  * {named(remedy, name)}"
    known = {id_: name(id_) for id_ in sorted(ids_in(answer)) if name(id_)}
    if known:
        yield ""
        yield from (f"{shown} is {id_}" for id_, shown in known.items())
    yield ""
    yield "+ gives, or is in order   - gives nothing   x blocks"


def ids_in(answer: Any) -> set[str]:
    """The ids of people, teams, accounts and projects that it speaks of."""
    texts = [*answer.remedies, *_texts(answer.root)]
    return {found for text in texts for _, found in _ID.findall(text)}


def named(text: str, name: Callable[[str], str]) -> str:
    """`users/u_...` as the name of that id where there is one."""
    text = _GRANT.sub(r"grant \1", text)
    return _ID.sub(lambda match: _noun(match[1]) + (name(match[2]) or match[2]), text)


def _noun(collection: str | None) -> str:
    """`account `, so that an account is not taken for a person of its name."""
    if collection in ("accounts", "teams", "workspaces"):
        return f"{collection[:-1]} "
    return ""


def _children(node: Any, indent: str, name: Callable[[str], str]) -> Iterator[str]:
    for number, child in enumerate(node.children, start=1):
        last = number == len(node.children)
        mark = _MARKS.get(child.outcome, "?")
        yield f"{indent}{'`-' if last else '|-'} {mark} {named(child.text, name)}"
        yield from _children(child, indent + ("   " if last else "|  "), name)


def _texts(node: Any) -> Iterator[str]:
    yield node.text
    for child in node.children:
        yield from _texts(child)
