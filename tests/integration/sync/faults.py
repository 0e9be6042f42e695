"""Drivers that die, lose answers, refuse records or leave things out, around real ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

from services.objects.port import StoreUnavailable
from services.objects.store import ObjectStore
from services.records.port import DriverUnavailable, Item, Key, Put, RecordDriver
from sync_svc.surfaces import opening
from sync_svc.surfaces.openers import OPENERS, Openers
from sync_svc.surfaces.surface import Surface

_CHANGING = frozenset(
    {"commit", "write", "delete", "copy", "multipart_create", "multipart_complete"}
)


class Killed(BaseException):
    """The process is gone: nothing catches it, and every later call meets it again."""


class Fault(Enum):
    """What becomes of the chosen call."""

    KILL_BEFORE = auto()
    KILL_AFTER = auto()
    LOSE_ANSWER = auto()


@dataclass
class Line:
    """Between a run and a surface. The call number `at` (from 0; with `changing`, of those
    that change something) meets the fault. `commits` has the keys of each commit."""

    fault: Fault
    at: int
    changing: bool = False
    calls: int = 0
    dead: bool = False
    met: bool = False
    commits: list[list[Key]] = field(default_factory=list)

    def around(self, surface: Surface) -> Surface:
        """The surface, reached over this line."""
        records = surface.records.through(_Wired(surface.records.driver, self))
        objects = ObjectStore(_Wired(surface.objects.driver, self))
        return replace(surface, records=records, objects=objects)

    async def call(self, name: str, do: Callable[[], Awaitable[Any]]) -> Any:
        hit = self._is_hit(name)
        if hit and self.fault is Fault.KILL_BEFORE:
            self.dead = True
        self.check()
        try:
            answer = await do()
        finally:
            if hit and self.fault is Fault.KILL_AFTER:
                self.dead = True
            self.check()
        if hit and self.fault is Fault.LOSE_ANSWER:
            if name == "commit":
                raise DriverUnavailable("the answer is lost", ambiguous=True)
            raise StoreUnavailable("the answer is lost")
        return answer

    def check(self) -> None:
        if self.dead:
            raise Killed

    def _is_hit(self, name: str) -> bool:
        if self.changing and name not in _CHANGING:
            return False
        self.calls += 1
        hit = self.calls - 1 == self.at
        self.met |= hit
        return hit


class _Wired:
    """A driver whose every asynchronous call goes over the line."""

    def __init__(self, inner: Any, line: Line) -> None:
        self._inner = inner
        self._line = line

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if name in ("capabilities", "name", "sign", "close", "identity"):
            return value
        if name == "open_read":
            return self._open_read

        async def over_the_line(*args: Any, **more: Any) -> Any:
            answer = await self._line.call(name, lambda: value(*args, **more))
            if name == "commit":
                self._line.commits.append([put.key for put in args[1]])
            return answer

        return over_the_line

    async def _open_read(self, *args: Any, **more: Any) -> Any:
        await self._line.call("open_read", _nothing)
        async for chunk in self._inner.open_read(*args, **more):
            yield chunk


async def _nothing() -> None: ...


class Passing:
    """A record driver that passes everything on; the base of those below."""

    def __init__(self, inner: RecordDriver) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Refusing(Passing):
    """Takes no row whose key `refuses` names, as a store does that finds it too large."""

    def __init__(self, inner: RecordDriver, refuses: Callable[[Key], bool]) -> None:
        super().__init__(inner)
        self._refuses = refuses

    async def commit(self, pk: str, puts: Sequence[Put]) -> list[str]:
        if any(self._refuses(put.key) for put in puts):
            raise ValueError("an item is larger than the store takes")
        return await self._inner.commit(pk, puts)


class Forgetful(Passing):
    """Leaves every tenth item out of its listings; never the last, at which the next
    page begins."""

    every = 10

    def __init__(self, inner: RecordDriver) -> None:
        super().__init__(inner)
        self._seen = 0
        self.left_out = 0

    async def scan(self, after: Key | None, limit: int) -> Sequence[Item]:
        items = await self._inner.scan(after, limit)
        return [*(item for item in items[:-1] if self._keeps()), *items[-1:]]

    def _keeps(self) -> bool:
        self._seen += 1
        left_out = self._seen % self.every == 0
        self.left_out += left_out
        return not left_out


def between(monkeypatch: Any, wrap: Callable[[RecordDriver], Any]) -> None:
    """From here on the records of surfaces are reached through `wrap`."""

    def wrapped(openers: Openers) -> Openers:
        async def records(*args: Any, **more: Any) -> Any:
            return wrap(await openers.records(*args, **more))

        return replace(openers, records=records)

    table = {provider: wrapped(openers) for provider, openers in OPENERS.items()}
    monkeypatch.setattr(opening, "OPENERS", table)
