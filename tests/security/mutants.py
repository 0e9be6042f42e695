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

import pytest

from services.tokens.claims import TokenRefusedError

Load = Callable[["Mutant | None"], ModuleType]


@dataclass(frozen=True)
class Mutant:
    """A module's source without one check."""

    module: str
    name: str
    tree: ast.Module


def mutants_of(modules: Sequence[ModuleType]) -> Iterator[Mutant]:
    for module in modules:
        assert module.__file__
        source = Path(module.__file__).read_text(encoding="utf-8")
        count = sum(1 for _ in edits(ast.parse(source)))
        for number in range(count):
            tree = ast.parse(source)
            name, edit = list(edits(tree))[number]
            edit()
            ast.fix_missing_locations(tree)
            yield Mutant(module.__name__, f"{module.__name__.rpartition('.')[2]}.{name}", tree)


def edits(tree: ast.Module) -> Iterator[tuple[str, Callable[[], None]]]:
    """(name, what takes it out) of each check in a function."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for number, statement in enumerate(statements(function)):
            body = statement.body if isinstance(statement, ast.If | ast.ExceptHandler) else []
            if not any(is_refusal(each) for each in body):
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


def is_refusal(statement: ast.stmt) -> bool:
    call = statement.exc if isinstance(statement, ast.Raise) else None
    called = call.func if isinstance(call, ast.Call) else None
    return isinstance(called, ast.Name) and called.id == TokenRefusedError.__name__


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
            monkeypatch.setattr(sys.modules["services.tokens"], name.rpartition(".")[2], made)
            tree = mutant.tree if mutant and mutant.module == name else parsed(original)
            exec(compile(tree, name, "exec"), made.__dict__)
        return made

    return load


def parsed(module: ModuleType) -> ast.Module:
    assert module.__file__
    return ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
