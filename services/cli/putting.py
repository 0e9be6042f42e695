"""`wm put`: one file into a project."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import typer
from workspace.project.v1.document_service_pb2 import ListDocumentsRequest
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub

from services.cli.client import Session, in_session
from services.cli.exit_codes import ExitCode
from services.cli.failures import CliError, usage
from services.cli.importing.plan import Place, place_of, require_folder
from services.cli.importing.put import http_client
from services.cli.importing.retry import Unavailable
from services.cli.importing.source import open_source
from services.cli.importing.state import Known, known_of
from services.cli.importing.transfer import Uploader
from services.cli.options import options_of
from services.cli.output import as_json, print_json, print_line
from services.cli.resolve import project_id_of

app = typer.Typer(add_completion=False)

_CONNECTIONS = 8


@app.command()
def put(
    ctx: typer.Context,
    file: Path = typer.Argument(metavar="FILE", help="File to upload."),
    project: str = typer.Option(..., "--project", "-p", help="Project, by id or name."),
    into: str = typer.Option("", "--into", help="Folder in the project; default its root."),
    name: str = typer.Option("", "--name", help="Name of the document; default the file's."),
    title: str = typer.Option("", "--title", help="Title of a new document."),
    retry_for: float = typer.Option(30.0, "--retry-for", min=0, help="Seconds to wait."),
) -> None:
    """Upload one file: a new document, or a new revision of the one there."""
    if not file.is_file():
        raise usage(f"{file} is no file")
    require_folder(into)
    options = options_of(ctx)
    path = file.resolve()
    place = place_of(name or file.name, into)

    async def work(session: Session) -> None:
        project_id = await project_id_of(session, project)
        known = await _known(session, project_id, place)
        with ThreadPoolExecutor(1) as executor:
            source = await open_source(path, executor)
        async with http_client(_CONNECTIONS, session.reached) as http:
            uploader = Uploader(session, http, project_id, patience=retry_for)
            try:
                outcome = await uploader.send(place, source, known, title=title)
            except Unavailable as error:
                raise CliError(
                    str(error), remedy="repeat it", exit_code=ExitCode.UNAVAILABLE
                ) from None
        found = await _find(session, project_id, place)
        if options.json:
            print_json({"outcome": outcome.value, "document": as_json(found)})
        else:
            print_line(f"{outcome.value} {place.path}  {found.document_id}")

    in_session(options, work)


async def _known(session: Session, project_id: str, place: Place) -> Known | None:
    found = await _find(session, project_id, place)
    return known_of(found) if found is not None else None


async def _find(session: Session, project_id: str, place: Place) -> Any:
    request = ListDocumentsRequest(
        project_id=project_id, relative_path_prefix=place.folder, name_prefix=place.name
    )
    stub = session.stub(DocumentServiceStub)
    async for document in session.each(stub.ListDocuments, request, "documents"):
        if (document.relative_path, document.name) == (place.folder, place.name):
            return document
    return None
