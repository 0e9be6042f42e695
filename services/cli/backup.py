"""`wm backup`: everything of a workspace into a folder, while it serves."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import typer

from services.backends import database_file, open_keyring, open_objects, record_snapshot
from services.backup.archive import Manifest
from services.backup.backup import Backup
from services.cli.exit_codes import ExitCode
from services.cli.failures import CliError, usage
from services.cli.options import options_of
from services.cli.output import counted, human_bytes, print_json, print_line
from services.config import load_settings
from services.objects.filesystem import FilesystemDriver
from services.objects.tokens import UrlSigner
from services.private_files import make_folder
from services.records.port import Item
from services.secrets.keys import with_secrets
from services.settings import Settings

app = typer.Typer(add_completion=False)

_NOWHERE = "http://127.0.0.1:9"  # nothing is signed here


@app.command()
def backup(
    ctx: typer.Context,
    folder: Path = typer.Argument(metavar="FOLDER", help="Where to write; made when absent."),
    keys: bool = typer.Option(
        True, "--keys/--without-keys",
        help="With the key files: whoever has them can sign as this workspace.",
    ),
) -> None:
    """Back the workspace up while it serves: all records of one moment, and every
    file they name, checksums verified.

    Into the same folder again only new files are copied. Restore with
    `wm restore`. Runs on the machine that has the data folder.
    """
    options = options_of(ctx)
    settings = asyncio.run(with_secrets(load_settings(data_dir=options.data_dir)))
    _check_source(settings)
    rows = record_snapshot(settings)  # refuses before anything is written
    if folder.exists() and any(folder.iterdir()) and not (folder / "backup.json").exists():
        raise usage(f"{folder} holds something else; name an empty folder or an earlier backup")
    make_folder(folder)
    manifest = asyncio.run(_run(settings, rows, folder, keys=keys, shown=not options.json))
    if options.json:
        print_json({"folder": str(folder), **manifest.members()})
    else:
        _print(folder, manifest)
    if manifest.missing:
        raise typer.Exit(ExitCode.PARTLY_FAILED)


async def _run(
    settings: Settings,
    rows: AsyncIterator[list[Item]],
    folder: Path,
    *,
    keys: bool,
    shown: bool,
) -> Manifest:
    signer = UrlSigner(open_keyring(settings))
    source = await open_objects(settings, signer, _NOWHERE, private=False)
    target = FilesystemDriver(
        folder / "objects", signer=signer, public_url=_NOWHERE, linked=True
    )
    try:
        job = Backup(folder, source=source, target=target, progress=progress(shown=shown))
        return await job.run(rows, keys=settings.data_dir / "keys" if keys else None)
    finally:
        await source.close()
        await target.close()


def progress(*, shown: bool) -> Callable[[str, int], None]:
    """Shows how far it is, on standard error, when that is a terminal."""
    counts: dict[str, int] = {}

    def show(what: str, done: int) -> None:
        counts[what] = done
        if shown and sys.stderr.isatty():
            text = ", ".join(f"{count} {name}" for name, count in counts.items())
            sys.stderr.write(f"\r{text} ")
            sys.stderr.flush()

    return show


def _check_source(settings: Settings) -> None:
    if settings.records == "sqlite" and not database_file(settings).exists():
        raise CliError(
            f"there is no workspace in {settings.data_dir}",
            remedy="name its data folder with --data",
        )


def _print(folder: Path, manifest: Manifest) -> None:
    size = human_bytes(manifest.object_bytes)
    print_line(
        f"{counted(manifest.records, 'record')}, {counted(manifest.objects, 'file')} ({size}), "
        f"{counted(len(manifest.keys), 'key file')} in {folder}"
    )
    for key in manifest.missing[:20]:
        print_line(f"  missing: {key}")
    if manifest.missing:
        print_line(
            f"{counted(len(manifest.missing), 'file')} missing: purged meanwhile, or lost; see "
            "`wm doctor`, then back up again."
        )
    else:
        print_line(f"Restore it with: wm --data NEW_FOLDER restore {folder}")
