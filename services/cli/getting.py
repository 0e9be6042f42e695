"""`wm get`: the file of one document."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import httpx
import typer
from workspace.storage.v1.storage_service_pb2 import CreateDownloadRequest
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from services.cli.arguments import DOCUMENT
from services.cli.client import Session, in_session
from services.cli.exit_codes import ExitCode
from services.cli.exporting.fetch import CHUNK, opened, verify
from services.cli.exporting.parts import new_part, usual_mode
from services.cli.failures import CliError, usage
from services.cli.importing.put import UrlRefused, http_client
from services.cli.importing.retry import Unavailable, with_retries
from services.cli.options import options_of
from services.cli.output import human_bytes, print_json, print_line
from services.cli.resolve import document_id_of
from services.model.names import validate_document_name

app = typer.Typer(add_completion=False)

T = TypeVar("T")
_PATIENCE = 30.0


@app.command()
def get(
    ctx: typer.Context,
    document: str = DOCUMENT,
    project: str = typer.Option("", "--project", "-p", help="Project of the path."),
    output: str = typer.Option(
        "", "--output", "-o", help="File or folder to write; - is standard output."
    ),
    revision: int = typer.Option(0, "--revision", min=0, help="File revision; 0: the current."),
    force: bool = typer.Option(False, "--force", help="Replace a file that is there."),
) -> None:
    """Download one document: wm get Plans:reports/q3.pdf"""
    options = options_of(ctx)
    _require_folder(output)

    async def work(session: Session) -> None:
        request = CreateDownloadRequest(
            document_id=await document_id_of(session, document, project), file_revision=revision
        )
        if output == "-":
            await _again(lambda: _print(session, request))
            return
        path, download = await _again(lambda: _fetch(session, request, output, force=force))
        if options.json:
            size = download.size_bytes
            print_json({"path": str(path), "size_bytes": size, "sha256": download.sha256})
        else:
            print_line(f"{path} ({human_bytes(download.size_bytes)})")

    in_session(options, work)


async def _again(attempt: Callable[[], Awaitable[T]]) -> T:
    """A store that does not answer is asked again, and for a URL that has ended another."""
    try:
        try:
            return await with_retries(attempt, patience=_PATIENCE)
        except UrlRefused:
            return await with_retries(attempt, patience=_PATIENCE)
    except UrlRefused:
        raise CliError("the store refuses the URL", remedy="look at the clocks of both") from None
    except Unavailable as error:
        raise CliError(str(error), remedy="repeat it", exit_code=ExitCode.UNAVAILABLE) from None


async def _fetch(
    session: Session, request: CreateDownloadRequest, output: str, *, force: bool
) -> tuple[Path, Any]:
    download = await _create(session, request)
    path = _target(output, download.filename)
    await _save(session, download, path, force=force)
    return path, download


async def _print(session: Session, request: CreateDownloadRequest) -> None:
    written = _Counted(sys.stdout.buffer)
    try:
        await _receive(session, await _create(session, request), written)
    except httpx.TransportError:
        if not written.count:
            raise
        raise CliError(
            "the transfer broke off: what was written is not whole",
            remedy="repeat it", exit_code=ExitCode.UNAVAILABLE,
        ) from None  # fmt: skip


async def _create(session: Session, request: CreateDownloadRequest) -> Any:
    return await session.call(session.stub(StorageServiceStub).CreateDownload, request)


class _Counted:
    """Counts what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0

    def write(self, data: bytes) -> int:
        self.count += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _require_folder(output: str) -> None:
    path = Path(output)
    if output in ("", "-") or path.is_dir():
        return
    if output.endswith("/") or not path.parent.is_dir():
        missing = path if output.endswith("/") else path.parent
        raise usage(f"there is no folder {missing}", remedy=f"make it: mkdir -p {missing}")


def _target(output: str, filename: str) -> Path:
    path = Path(output or ".")
    if path.is_dir():
        return path / validate_document_name("name", filename)
    return path


async def _save(session: Session, download: Any, path: Path, *, force: bool) -> None:
    if not force:
        _refuse_existing(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        await _save_in(folder, session, download, path.name)
    finally:
        os.close(folder)


async def _save_in(folder: int, session: Session, download: Any, name: str) -> None:
    fd, temp = new_part("get", folder)
    try:
        with os.fdopen(fd, "wb") as file:
            await _receive(session, download, file)
            os.fchmod(fd, usual_mode())
        os.replace(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temp, dir_fd=folder)


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise CliError(
            f"{path} is there already",
            remedy="replace it with --force, or name another with --output",
            exit_code=ExitCode.CONFLICT,
        )


async def _receive(session: Session, download: Any, file: BinaryIO | _Counted) -> None:
    digest = hashlib.sha256()
    size = 0
    async with http_client(1, session.reached) as http, opened(http, download.transfer) as response:
        async for chunk in response.aiter_bytes(CHUNK):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    verify(download, size, digest.hexdigest())
    file.flush()
