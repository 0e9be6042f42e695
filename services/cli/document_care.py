"""More verbs of `wm documents`: as of a time, copy, purge, many at once."""

from __future__ import annotations

from typing import Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.project.v1.document_pb2 import Document
from workspace.project.v1.document_service_pb2 import (
    BatchUpdateDocumentsRequest,
    CopyDocumentRequest,
    GetDocumentAsOfRequest,
    PurgeDocumentRequest,
    UpdateDocumentRequest,
)
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub

from services.cli.arguments import DOCUMENT
from services.cli.client import Session, in_session
from services.cli.confirming import confirm_by_typing
from services.cli.enums import parse_moment
from services.cli.exit_codes import ExitCode
from services.cli.options import Options, options_of
from services.cli.output import as_json, counted, print_json, print_line, print_rows, show_record
from services.cli.resolve import document_id_of, project_id_of, split_path, trashed_document_id_of

__all__ = ["add_care", "update_many"]

_PROJECT = typer.Option("", "--project", "-p", help="Project of the path, by id or name.")
_BATCH = 100
_SHOWN = (
    "name", "relative_path", "title", "status", "document_type", "classification", "mime_type",
    "size_bytes", "concept_tags", "file", "document_id",
)


def add_care(app: typer.Typer) -> None:
    """Put these verbs into `wm documents`."""
    for verb in (as_of, copy, purge):
        app.command()(verb)


def as_of(
    ctx: typer.Context,
    document: str = DOCUMENT,
    time: str = typer.Argument(metavar="TIME", help="2026-12-31T18:00:00Z, a date, or 3d ago."),
    project: str = _PROJECT,
) -> None:
    """A document as it was: wm files as-of Plans:a.txt 7d"""
    options = options_of(ctx)
    request = GetDocumentAsOfRequest()
    request.time.FromDatetime(parse_moment("TIME", time))

    async def work(session: Session) -> None:
        request.document_id = await document_id_of(session, document, project)
        answer = await session.call(session.stub(DocumentServiceStub).GetDocumentAsOf, request)
        if options.json:
            print_json(as_json(answer))
            return
        show_record(options, answer.document, _SHOWN)
        if answer.document.HasField("file"):
            number = answer.document.file.file_revision
            kept = f"is kept: wm get {request.document_id} --revision {number}"
            print_line(f"  Its file {kept if answer.file_kept else 'is not kept any more'}")

    in_session(options, work)


def copy(
    ctx: typer.Context,
    document: str = DOCUMENT,
    to: str = typer.Argument("", metavar="[TO]", help="New folder/name; default the same."),
    project: str = _PROJECT,
    to_project: str = typer.Option("", "--to-project", help="Project of the copy; default here."),
) -> None:
    """A new document with the same metadata and file."""
    options = options_of(ctx)
    request = CopyDocumentRequest()
    if to:
        request.relative_path, request.name = split_path(to)

    async def work(session: Session) -> None:
        request.document_id = await document_id_of(session, document, project)
        if to_project:
            request.project_id = await project_id_of(session, to_project)
        answer = await session.call(session.stub(DocumentServiceStub).CopyDocument, request)
        fields = (*_SHOWN, "copied_from", "project_id")
        show_record(options, answer.document, fields, title="Copied; its file follows by itself")

    in_session(options, work)


def purge(
    ctx: typer.Context,
    document: str = DOCUMENT,
    project: str = _PROJECT,
    yes: bool = typer.Option(False, "--yes", help="Do not ask; for scripts."),
) -> None:
    """Remove a document of the trash for good; asks you to type its id."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        document_id = await trashed_document_id_of(session, document, project)
        confirm_by_typing(
            document_id, f"This removes {document_id} and all its files for good.", yes=yes
        )
        request = PurgeDocumentRequest(document_id=document_id)
        answer = await session.call(session.stub(DocumentServiceStub).PurgeDocument, request)
        show_record(options, answer.document, ("name", "status", "document_id"), title="Purged")

    in_session(options, work)


async def update_many(
    session: Session,
    options: Options,
    document_ids: list[str],
    given: dict[str, Any],
    mask: FieldMask,
) -> int:
    """The same change on many documents, each on its own; the exit code."""
    results: list[tuple[str, Any]] = []
    stub = session.stub(DocumentServiceStub)
    for start in range(0, len(document_ids), _BATCH):
        ids = document_ids[start : start + _BATCH]
        updates = [
            UpdateDocumentRequest(document=Document(document_id=each, **given), update_mask=mask)
            for each in ids
        ]
        request = BatchUpdateDocumentsRequest(requests=updates)
        answer = await session.call(stub.BatchUpdateDocuments, request)
        results += zip(ids, answer.results, strict=True)
    failed = [(id_, r.error) for id_, r in results if r.WhichOneof("outcome") == "error"]
    if options.json:
        print_json({"results": [{"document_id": id_, **as_json(r)} for id_, r in results]})
    else:
        print_line(f"{counted(len(results) - len(failed), 'document')} changed, "
                   f"{len(failed)} failed.")  # fmt: skip
        print_rows(("document_id", "why"), [[id_, error.message] for id_, error in failed])
    return ExitCode.PARTLY_FAILED if failed else ExitCode.OK
