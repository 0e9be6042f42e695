"""Backups into one folder, one after the other: which objects they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.backup.backup import Backup
from services.model.errors import WorkspaceError
from services.objects.filesystem.driver import FilesystemDriver
from services.objects.keyring import Keyring
from services.objects.tokens import UrlSigner
from services.records.port import Item, Key

KEY = "workspaces/w_1/projects/p_1/documents/d_1/raw/plan.pdf"


@pytest.fixture
async def drivers(tmp_path: Path) -> AsyncIterator[tuple[FilesystemDriver, FilesystemDriver]]:
    signer = UrlSigner(Keyring.open(tmp_path / "keys", create=True))
    made = [
        FilesystemDriver(tmp_path / name, signer=signer, public_url="http://localhost")
        for name in ("source", "target")
    ]
    yield made[0], made[1]
    for driver in made:
        await driver.close()


async def put(driver: FilesystemDriver, data: bytes) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    await driver.write(KEY, chunks(), size=len(data), sha256=None, content_type="")


async def held(driver: FilesystemDriver) -> bytes:
    return b"".join([chunk async for chunk in driver.open_read(KEY)])


async def back_up(
    folder: Path, drivers: tuple[FilesystemDriver, FilesystemDriver], row: dict[str, Any]
) -> Any:
    family = "document" if "file" in row else "upload"

    async def rows() -> AsyncIterator[list[Item]]:
        yield [Item(Key("X#1", "X"), "1", family, json.dumps(row))]

    job = Backup(folder, source=drivers[0], target=drivers[1], progress=lambda what, count: None)
    return await job.run(rows(), keys=None)


def promised(data: bytes) -> dict[str, Any]:
    file = {"storage_key": KEY, "sha256": hashlib.sha256(data).hexdigest()}
    return {"status": "DOCUMENT_STATUS_AVAILABLE", "file": file}


async def test_a_key_that_was_collected_and_has_another_file_since(
    tmp_path: Path, drivers: tuple[FilesystemDriver, FilesystemDriver]
) -> None:
    source, target = drivers
    await put(source, b"never completed")
    await back_up(tmp_path, drivers, {"storage_key": KEY})
    assert await held(target) == b"never completed"
    await source.delete(KEY)
    await put(source, b"the real plan")
    manifest = await back_up(tmp_path, drivers, promised(b"the real plan"))
    assert await held(target) == b"the real plan"
    assert (manifest.objects, manifest.missing) == (1, [])


async def test_a_good_copy_is_never_replaced_by_what_no_row_promises(
    tmp_path: Path, drivers: tuple[FilesystemDriver, FilesystemDriver]
) -> None:
    source, target = drivers
    await put(source, b"the real plan")
    await back_up(tmp_path, drivers, promised(b"the real plan"))
    await source.delete(KEY)
    await put(source, b"something else")
    with pytest.raises(WorkspaceError, match="damaged"):
        await back_up(tmp_path, drivers, promised(b"the real plan"))
    assert await held(target) == b"the real plan"
