"""The part of the query language that the fake speaks, read by a parser of its own.

    SELECT [TOP n] * | VALUE path | path [AS name], ...  FROM c
    [WHERE condition] [ORDER BY path [ASC | DESC], ...]

Conditions: AND, OR, NOT, parentheses, =, !=, <>, <, <=, >, >=, IN (...), and the functions
IS_DEFINED, STARTSWITH and ARRAY_CONTAINS, of paths, literals and @parameters. Everything
else is a syntax error (400), as for the service what is none of its language.
"""

from __future__ import annotations

from typing import Any, Final

from tests.fakes.cosmos.errors import Refused, bad_request
from tests.fakes.cosmos.nodes import (
    Call,
    Compare,
    Constant,
    Logic,
    Node,
    Not,
    OneOf,
    PathOf,
    Query,
    Steps,
)
from tests.fakes.cosmos.tokens import syntax_error, tokens, unquoted
from tests.fakes.cosmos.values import UNDEFINED

__all__ = ["parse"]

_RESERVED: Final = frozenset(
    ["SELECT", "TOP", "VALUE", "FROM", "WHERE", "AND", "OR", "NOT", "IN", "ORDER", "BY", "ASC",
     "DESC", "AS", "TRUE", "FALSE", "NULL", "UNDEFINED", "DISTINCT", "JOIN", "BETWEEN", "LIKE",
     "EXISTS", "GROUP", "OFFSET", "LIMIT", "HAVING"]
)  # fmt: skip
_LITERALS: Final = {"TRUE": True, "FALSE": False, "NULL": None, "UNDEFINED": UNDEFINED}
_ARGUMENTS: Final = {"IS_DEFINED": 1, "STARTSWITH": 2, "ARRAY_CONTAINS": 2}
_COMPARES: Final = {"=": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def parse(text: str, parameters: dict[str, Any]) -> Query:
    """Raises 400."""
    parser = _Parser(list(tokens(text)), parameters)
    return parser.query()


class _Parser:
    def __init__(self, words: list[tuple[str, str]], parameters: dict[str, Any]) -> None:
        self._tokens, self._parameters, self._at = words, parameters, 0
        self._alias = self._find_alias()

    def query(self) -> Query:
        self._need("SELECT")
        top = int(self._number()) if self._take("TOP") else None
        value = self._take("VALUE")
        select = None
        if not self._sign("*"):
            select = self._selected()
        if value and (select is None or len(select) != 1):
            raise self._error()
        self._need("FROM")
        self._at += 2 if self._word_at(self._at + 1) == "AS" else 0
        self._at += 1
        if self._kind() == "word" and self._word() not in _RESERVED:
            self._at += 1
        where = self._either() if self._take("WHERE") else None
        order = self._ordered() if self._take("ORDER") else ()
        if self._kind() != "end":
            raise self._error()
        return Query(select, value, top, where, order)

    def _find_alias(self) -> str:
        """The name by which the condition calls an item: that after AS, or after FROM."""
        for index, (kind, word) in enumerate(self._tokens):
            if kind == "word" and word.upper() == "FROM":
                skip = 2 if self._word_at(index + 2) == "AS" else 1
                for at_index in (index + 1 + skip, index + 1):
                    found = self._tokens[at_index] if at_index < len(self._tokens) else ("", "")
                    if found[0] == "word" and found[1].upper() not in _RESERVED:
                        return found[1]
        raise syntax_error("FROM")

    # Clauses

    def _selected(self) -> tuple[tuple[str, Steps], ...]:
        found = [self._one_selected()]
        while self._sign(","):
            found.append(self._one_selected())
        if len({name for name, _ in found}) != len(found):
            raise self._error()
        return tuple(found)

    def _one_selected(self) -> tuple[str, Steps]:
        steps = self._path().steps
        if self._take("AS"):
            return self._name(), steps
        if not steps or not isinstance(steps[-1], str):
            raise self._error()
        return steps[-1], steps

    def _ordered(self) -> tuple[tuple[Steps, bool], ...]:
        self._need("BY")
        found = [self._one_ordered()]
        while self._sign(","):
            found.append(self._one_ordered())
        return tuple(found)

    def _one_ordered(self) -> tuple[Steps, bool]:
        steps = self._path().steps
        if not steps:
            raise self._error()
        descending = self._take("DESC")
        if not descending:
            self._take("ASC")
        return steps, descending

    # Conditions

    def _either(self) -> Node:
        parts = [self._both()]
        while self._take("OR"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Logic("OR", tuple(parts))

    def _both(self) -> Node:
        parts = [self._negated()]
        while self._take("AND"):
            parts.append(self._negated())
        return parts[0] if len(parts) == 1 else Logic("AND", tuple(parts))

    def _negated(self) -> Node:
        """NOT binds to what follows at once, not to a comparison: that needs parentheses."""
        if not self._take("NOT"):
            return self._compared()
        part = self._operand()
        if self._text() in _COMPARES or self._word() in ("IN", "NOT"):
            raise self._error()
        return Not(part)

    def _compared(self) -> Node:
        left = self._operand()
        negated = self._take("NOT")
        if self._take("IN"):
            found = OneOf(left, self._listed())
            return Not(found) if negated else found
        if negated:
            raise self._error()
        if self._kind() == "sign" and self._text() in _COMPARES:
            operator = _COMPARES[self._next()]
            return Compare(operator, left, self._operand())
        return left

    def _operand(self) -> Node:
        kind, text = self._kind(), self._text()
        if self._sign("("):
            inside = self._either()
            self._need_sign(")")
            return inside
        if kind == "parameter":
            self._at += 1
            if text not in self._parameters:
                raise bad_request(f"The parameter '{text}' is not given.")
            return Constant(self._parameters[text])
        if kind == "number":
            return Constant(self._number())
        if kind == "text":
            self._at += 1
            return Constant(unquoted(text))
        if kind == "word" and self._word() in _LITERALS:
            self._at += 1
            return Constant(_LITERALS[text.upper()])
        if kind == "word" and text.upper() in _ARGUMENTS:
            return self._called()
        return self._path()

    def _called(self) -> Node:
        name = self._next().upper()
        arguments = self._listed()
        if len(arguments) != _ARGUMENTS[name]:
            raise self._error()
        if name == "IS_DEFINED" and not isinstance(arguments[0], PathOf):
            raise self._error()
        return Call(name, arguments)

    def _listed(self) -> tuple[Node, ...]:
        self._need_sign("(")
        found = [self._operand()]
        while self._sign(","):
            found.append(self._operand())
        self._need_sign(")")
        return tuple(found)

    def _path(self) -> PathOf:
        if self._kind() != "word" or self._text() != self._alias:
            raise self._error()
        self._at += 1
        steps: list[str | int] = []
        while True:
            if self._sign("."):
                steps.append(self._name())
            elif self._sign("["):
                steps.append(self._step())
                self._need_sign("]")
            else:
                return PathOf(tuple(steps))

    def _step(self) -> str | int:
        if self._kind() == "text":
            return unquoted(self._next())
        number = self._number()
        if not isinstance(number, int):
            raise self._error()
        return number

    # Tokens

    def _kind(self) -> str:
        return self._tokens[self._at][0]

    def _text(self) -> str:
        return self._tokens[self._at][1]

    def _word(self) -> str:
        return self._text().upper()

    def _word_at(self, index: int) -> str:
        kind, text = self._tokens[index] if index < len(self._tokens) else ("", "")
        return text.upper() if kind == "word" else ""

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1][1]

    def _name(self) -> str:
        if self._kind() != "word":
            raise self._error()
        return self._next()

    def _number(self) -> float | int:
        if self._kind() != "number":
            raise self._error()
        text = self._next()
        return int(text) if text.lstrip("-").isdecimal() else float(text)

    def _take(self, word: str) -> bool:
        if self._kind() == "word" and self._word() == word:
            self._at += 1
            return True
        return False

    def _need(self, word: str) -> None:
        if not self._take(word):
            raise self._error()

    def _sign(self, sign: str) -> bool:
        if self._kind() == "sign" and self._text() == sign:
            self._at += 1
            return True
        return False

    def _need_sign(self, sign: str) -> None:
        if not self._sign(sign):
            raise self._error()

    def _error(self) -> Refused:
        return syntax_error(self._text() or "end of the query")
