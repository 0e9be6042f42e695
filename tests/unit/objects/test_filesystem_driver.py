"""The filesystem driver against hostile folders, crashes and failing disks."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from services.objects.filesystem import FilesystemDriver, Syscalls, tree
from services.objects.filesystem.blobs import TEMP_PREFIX
from services.objects.filesystem.multipart import AREA
from services.objects.keyring import Keyring
from services.objects.port import (
    ObjectExists,
    ObjectInfo,
    ObjectMissing,
    StoreFull,
    StoreUnavailable,
    WrongBytes,
)
from services.objects.tokens import UrlSigner

KEY = "p/d/raw/a.txt"
DATA = b"0123456789" * 150_000
SHA = hashlib.sha256(DATA).hexdigest()


class FaultyCalls(Syscalls):
    """Real system calls that are recorded, and fail where told to.

    `fail[name] = (n, errno)`: the n-th call of that name (from 1) fails, and
    all later ones, too, when n is negative.
    """

    TRACED = ("open", "read", "write", "copy_range", "fsync", "link", "rename", "unlink", "mkdir")

    def __init__(self) -> None:
        self.trace: list[tuple[str, str]] = []
        self.counts: Counter[str] = Counter()
        self.fail: dict[str, tuple[int, int]] = {}
        self.short = 0
        self.labels = True
        self.in_kernel_copy = True

    def _step(self, name: str, detail: str = "") -> None:
        self.counts[name] += 1
        self.trace.append((name, detail))
        index, code = self.fail.get(name, (0, 0))
        if index and (self.counts[name] == index or self.counts[name] >= -index > 0):
            raise OSError(code, os.strerror(code))

    def open(self, name: str, flags: int, *, dir_fd: int | None = None) -> int:
        if flags & os.O_CREAT:
            self._step("create", name)
        return super().open(name, flags, dir_fd=dir_fd)

    def read(self, fd: int, count: int, offset: int) -> bytes:
        self._step("read")
        return super().read(fd, min(count, self.short or count), offset)

    def write(self, fd: int, data: memoryview) -> int:
        self._step("write")
        return super().write(fd, data[: self.short or len(data)])

    def copy_range(self, source: int, target: int, count: int, offset: int) -> int:
        if not self.in_kernel_copy:
            return -1
        self._step("copy_range")
        return super().copy_range(source, target, min(count, self.short or count), offset)

    def fsync(self, fd: int) -> None:
        self._step("fsync", str(Path(f"/proc/self/fd/{fd}").readlink()))
        super().fsync(fd)

    def link(self, source: str, target: str, *, dir_fd: int) -> None:
        self._step("link", target)
        super().link(source, target, dir_fd=dir_fd)

    def rename(self, source: str, target: str, *, dir_fd: int) -> None:
        self._step("rename", target)
        super().rename(source, target, dir_fd=dir_fd)

    def unlink(self, name: str, *, dir_fd: int) -> None:
        self._step("unlink", name)
        super().unlink(name, dir_fd=dir_fd)

    def mkdir(self, name: str, *, dir_fd: int) -> None:
        self._step("mkdir", name)
        super().mkdir(name, dir_fd=dir_fd)

    def set_label(self, fd: int, name: str, value: bytes) -> bool:
        self._step("set_label")
        return self.labels and super().set_label(fd, name, value)

    def get_label(self, fd: int, name: str) -> bytes:
        return super().get_label(fd, name) if self.labels else b""


@pytest.fixture
def calls() -> FaultyCalls:
    return FaultyCalls()


@pytest.fixture
async def driver(tmp_path: Path, calls: FaultyCalls) -> AsyncIterator[FilesystemDriver]:
    opened = make(tmp_path, calls)
    yield opened
    await opened.close()


def make(
    folder: Path, calls: Syscalls | None = None, *, linked: bool = False
) -> FilesystemDriver:
    signer = UrlSigner(Keyring.open(folder / "keys"))
    return FilesystemDriver(
        folder / "objects", signer=signer, public_url="http://x", calls=calls, linked=linked
    )


async def stream(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 600_000):
        yield data[start : start + 600_000]


async def put(driver: FilesystemDriver, key: str = KEY, data: bytes = DATA) -> ObjectInfo:
    digest = hashlib.sha256(data).hexdigest()
    return await driver.write(
        key, stream(data), size=len(data), sha256=digest, content_type="text/plain"
    )


async def get(driver: FilesystemDriver, key: str = KEY) -> bytes:
    return b"".join([chunk async for chunk in driver.open_read(key)])


def files(tmp_path: Path) -> list[str]:
    root = tmp_path / "objects"
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir())


async def test_the_file_is_the_bytes_and_private(tmp_path: Path, driver: FilesystemDriver) -> None:
    await put(driver)
    path = tmp_path / "objects" / KEY
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert files(tmp_path) == [KEY]


async def test_order_of_system_calls(
    tmp_path: Path, driver: FilesystemDriver, calls: FaultyCalls
) -> None:
    """fsync(file) < link < unlink(temp) < fsync(folder), and the parent of
    every new folder is fsynced before anything is written into it."""
    calls.trace.clear()
    await put(driver)
    root = str(tmp_path / "objects")
    steps = [step for step in calls.trace if step[0] not in ("read", "write", "set_label")]
    temp = steps[[name for name, _ in steps].index("create")][1]
    assert steps == [
        ("mkdir", "p"),
        ("fsync", root),
        ("mkdir", "d"),
        ("fsync", f"{root}/p"),
        ("mkdir", "raw"),
        ("fsync", f"{root}/p/d"),
        ("create", temp),
        ("fsync", f"{root}/p/d/raw/{temp}"),
        ("link", "a.txt"),
        ("unlink", temp),
        ("fsync", f"{root}/p/d/raw"),
        ("unlink", temp),
    ]
    names = [name for name, _ in calls.trace]
    last_write = len(names) - 1 - names[::-1].index("write")
    assert last_write < names.index("set_label") < calls.trace.index(("fsync", steps[7][1]))


async def test_folders_of_an_earlier_process_are_made_durable(
    tmp_path: Path, calls: FaultyCalls
) -> None:
    (tmp_path / "objects/p/d/raw").mkdir(parents=True)
    driver = make(tmp_path, calls)
    await put(driver)
    await driver.close()
    root = str(tmp_path / "objects")
    synced = [detail for name, detail in calls.trace if name == "fsync"]
    assert synced[:3] == [root, f"{root}/p", f"{root}/p/d"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("name", ["create", "write", "fsync", "link", "mkdir", "set_label"])
async def test_a_full_disk_at_every_call(
    tmp_path: Path, driver: FilesystemDriver, calls: FaultyCalls, name: str, code: int
) -> None:
    calls.short = 400_000
    index = 0
    while True:
        index += 1
        calls.counts.clear()
        calls.fail = {name: (index, code)}
        try:
            await put(driver, f"{name}/{index}/a")
        except StoreFull:
            calls.fail = {}
            with pytest.raises(ObjectMissing):
                await driver.head(f"{name}/{index}/a")
            continue
        break
    assert index > 1
    assert driver.degraded == ""
    assert files(tmp_path) == [f"{name}/{index}/a"]
    assert await get(driver, f"{name}/{index}/a") == DATA


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *(("fsync", code) for code in (errno.EIO, errno.EINVAL, errno.EROFS)),
        *((name, errno.EIO) for name in ("create", "write", "link", "mkdir", "set_label")),
    ],
)
async def test_io_errors_are_never_acknowledged_and_degrade(
    tmp_path: Path, name: str, code: int
) -> None:
    index = 0
    while True:
        index += 1
        calls = FaultyCalls()
        driver = make(tmp_path, calls)
        key = f"{name}/{index}/a"
        calls.fail = {name: (index, code)}
        try:
            await put(driver, key)
        except StoreUnavailable:
            calls.fail = {}
            assert driver.degraded
            with pytest.raises(ObjectMissing):  # taken back: completion cannot find it
                await driver.head(key)
            with pytest.raises(StoreUnavailable):  # and never trusted again
                await put(driver, key)
            await driver.close()
            continue
        await driver.close()
        break
    assert index > 1
    assert files(tmp_path) == [f"{name}/{index}/a"]


async def test_reads_go_on_in_a_degraded_store(
    driver: FilesystemDriver, calls: FaultyCalls
) -> None:
    await put(driver)
    calls.fail = {"fsync": (-1, errno.EIO)}
    with pytest.raises(StoreUnavailable):
        await put(driver, "other")
    assert await get(driver) == DATA
    with pytest.raises(StoreUnavailable):
        await driver.multipart_create("third", "")


async def test_a_failed_read_is_unavailable(driver: FilesystemDriver, calls: FaultyCalls) -> None:
    await put(driver)
    calls.fail = {"read": (-1, errno.EIO)}
    with pytest.raises(StoreUnavailable):
        await get(driver)


async def test_short_writes_and_reads(driver: FilesystemDriver, calls: FaultyCalls) -> None:
    calls.short = 99_991
    await put(driver)
    assert await get(driver) == DATA


@pytest.mark.parametrize("in_kernel", [True, False])
async def test_multipart_with_short_calls(
    tmp_path: Path, driver: FilesystemDriver, calls: FaultyCalls, in_kernel: bool
) -> None:
    calls.short, calls.in_kernel_copy = 300_007, in_kernel
    multipart_id = await driver.multipart_create(KEY, "text/plain")
    parts = [
        await driver.multipart_put(KEY, multipart_id, n, stream(part), size=None, sha256=None)
        for n, part in enumerate((DATA[:1_000_000], DATA[1_000_000:]), 1)
    ]
    info = await driver.multipart_complete(KEY, multipart_id, parts, size=len(DATA), sha256=SHA)
    assert info.content_type == "text/plain"
    assert await get(driver) == DATA
    assert files(tmp_path) == [KEY]
    assert not (tmp_path / "objects" / AREA).exists()


async def test_a_rotten_part_is_found_at_completion(
    tmp_path: Path, driver: FilesystemDriver
) -> None:
    multipart_id = await driver.multipart_create(KEY, "")
    part = await driver.multipart_put(KEY, multipart_id, 1, stream(DATA), size=None, sha256=None)
    [path] = (tmp_path / "objects" / AREA / multipart_id).glob("00001-*")
    damage(path)
    with pytest.raises(WrongBytes):
        await driver.multipart_complete(KEY, multipart_id, [part], size=len(DATA), sha256=SHA)
    assert KEY not in files(tmp_path)


async def drain(driver: FilesystemDriver, into: bytearray) -> None:
    async for chunk in driver.open_read(KEY):
        into += chunk


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(1_200_000)
        file.write(b"!")


@pytest.mark.parametrize("labels", [True, False])
async def test_rotten_bytes_are_not_served_whole(
    tmp_path: Path, driver: FilesystemDriver, calls: FaultyCalls, labels: bool
) -> None:
    calls.labels = labels
    await put(driver)
    damage(tmp_path / "objects" / KEY)
    received = bytearray()
    if labels:
        with pytest.raises(WrongBytes):
            await drain(driver, received)
        assert len(received) < len(DATA)
        with pytest.raises(WrongBytes):
            await driver.copy(KEY, "copy")
    else:  # without a label the bytes are the only truth: the hash must differ
        assert (await driver.head(KEY)).sha256 != SHA


async def test_a_truncated_file_does_not_pass_for_the_object(
    tmp_path: Path, driver: FilesystemDriver
) -> None:
    await put(driver)
    os.truncate(tmp_path / "objects" / KEY, 1000)
    info = await driver.head(KEY)
    assert (info.size, info.sha256) == (1000, hashlib.sha256(DATA[:1000]).hexdigest())


async def test_without_attributes_hashes_are_computed_and_remembered(
    driver: FilesystemDriver, calls: FaultyCalls
) -> None:
    calls.labels = False
    written = await put(driver)
    assert written.sha256 == SHA
    assert [info.sha256 for info in (await driver.list("")).objects] == [""]
    calls.counts.clear()
    heads = [await driver.head(KEY) for _ in range(3)]
    assert {info.sha256 for info in heads} == {SHA}
    assert calls.counts["read"] == 2
    assert [info.sha256 for info in (await driver.list("")).objects] == [SHA]
    assert await get(driver) == DATA
    await put(driver)


@pytest.mark.parametrize(
    "label", [b"", b"{", b"[]", b'{"sha256": 1, "content_type": "", "size": 2}']
)
async def test_a_damaged_label_is_ignored(
    tmp_path: Path, driver: FilesystemDriver, label: bytes
) -> None:
    await put(driver)
    Syscalls().set_label(
        fd := os.open(tmp_path / "objects" / KEY, os.O_RDONLY), "user.workspace.object", label
    )
    os.close(fd)
    assert (await driver.head(KEY)).sha256 == SHA
    assert await get(driver) == DATA


@pytest.mark.case("K20")
@pytest.mark.parametrize("where", ["file", "folder"])
async def test_planted_links_are_refused_and_logged(
    tmp_path: Path, driver: FilesystemDriver, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    outside = tmp_path / "objects-evil"
    (outside / "raw").mkdir(parents=True)
    (outside / "raw/a.txt").write_bytes(b"secret")
    spot = tmp_path / "objects" / ("p/d/raw/a.txt" if where == "file" else "p/d")
    spot.parent.mkdir(parents=True)
    spot.symlink_to(outside / "raw/a.txt" if where == "file" else outside)
    with caplog.at_level(logging.WARNING), pytest.raises(ObjectMissing):
        await driver.head(KEY)
    assert "planted link" in caplog.text
    with pytest.raises(ObjectMissing):
        await get(driver)
    with pytest.raises(ObjectMissing):
        await driver.copy(KEY, "x")
    with pytest.raises(ObjectExists):
        await put(driver)
    assert (await driver.list("")).objects == ()
    await driver.delete(KEY)
    assert (outside / "raw/a.txt").read_bytes() == b"secret"
    assert sorted(p.name for p in outside.rglob("*")) == ["a.txt", "raw"]


@pytest.mark.case("K20")
@pytest.mark.parametrize("where", ["outside", "inside"])
async def test_hard_links_are_refused_and_logged(
    tmp_path: Path,
    driver: FilesystemDriver,
    where: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever holds a second name of an object could change what was verified."""
    await put(driver)
    spot = tmp_path / "objects" / KEY
    second = tmp_path / "b.txt" if where == "outside" else spot.with_name("b.txt")
    os.link(spot, second)
    assert await get(driver) == DATA, "some filesystems count a name that has just gone"
    monkeypatch.setattr(tree, "_now", lambda: time.time() + 61)
    with caplog.at_level(logging.WARNING), pytest.raises(ObjectMissing):
        await driver.head(KEY)
    assert "planted hard link" in caplog.text
    with pytest.raises(ObjectMissing):
        await get(driver)
    with pytest.raises(ObjectExists):
        await put(driver)
    assert (await driver.list("")).objects == ()
    second.unlink()
    assert await get(driver) == DATA
    assert second.parent.is_dir()


