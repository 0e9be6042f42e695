"""Where the objects lie: what the checks ask of a folder, and of any other store."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from services.aws.selected import aws_place
from services.azure.selected import azure_place
from services.cli.doctor.records import ExpectedObject
from services.objects.port import ObjectDriver, ObjectMissing
from services.settings import Settings

__all__ = ["Folder", "Store", "Stored", "open_stored"]

_AT_ONCE = 16


class Stored(Protocol):
    """Three questions, and the end."""

    async def faults(self, expected: Sequence[ExpectedObject]) -> list[str]:
        """What is wrong with these objects, a line each."""
        ...

    async def absent(self, keys: Collection[str]) -> set[str]:
        """Which of these are not there."""
        ...

    async def sizes(self) -> dict[str, int]:
        """Every object, with its bytes."""
        ...

    async def close(self) -> None: ...


class Folder:
    """The folder of a local workspace, read as it lies there, without any key."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def faults(self, expected: Sequence[ExpectedObject]) -> list[str]:
        return await asyncio.to_thread(lambda: list(_faults(self._root, expected)))

    async def absent(self, keys: Collection[str]) -> set[str]:
        return {key for key in keys if not (self._root / key).exists()}

    async def sizes(self) -> dict[str, int]:
        return await asyncio.to_thread(_sizes, self._root)

    async def close(self) -> None: ...


class Store:
    """Any object driver. The store's own SHA-256 counts where it has one; else the
    bytes are read."""

    def __init__(self, driver: ObjectDriver) -> None:
        self._driver = driver
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def faults(self, expected: Sequence[ExpectedObject]) -> list[str]:
        found = await asyncio.gather(*(self._fault(each) for each in expected))
        return [fault for fault in found if fault]

    async def absent(self, keys: Collection[str]) -> set[str]:
        return {key for key in keys if not await self._has(key)}

    async def sizes(self) -> dict[str, int]:
        return {key: size async for key, size in self._all()}

    async def close(self) -> None:
        await self._driver.close()

    async def _fault(self, item: ExpectedObject) -> str:
        async with self._room:
            try:
                info = await self._driver.head(item.storage_key)
            except ObjectMissing:
                return f"{item.storage_key}: is not there (of {item.named_by})"
            if info.size != item.size:
                return f"{item.storage_key}: {info.size} bytes instead of {item.size}"
            if (info.sha256 or await self._digest(item.storage_key)) != item.sha256:
                return f"{item.storage_key}: other bytes than were uploaded"
        return ""

    async def _digest(self, key: str) -> str:
        digest = hashlib.sha256()
        async for chunk in self._driver.open_read(key):
            digest.update(chunk)
        return digest.hexdigest()

    async def _has(self, key: str) -> bool:
        try:
            await self._driver.head(key)
        except ObjectMissing:
            return False
        return True

    async def _all(self) -> AsyncIterator[tuple[str, int]]:
        after: str | None = None
        while True:
            page = await self._driver.list("", after)
            for info in page.objects:
                yield info.key, info.size
            after = page.next
            if after is None:
                return


async def open_stored(settings: Settings) -> Stored:
    """The objects of the deployment, for looking only: no key is made or needed.
    Raises BACKEND_UNAVAILABLE."""
    if settings.objects == "filesystem":
        return Folder(settings.data_dir / "objects")
    if settings.objects == "azure_blob":
        return Store(await _azure_blob(settings))
    return Store(await _s3(settings))


async def _s3(settings: Settings) -> ObjectDriver:
    from services.aws.clients import AwsClients
    from services.objects.s3 import S3Driver

    clients = AwsClients(aws_place(settings))
    try:
        return await S3Driver.open(
            clients, settings.aws_s3_bucket, path_style=settings.aws_s3_path_style, read_only=True
        )
    except BaseException:
        await clients.close()
        raise


async def _azure_blob(settings: Settings) -> ObjectDriver:
    from services.azure.clients import AzureClients
    from services.objects.azure_blob import AzureBlobDriver

    clients = AzureClients(azure_place(settings))
    account, container = settings.azure_storage_account, settings.azure_storage_container
    try:
        return await AzureBlobDriver.open(clients, account, container, read_only=True)
    except BaseException:
        await clients.close()
        raise


def _faults(root: Path, expected: Sequence[ExpectedObject]) -> Iterator[str]:
    for item in expected:
        path = root / item.storage_key
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            yield f"{item.storage_key}: {error.strerror} (of {item.named_by})"
            continue
        with os.fdopen(fd, "rb") as file:
            size = os.fstat(fd).st_size
            if size != item.size:
                yield f"{item.storage_key}: {size} bytes instead of {item.size}"
            elif hashlib.file_digest(file, "sha256").hexdigest() != item.sha256:
                yield f"{item.storage_key}: other bytes than were uploaded"


def _sizes(root: Path) -> dict[str, int]:
    """Names that begin with a dot are the store's own."""
    found: dict[str, int] = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        prefix = Path(folder).relative_to(root)
        for name in files:
            if not name.startswith("."):
                found[(prefix / name).as_posix()] = (Path(folder) / name).lstat().st_size
    return found
