"""What the parent of killed lives does and knows."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.durability.sync.life import Mission
from tests.server_process import ROOT, _python_path

_PATIENCE = 60


class Child:
    """A process of `life.py`. `told` is all that it said so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told: list[dict[str, Any]] = []

    @classmethod
    async def start(cls) -> Child:
        """Started and importing; it does nothing before `begin`."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.durability.sync.life"),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
            env={**os.environ, "PYTHONPATH": _python_path()}, cwd=ROOT,
        )  # fmt: skip
        return cls(process)

    async def begin(self, mission: Mission) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write((json.dumps(asdict(mission)) + "\n").encode())
        await self.process.stdin.drain()

    async def until(self, event: str, times: int = 1) -> dict[str, Any]:
        """Read until it told of this; of its end it tells as `gone`."""
        while True:
            async with asyncio.timeout(_PATIENCE):
                said = await self._line()
            if said["event"] == "gone":
                return said
            times -= said["event"] == event
            if not times:
                return said

    async def kill(self) -> None:
        """kill -9, then everything that it had told before."""
        if self.process.returncode is None:
            self.process.kill()
        await self.until("gone")
        assert await self.process.wait() == -signal.SIGKILL, self.told[-3:]

    async def end(self) -> int:
        """Wait until it ends by itself; the exit code."""
        await self.until("gone")
        return await self.process.wait()

    async def discard(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()

    async def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line.endswith(b"\n"):
            return {"event": "gone"}
        said: dict[str, Any] = json.loads(line)
        self.told.append(said)
        return said


@dataclass
class Acked:
    """A document. `titles`: the last acknowledged one and those tried after it."""

    key: tuple[str, str]
    titles: list[str]
    dots: list[tuple[str, int]] = field(default_factory=list)
    sha256: str = ""


@dataclass
class Ledger:
    """What was acknowledged. `mine`: by node, documents that only it writes."""

    project: str = ""
    shared: list[str] = field(default_factory=list)
    documents: dict[str, Acked] = field(default_factory=dict)
    mine: dict[str, list[str]] = field(default_factory=dict)
    resumed: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)

    def learn(self, name: str, told: list[dict[str, Any]]) -> None:
        for each in told:
            match each["event"]:
                case "made":
                    self.project, self.shared = each["project"], each["shared"]
                case "ack":
                    self._acked(name, each)
                case "try" if each["document"] in self.documents:
                    self.documents[each["document"]].titles.append(each["title"])
                case "resumed":
                    self.resumed.append(each)
            if "FAILED" in each.get("status", ""):
                self.failed.append(each)

    def _acked(self, name: str, each: dict[str, Any]) -> None:
        key = (each["key"][0], each["key"][1])
        known = self.documents.setdefault(each["document"], Acked(key, []))
        known.titles = [each["title"]]
        known.dots.append((each["dot"][0], each["dot"][1]))
        if sha256 := each.get("sha256"):
            known.sha256 = sha256
            self.mine.setdefault(name, []).append(each["document"])


@dataclass
class Lives:
    """Two nodes, `a` and `b`, that take turns on one backup."""

    folder: Path
    provider: str
    settings: dict[str, str]
    ledger: Ledger = field(default_factory=Ledger)
    kills: int = 0
    _next: Child | None = None

    @classmethod
    @asynccontextmanager
    async def begin(cls, folder: Path, provider: str, **settings: str) -> AsyncIterator[Lives]:
        """Both nodes live, and have the same project."""
        settings = {"folder": str(folder / "backup"), **settings}
        lives = cls(folder, provider, settings)
        try:
            assert (await lives.whole("a", "setup"))[-1]["event"] == "done"
            assert (await lives.whole("b", "arrive"))[-1]["event"] == "done"
            yield lives
        finally:
            if lives._next is not None:
                await lives._next.discard()

    def mission(self, name: str, what: str, **more: Any) -> Mission:
        mission = Mission(what, str(self.folder / name), self.provider, self.settings)
        known = self.ledger
        return replace(
            mission, name=name, project=known.project, mine=known.mine.get(name, [])[-20:],
            shared=known.shared, **more,
        )

    async def child(self) -> Child:
        """One that has begun to import already; the next one begins to."""
        child = self._next or await Child.start()
        self._next = await Child.start()
        return child

    async def whole(self, name: str, what: str, **more: Any) -> list[dict[str, Any]]:
        """A life that ends by itself; what it told."""
        child = await self.child()
        await child.begin(self.mission(name, what, **more))
        code = await child.end()
        self.ledger.learn(name, child.told)
        assert code == 0, child.told[-3:]
        return child.told

    async def killed(self, name: str, chance: random.Random) -> list[dict[str, Any]]:
        """A life that is killed at some point; what it told."""
        child = await self.child()
        await child.begin(self.mission(name, "loop", seed=chance.getrandbits(32)))
        event = chance.choice(["ready", "ack", "push", "push", "pull"])
        await child.until(event, 1 if event == "ready" else chance.randrange(1, 3))
        await asyncio.sleep(chance.random() ** 2 * 0.3)
        await child.kill()
        self.ledger.learn(name, child.told)
        self.kills += 1
        return child.told

    async def struck(self, name: str, what: str, **more: Any) -> None:
        """A life that kills itself, by its prelude."""
        child = await self.child()
        await child.begin(self.mission(name, what, **more))
        assert await child.end() == -signal.SIGKILL, child.told[-3:]
        self.ledger.learn(name, child.told)
        self.kills += 1
