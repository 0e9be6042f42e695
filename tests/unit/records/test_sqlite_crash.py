"""kill -9 and a full disk: what was acknowledged is there afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.records.port import ABSENT, Key, Put, StorageFull
from services.records.sql import SqliteDriver

_WRITER = textwrap.dedent("""
    import asyncio, os, sys, pathlib
    from services.records.port import ABSENT, Key, Put
    from services.records.sql import SqliteDriver

    async def write(driver, name):
        number = 0
        while True:
            sk = f"{name}#{number:06}"
            puts = [Put(Key("P#1", sk), ABSENT, "t", sk), Put(Key("P#1", sk + "#b"), ABSENT, "t", sk)]
            await driver.commit("P#1", puts)
            os.write(1, (sk + "\\n").encode())
            number += 1

    async def main():
        driver = await SqliteDriver.open(pathlib.Path(sys.argv[1]))
        await asyncio.gather(*(write(driver, f"{sys.argv[2]}.{n}") for n in range(8)))

    asyncio.run(main())
""")  # noqa: E501


def _kill_after(path: Path, run: int, acknowledgements: int) -> list[str]:
    """Let a process commit, kill it with SIGKILL; returns what it acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), str(run)],
        env={"PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(acknowledgements)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    return [line.strip() for line in lines if line.endswith("\n")]


@pytest.mark.durability
async def test_every_commit_acknowledged_before_kill_9_is_there(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    acked: list[str] = []
    for run in range(4):
        acked += _kill_after(path, run, 40 + run * 37)
        driver = await SqliteDriver.open(path)
        found = {item.key.sk: item.body for item in await driver.scan(None, 1_000_000)}
        assert set(acked) <= found.keys()
        whole = {sk for sk in found if not sk.endswith("#b")}
        assert {f"{sk}#b" for sk in whole} == found.keys() - whole, "half a commit"
        assert len(whole) <= len(acked) + 8 * (run + 1)  # at most one each was not told
        check = await driver._read(lambda c: c.execute("PRAGMA integrity_check").fetchone())
        assert check == ("ok",)
        await driver.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 1 MiB; needs the capability to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("capability: mount (root)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.durability
async def test_a_full_disk_acknowledges_nothing_it_cannot_keep(small_disk: Path) -> None:
    path = small_disk / "records.db"
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 200_000)
    driver = await SqliteDriver.open(path)
    acked: list[str] = []

    async def fill() -> None:
        for number in range(10_000):
            key = Key("P#1", f"{number:05}")
            await driver.commit("P#1", [Put(key, ABSENT, "t", "x" * 1000)])
            acked.append(key.sk)

    with pytest.raises(StorageFull):
        await fill()
    assert len(acked) > 10
    assert [item.key.sk for item in await driver.scan(None, 10_000)] == acked
    ballast.unlink()
    await driver.commit("P#1", [Put(Key("P#1", "z"), ABSENT, "t", "{}")])
    await driver.close()
    driver = await SqliteDriver.open(path)
    assert [item.key.sk for item in await driver.scan(None, 10_000)] == [*acked, "z"]
    await driver.close()
