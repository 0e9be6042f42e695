"""`wm restore`: a workspace out of a backup."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import typer

from services.backends import database_file, open_keyring, open_objects, open_record_driver
from services.backup.archive import Manifest, read_manifest
from services.backup.restore import discard, restore_keys, restore_objects, restore_records
from services.cli.backup import progress
from services.cli.exit_codes import ExitCode
from services.cli.failures import CliError
from services.cli.options import options_of
from services.cli.output import counted, human_bytes, print_json, print_line
from services.config import load_settings
from services.objects.filesystem import FilesystemDriver
from services.objects.port import ObjectDriver
from services.objects.tokens import UrlSigner
from services.private_files import make_folder, sync_folder
from services.secrets.resolve import resolve_secrets
from services.settings import Settings

app = typer.Typer(add_completion=False)

_NOWHERE = "http://127.0.0.1:9"  # nothing is signed here


@app.command()
def restore(
    ctx: typer.Context,
    folder: Path = typer.Argument(metavar="FOLDER", help="What `wm backup` wrote."),
) -> None:
    """Restore a backup into a new data folder (--data), every digest verified.

    The target must not exist or be empty; with PostgreSQL (WM_RECORDS) the
    database must be empty as well, and with S3 or Azure (WM_OBJECTS) the bucket
    or container may hold files of this backup only. The restored workspace keeps all ids; it is
    told apart from the one it was copied from.
    """
    options = options_of(ctx)
    manifest = read_manifest(folder)
    settings = asyncio.run(resolve_secrets(load_settings(data_dir=options.data_dir)))
    _check_records(settings)
    target = settings.data_dir
    if target.exists() and any(target.iterdir()):
        raise CliError(
            f"{target} is not empty", remedy="name a new folder with --data; nothing was changed"
        )
    asyncio.run(_run(settings, folder, manifest, shown=not options.json))
    if options.json:
        print_json({"data_dir": str(target), **manifest.members()})
        return
    size = human_bytes(manifest.object_bytes)
    print_line(
        f"{counted(manifest.records, 'record')} and {counted(manifest.objects, 'file')} ({size}) "
        f"in {target}"
    )
    print_line(f"Every digest is that of the backup. Start it with: wm --data {target} serve")


async def _run(settings: Settings, folder: Path, manifest: Manifest, *, shown: bool) -> None:
    """Build beside the target, then rename: half a restore never looks whole."""
    target = settings.data_dir
    make_folder(target.parent)
    building = target.with_name(f".{target.name}.restoring")
    discard(building)
    building.mkdir(mode=0o700)
    settings = settings.model_copy(update={"data_dir": building})
    try:
        await _fill(settings, folder, manifest, shown=shown)
        if target.exists():
            target.rmdir()
        building.rename(target)
        sync_folder(target.parent)
    finally:
        discard(building)


async def _fill(settings: Settings, folder: Path, manifest: Manifest, *, shown: bool) -> None:
    show = progress(shown=shown)
    restore_keys(folder, settings.data_dir / "keys")
    signer = UrlSigner(open_keyring(settings))
    source = FilesystemDriver(
        folder / "objects", signer=signer, public_url=_NOWHERE, linked=True
    )
    objects = await open_objects(settings, signer, _NOWHERE)
    try:
        await _check_objects(settings, source, objects)
        await restore_objects(source, objects, promised=manifest.objects, progress=show)
    finally:
        await source.close()
        await objects.close()
    driver = await open_record_driver(settings)
    try:
        await restore_records(folder, manifest, driver, progress=show)
    finally:
        await driver.close()
    lock = database_file(settings)
    lock.with_name(lock.name + ".lock").unlink(missing_ok=True)


_OWN_RECOVERY: Final = {
    "dynamodb": ("DynamoDB", "a table comes back by its point-in-time recovery"),
    "cosmos": ("Cosmos DB", "an account comes back by its continuous backup"),
}


def _check_records(settings: Settings) -> None:
    if settings.records not in _OWN_RECOVERY:
        return
    store, recovery = _OWN_RECOVERY[settings.records]
    raise CliError(
        f"a backup is not restored into {store}",
        remedy="restore it into a local workspace and push that over a connection "
        f"(`wm sync push`); {recovery}",
        exit_code=ExitCode.PRECONDITION,
    )


async def _check_objects(settings: Settings, source: ObjectDriver, target: ObjectDriver) -> None:
    """Files of others in the target would be orphans here, and be collected."""
    ours = {key async for key in _keys(source)}
    async for key in _keys(target):
        if key not in ours:
            raise CliError(
                f"the object store holds files that are not of this backup, as {key}",
                remedy=f"name an empty one instead of {_store_name(settings) or 'this'}; "
                "nothing was changed",
                exit_code=ExitCode.PRECONDITION,
            )


def _store_name(settings: Settings) -> str:
    named = {"s3": settings.aws_s3_bucket, "azure_blob": settings.azure_storage_container}
    return named.get(settings.objects, "")


async def _keys(driver: ObjectDriver) -> AsyncIterator[str]:
    after: str | None = None
    while True:
        page = await driver.list("", after)
        for info in page.objects:
            yield info.key
        after = page.next
        if after is None:
            return
