"""Changes the code of a module in place, so that a running process has the change.

Others hold the module's functions by name (`from m import f`): the functions stay,
their code is exchanged.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["changed"]

Texts = Sequence[tuple[str, str]]
_PLAIN = (int, str, float, dict, frozenset, tuple)


@contextmanager
def changed(name: str, *texts: tuple[str, str]) -> Iterator[None]:
    """The module `name` as if these texts of it were others."""
    module = sys.modules[name]
    other = _compiled(module, texts)
    before = _exchange(module, other)
    try:
        yield
    finally:
        for put_back in before:
            put_back()
        _forget(module)


def _compiled(module: types.ModuleType, texts: Texts) -> types.ModuleType:
    source = Path(module.__file__ or "").read_text("utf-8")
    for old, new in texts:
        assert source.count(old) == 1, f"{old!r} is not in {module.__name__} exactly once"
        source = source.replace(old, new)
    name = f"changed.{module.__name__}"
    other = types.ModuleType(name)
    sys.modules[name] = other  # dataclasses look their module up
    try:
        exec(compile(source, name, "exec"), other.__dict__)  # the change itself
    finally:
        del sys.modules[name]
    return other


def _exchange(module: types.ModuleType, other: types.ModuleType) -> list[Any]:
    put_back: list[Any] = []
    for key, new in list(vars(other).items()):
        old = vars(module).get(key)
        if isinstance(old, _PLAIN) and not key.startswith("__"):
            setattr(module, key, new)
            put_back.append(lambda key=key, old=old: setattr(module, key, old))
        for mine, its in _functions(old, new, module.__name__):
            put_back.append(lambda mine=mine, code=mine.__code__: _set_code(mine, code))
            _set_code(mine, its.__code__)
    _forget(module)
    return put_back


def _functions(old: Any, new: Any, module: str) -> Iterator[tuple[Any, Any]]:
    """Functions of the module's own, and those that the other has for them."""
    if isinstance(old, type) and isinstance(new, type) and old.__module__ == module:
        for key, member in vars(old).items():
            yield from _functions(member, vars(new).get(key), module)
    elif isinstance(old, property) and isinstance(new, property):
        yield old.fget, new.fget
    elif hasattr(old, "__wrapped__") and hasattr(new, "__wrapped__"):
        yield from _functions(old.__wrapped__, new.__wrapped__, module)
    elif _is_own(old, module) and isinstance(new, types.FunctionType):
        yield old, new


def _is_own(member: Any, module: str) -> bool:
    return isinstance(member, types.FunctionType) and member.__module__ == module


def _set_code(function: Any, code: types.CodeType) -> None:
    function.__code__ = code


def _forget(module: types.ModuleType) -> None:
    for member in vars(module).values():
        if hasattr(member, "cache_clear"):
            member.cache_clear()
