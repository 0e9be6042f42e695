"""What the parent of killed lives does and knows."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.durability.sync.life import Mission
from tests.server_process import ROOT, _python_path

_PATIENCE = 60


class Nursery:
    """A process of `life.py`; `life` starts another one in it."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._lives = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path) -> AsyncIterator[Nursery]:
        """With `folder` for pipes."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.durability.sync.life"),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": _python_path()}, cwd=ROOT,
        )  # fmt: skip
        try:
            yield cls(process, folder)
        finally:
            process.kill()
            await process.communicate()

    @asynccontextmanager
    async def life(self, mission: Mission) -> AsyncIterator[Life]:
        """One that has begun; at the end it is killed."""
        self._lives += 1
        path = self._folder / f"pipe-{self._lives}"
        os.mkfifo(path)
        end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        assert self._process.stdin is not None
        order = {"mission": asdict(mission), "pipe": str(path)}
        self._process.stdin.write((json.dumps(order) + "\n").encode())
        pid = await self.number()
        reader = asyncio.StreamReader(limit=1 << 24)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(end, "rb", 0)
        )
        life = Life(self, pid, reader)
        try:
            yield life
        finally:
            if life.code is None:
                with suppress(ProcessLookupError):  # it ended by itself
                    os.kill(pid, signal.SIGKILL)
                await life.end()
            transport.close()

    async def number(self) -> int:
        """A pid, or the exit code of the life that ended."""
        assert self._process.stdout is not None
        async with asyncio.timeout(_PATIENCE):
            return int(await self._process.stdout.readline())


class Life:
    """A process. `told` is all that it said so far, `code` its exit code."""

    def __init__(self, nursery: Nursery, pid: int, reader: asyncio.StreamReader) -> None:
        self._nursery = nursery
        self._pid = pid
        self._reader = reader
        self.told: list[dict[str, Any]] = []
        self.code: int | None = None

    async def until(self, event: str, times: int = 1) -> dict[str, Any]:
        """Read until it told of this; of its end it tells as `gone`."""
        while True:
            async with asyncio.timeout(_PATIENCE):
                line = await self._reader.readline()
            if not line.endswith(b"\n"):
                return {"event": "gone"}
            said: dict[str, Any] = json.loads(line)
            self.told.append(said)
            times -= said["event"] == event
            if not times:
                return said

    async def kill(self) -> None:
        """kill -9, then everything that it had told before."""
        os.kill(self._pid, signal.SIGKILL)
        assert await self.end() == -signal.SIGKILL, self.told[-3:]

    async def end(self) -> int:
        """Wait until it ended; the exit code."""
        await self.until("gone")
        self.code = await self._nursery.number()
        return self.code


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
    tokens: dict[str, str] = field(default_factory=dict)
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
                case "token":
                    self.tokens[name] = each["token"]
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
    nursery: Nursery
    ledger: Ledger = field(default_factory=Ledger)
    kills: int = 0
    prelude: str = ""

    @classmethod
    @asynccontextmanager
    async def begin(
        cls, folder: Path, provider: str, *, prelude: str = "", **settings: str
    ) -> AsyncIterator[Lives]:
        """Both nodes live, and have the same project. Every life begins with `prelude`."""
        if not settings.keys() & {"bucket", "storage_container"}:
            settings = {"folder": str(folder / "backup"), **settings}
        async with Nursery.open(folder) as nursery:
            lives = cls(folder, provider, settings, nursery, prelude=prelude)
            await lives.whole("a", "setup")
            await lives.whole("b", "arrive")
            yield lives

    def mission(self, name: str, what: str, *, prelude: str = "", **more: Any) -> Mission:
        known = self.ledger
        return Mission(
            what, str(self.folder / name), self.provider, self.settings, name=name,
            project=known.project, mine=known.mine.get(name, [])[-20:], shared=known.shared,
            token=known.tokens.get(name, ""), prelude=self.prelude + prelude, **more,
        )

    async def whole(self, name: str, what: str, **more: Any) -> dict[str, Any]:
        """A life that ends by itself; the last that it told."""
        async with self.nursery.life(self.mission(name, what, **more)) as life:
            code = await life.end()
        self.ledger.learn(name, life.told)
        assert code == 0, life.told[-3:]
        return life.told[-1]

    async def killed(self, name: str, chance: random.Random) -> None:
        """A life that is killed at some point."""
        mission = self.mission(name, "loop", seed=chance.getrandbits(32))
        event, seconds = chance.choice(["ready", "ack", "push", "push", "pull"]), chance.random()
        async with self.nursery.life(mission) as life:
            await life.until(event, 1 if event == "ready" else chance.randrange(1, 3))
            await asyncio.sleep(0.3 * seconds**2)
            await life.kill()
        self.ledger.learn(name, life.told)
        self.kills += 1

    async def struck(self, name: str, what: str, **more: Any) -> None:
        """A life that kills itself, by its prelude."""
        kills, told = self.kills, await self.ended(name, what, **more)
        assert self.kills == kills + 1, told[-3:]

    async def ended(self, name: str, what: str, **more: Any) -> list[dict[str, Any]]:
        """A life that ends well or kills itself; what it told."""
        async with self.nursery.life(self.mission(name, what, **more)) as life:
            code = await life.end()
        self.ledger.learn(name, life.told)
        assert code in (0, -signal.SIGKILL), life.told[-3:]
        self.kills += code != 0
        return life.told