async def test_files_of_a_backup_may_be_shared(tmp_path: Path, driver: FilesystemDriver) -> None:
    """As `cp -al monday tuesday` makes them."""
    await put(driver)
    os.link(tmp_path / "objects" / KEY, tmp_path / "b.txt")
    shared = make(tmp_path, linked=True)
    assert await get(shared) == DATA
    assert [info.key for info in (await shared.list("")).objects] == [KEY]
    await shared.delete(KEY)
    assert (await put(shared, data=b"other")).size == 5
    assert (tmp_path / "b.txt").read_bytes() == DATA
    await shared.close()


@pytest.mark.case("K20")
async def test_a_file_is_read_while_it_still_has_its_temporary_name(
    tmp_path: Path, driver: FilesystemDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As between the steps of a write, and after a crash there; a third name is nobody's."""
    monkeypatch.setattr(tree, "_now", lambda: time.time() + 61)
    await put(driver)
    spot = tmp_path / "objects" / KEY
    os.link(spot, spot.with_name(".tmp-0123456789abcdef"))
    assert await get(driver) == DATA
    os.link(spot, tmp_path / "c.txt")
    with pytest.raises(ObjectMissing):
        await driver.head(KEY)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_where_nobody_can_tell_the_file_is_closed(
    tmp_path: Path, driver: FilesystemDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose file it is takes a descriptor more; without one it must not cost another."""
    await put(driver)
    os.link(tmp_path / "objects" / KEY, tmp_path / "b.txt")
    monkeypatch.setattr(tree, "_now", lambda: time.time() + 61)
    before = open_files()

    def none_left(_: int) -> list[str]:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(tree.os, "listdir", none_left)
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await driver.head(KEY)
    assert open_files() == before


@pytest.mark.case("K20", "K21")
@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "folder"])
async def test_special_files_are_refused_without_waiting(
    tmp_path: Path, driver: FilesystemDriver, kind: str
) -> None:
    spot = tmp_path / "objects" / KEY
    spot.parent.mkdir(parents=True)
    with planted(kind, spot):
        with pytest.raises(ObjectMissing):
            await driver.head(KEY)
        with pytest.raises(ObjectMissing):
            await get(driver)
        with pytest.raises(ObjectExists):
            await put(driver)
        assert (await driver.list("")).objects == ()


@contextmanager
def planted(kind: str, spot: Path) -> Iterator[None]:
    import socket

    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            old = Path.cwd()
            os.chdir(spot.parent)  # socket paths are short
            try:
                listener.bind(spot.name)
            finally:
                os.chdir(old)
            yield
        return
    if kind == "device" and os.geteuid() == 0:
        os.mknod(spot, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
    elif kind == "folder":
        spot.mkdir()
    else:
        os.mkfifo(spot)
    yield


@pytest.mark.case("K21")
async def test_a_key_cannot_be_a_folder_of_another(driver: FilesystemDriver) -> None:
    await put(driver, "a/b", b"x")
    with pytest.raises(ObjectExists):
        await put(driver, "a", b"x")
    with pytest.raises(ObjectExists):
        await put(driver, "a/b/c", b"x")
    with pytest.raises(ObjectMissing):
        await driver.head("a")
    with pytest.raises(ObjectMissing):
        await driver.head("a/b/c")
    await driver.delete("a")
    assert await get(driver, "a/b") == b"x"


async def test_exclusive_create_has_one_winner_even_for_equal_bytes(
    driver: FilesystemDriver,
) -> None:
    def attempt() -> Any:
        return driver.create(KEY, stream(DATA), size=None, sha256=None, content_type="")

    results = await asyncio.gather(*(attempt() for _ in range(6)), return_exceptions=True)
    assert Counter(type(result) for result in results) == {ObjectInfo: 1, ObjectExists: 5}


async def test_what_before_publish_raises_keeps_the_object_invisible(
    tmp_path: Path, driver: FilesystemDriver
) -> None:
    async def revoked() -> None:
        raise PermissionError

    with pytest.raises(PermissionError):
        await driver.create(
            KEY, stream(DATA), size=None, sha256=None, content_type="", before_publish=revoked
        )
    assert files(tmp_path) == []


async def test_a_cancelled_write_leaves_no_file_and_no_descriptor(
    tmp_path: Path, driver: FilesystemDriver
) -> None:
    for delay in (0.0, 0.0005, 0.002, 0.01):
        task = asyncio.create_task(put(driver, f"k{delay}"))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    for _ in range(500):
        if len(open_beneath(tmp_path)) == 1 and not temporary(tmp_path):
            break
        await asyncio.sleep(0.01)
    assert temporary(tmp_path) == []
    assert open_beneath(tmp_path) == [str(tmp_path / "objects")]


def open_beneath(tmp_path: Path) -> list[str]:
    """Paths of the store that this process has open."""
    targets = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            targets.append(str(entry.readlink()))
    return [target for target in targets if target.startswith(str(tmp_path / "objects"))]


def temporary(tmp_path: Path) -> list[str]:
    return [name for name in files(tmp_path) if TEMP_PREFIX in name]


async def test_the_start_sweeps_what_dead_writers_left(tmp_path: Path) -> None:
    folder = tmp_path / "objects/p/d"
    folder.mkdir(parents=True)
    for name, age in ((".tmp-dead", 3600), (".tmp-young", 0), ("kept", 3600)):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (time.time() - age,) * 2)
    driver = make(tmp_path)
    for _ in range(500):
        if not (folder / ".tmp-dead").exists():
            break
        await asyncio.sleep(0.01)
    assert driver.sweep(older_than=time.time() - 60) == 0
    await driver.close()
    assert files(tmp_path) == ["p/d/.tmp-young", "p/d/kept"]


async def test_the_sweep_spares_living_writers(tmp_path: Path, driver: FilesystemDriver) -> None:
    other = make(tmp_path)
    held = asyncio.Event()
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield DATA
        held.set()
        await go_on.wait()

    task = asyncio.create_task(driver.write(KEY, slow(), size=None, sha256=SHA, content_type=""))
    await held.wait()
    assert other.sweep(older_than=time.time() + 10) == 0
    go_on.set()
    assert (await task).sha256 == SHA
    await other.close()


@pytest.mark.parametrize("state", ["temp", "linked", "both-synced"])
async def test_every_state_a_crash_can_leave_is_recovered(tmp_path: Path, state: str) -> None:
    """The states between the steps of a write, made by hand, then a restart."""
    folder = tmp_path / "objects/p/d/raw"
    folder.mkdir(parents=True)
    if state != "both-synced":
        (folder / ".tmp-0000").write_bytes(DATA if state == "linked" else DATA[:10])
        os.utime(folder / ".tmp-0000", (1, 1))
    if state == "linked":
        os.link(folder / ".tmp-0000", folder / "a.txt")
    if state == "both-synced":
        (folder / "a.txt").write_bytes(DATA)
    driver = make(tmp_path)
    driver.sweep(older_than=time.time() - 60)
    assert (await put(driver)).sha256 == SHA
    assert await get(driver) == DATA
    await driver.close()
    assert files(tmp_path) == [KEY]


FULL_DISK = """
import asyncio, hashlib, resource, sys
from pathlib import Path
from services.objects.filesystem import FilesystemDriver
from services.objects.keyring import Keyring
from services.objects.port import StoreFull
from services.objects.tokens import UrlSigner

async def stream(size):
    for _ in range(size // 65536):
        yield b"z" * 65536

async def main(folder, limit):
    signer = UrlSigner(Keyring.open(folder / "keys"))
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    driver = FilesystemDriver(folder / "objects", signer=signer, public_url="http://x")
    put = lambda key, size: driver.write(
        key, stream(size), size=size, sha256=None, content_type="")
    await put("small", 262144)
    try:
        await put("large", 4194304)
    except StoreFull:
        print("full")
    names = sorted(p.name for p in (folder / "objects").rglob("*"))
    assert names == ["small"], names
    await put("another", 262144)
    assert driver.degraded == ""
    print(",".join(info.key for info in (await driver.list("")).objects))
    await driver.close()

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


def run_full_disk(folder: Path, limit: int, *, mount: bool) -> list[str]:
    script = folder / "full.py"
    script.write_text(textwrap.dedent(FULL_DISK))
    target = folder / "disk"
    target.mkdir()
    command = [sys.executable, str(script), str(target), str(limit)]
    if mount:  # in a mount namespace of its own: nothing to unmount afterwards
        inner = 'mount -t tmpfs -o size=2m tmpfs "$0" && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", inner, str(target), *command]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def can_mount() -> bool:
    probe = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def test_a_really_full_disk(tmp_path: Path) -> None:
    """A 2 MiB tmpfs where mounting is allowed, else a file size limit."""
    mount = can_mount()
    assert run_full_disk(tmp_path, 0 if mount else 1_000_000, mount=mount) == [
        "full",
        "another,small",
    ]


def test_the_file_size_limit_of_the_process(tmp_path: Path) -> None:
    assert run_full_disk(tmp_path, 1_000_000, mount=False) == ["full", "another,small"]


async def test_a_folder_that_lost_its_permissions_is_unavailable(
    driver: FilesystemDriver, calls: FaultyCalls
) -> None:
    for code in (errno.EACCES, errno.EROFS, errno.EMFILE):
        calls.counts.clear()
        calls.fail = {"create": (1, code)}
        with pytest.raises(StoreUnavailable, match="create failed"):
            await put(driver)
        assert driver.degraded == ""
    calls.fail = {}
    await put(driver)


async def test_the_loop_is_never_blocked_by_file_work(
    driver: FilesystemDriver, calls: FaultyCalls
) -> None:
    import threading

    inside, release = threading.Event(), threading.Event()
    original = calls.fsync

    def stuck(fd: int) -> None:
        inside.set()
        release.wait()
        original(fd)

    calls.fsync = stuck  # type: ignore[method-assign]
    task = asyncio.create_task(put(driver))
    await asyncio.to_thread(inside.wait)
    await asyncio.sleep(0)  # the loop turns while fsync hangs
    assert not task.done()
    release.set()
    assert (await task).sha256 == SHA


async def test_close_is_repeatable(tmp_path: Path) -> None:
    driver = make(tmp_path)
    await driver.close()
    await driver.close()
