"""Verifiers without one of their checks.

The mutants are made from the sources: each `raise` of a refusal, and each alternative of
the condition in front of one, is taken out of its module in turn.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from services.tokens.claims import TokenRefusedError

Load = Callable[["Mutant | None"], ModuleType]


@dataclass(frozen=True)
class Mutant:
    """A module's source without one check."""

    module: str
    name: str
    tree: ast.Module


REFUSALS: Final = frozenset({TokenRefusedError.__name__})


def mutants_of(
    modules: Sequence[ModuleType], refusals: frozenset[str] = REFUSALS
) -> Iterator[Mutant]:
    """`refusals` are what is raised (a class, or a function that makes the error); "None"
    and "False" stand for a return of those."""
    for module in modules:
        count = sum(1 for _ in edits(parsed(module), refusals))
        for number in range(count):
            tree = parsed(module)
            name, edit = list(edits(tree, refusals))[number]
            edit()
            ast.fix_missing_locations(tree)
            yield Mutant(module.__name__, f"{module.__name__.rpartition('.')[2]}.{name}", tree)


def edits(tree: ast.Module, refusals: frozenset[str]) -> Iterator[tuple[str, Callable[[], None]]]:
    """(name, what takes it out) of each check in a function."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for number, statement in enumerate(statements(function)):
            body = statement.body if isinstance(statement, ast.If | ast.ExceptHandler) else []
            if not any(is_refusal(each, refusals) for each in body):
                continue
            name = f"{function.name}-{number}"
            yield name, lambda body=body: body.__setitem__(slice(None), [ast.Pass()])  # type: ignore[misc]
            for at, operand in enumerate(reasons := alternatives(statement)):
                shown = f"{name} without `{ast.unparse(operand)}`"
                yield shown, lambda at=at, all_=reasons: all_.__setitem__(at, ast.Constant(False))  # type: ignore[misc]


def alternatives(statement: ast.AST) -> list[ast.expr]:
    """The operands of `or`: each is a reason of its own to refuse."""
    test = statement.test if isinstance(statement, ast.If) else None
    return test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or) else []


def statements(function: ast.AST) -> Iterator[ast.AST]:
    return (each for each in ast.walk(function) if isinstance(each, ast.If | ast.ExceptHandler))


def is_refusal(statement: ast.stmt, refusals: frozenset[str]) -> bool:
    if isinstance(statement, ast.Return) and isinstance(statement.value, ast.Constant):
        return str(statement.value.value) in refusals
    call = statement.exc if isinstance(statement, ast.Raise) else None
    called = call.func if isinstance(call, ast.Call) else None
    return isinstance(called, ast.Name) and called.id in refusals


def loader(modules: Sequence[ModuleType], monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load the modules anew, in the order in which they import each other, one of them
    changed; gives the last of them."""

    def load(mutant: Mutant | None) -> ModuleType:
        made = ModuleType("")
        for original in modules:
            name = original.__name__
            made = ModuleType(name)
            made.__file__ = original.__file__
            monkeypatch.setitem(sys.modules, name, made)
            package, _, last = name.rpartition(".")
            monkeypatch.setattr(sys.modules[package], last, made)
            tree = mutant.tree if mutant and mutant.module == name else parsed(original)
            exec(compile(tree, name, "exec"), made.__dict__)
        return made

    return load


def parsed(module: ModuleType) -> ast.Module:
    assert module.__file__
    return ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
