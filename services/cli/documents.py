"""`wm documents`, which people also know as `wm files`."""

from __future__ import annotations

from typing import Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.common.v1.classification_pb2 import Classification
from workspace.project.v1.document_pb2 import Document, DocumentStatus
from workspace.project.v1.document_service_pb2 import (
    ArchiveDocumentRequest,
    DeleteDocumentRequest,
    GetDocumentRequest,
    LinkObjectsRequest,
    ListDocumentsRequest,
    ListLinksRequest,
    ListRevisionsRequest,
    MoveDocumentRequest,
    RestoreDocumentRequest,
    UnlinkObjectsRequest,
    UpdateDocumentRequest,
)
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.history_service_pb2 import ListMetadataRecordsRequest
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub
from workspace.project.v1.link_pb2 import LinkDirection, ObjectLink

from services.cli.arguments import DOCUMENT, LIMIT, mask_of
from services.cli.client import Session, in_session
from services.cli.document_care import add_care, update_many
from services.cli.enums import parse_enum
from services.cli.exit_codes import ExitCode
from services.cli.failures import usage
from services.cli.options import options_of
from services.cli.output import show_list, show_record
from services.cli.resolve import (
    document_id_of,
    project_id_of,
    split_path,
    trashed_document_id_of,
)

app = typer.Typer(
    add_completion=False, no_args_is_help=True,
    help="Documents (files): list, show, tag, link, history. Bytes: wm get, put, import, export.",
)

_PROJECT = typer.Option("", "--project", "-p", help="Project of the path, by id or name.")
_COLUMNS = (
    "folder=relative_path", "name", "status", "size=size_bytes", "uploaded_at", "document_id",
)
_FILES = ("revision=file_revision", "size=size_bytes", "uploaded_at", "uploaded_by", "sha256")
_SHOWN = (
    "name", "relative_path", "title", "status", "document_type", "classification", "mime_type",
    "size_bytes", "concept_tags", "links", "project_id", "uploaded_by", "uploaded_at",
    "storage_key", "file", "trashed_at", "document_id",
)


@app.command("list")
def list_(
    ctx: typer.Context,
    project: str = typer.Argument("", metavar="[PROJECT]", help="Default: everything visible."),
    folder: str = typer.Option("", "--folder", help="Folder paths that begin so."),
    prefix: str = typer.Option("", "--prefix", help="Names that begin so."),
    tag: str = typer.Option("", "--tag"),
    type_: str = typer.Option("", "--type", help="Kind of document."),
    status: str = typer.Option("", "--status", help="available, awaiting_file, archived, ..."),
    classification: str = typer.Option("", "--classification"),
    limit: int = LIMIT,
) -> None:
    """Documents you may view."""
    options = options_of(ctx)
    state: Any = parse_enum("--status", DocumentStatus.DESCRIPTOR, status)
    level: Any = parse_enum("--classification", Classification.DESCRIPTOR, classification)
    request = ListDocumentsRequest(
        relative_path_prefix=folder, name_prefix=prefix, tag=tag, document_type=type_,
        status=state, classification=level,
    )

    async def work(session: Session) -> None:
        if project:
            request.project_id = await project_id_of(session, project)
        stub = session.stub(DocumentServiceStub)
        found = await session.pages(stub.ListDocuments, request, "documents", limit=limit)
        found.sort(key=lambda d: (d.project_id, d.relative_path, d.name))
        show_list(options, "documents", found, _COLUMNS)

    in_session(options, work)


@app.command()
def show(ctx: typer.Context, document: str = DOCUMENT, project: str = _PROJECT) -> None:
    """One document."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        stub = session.stub(DocumentServiceStub)
        document_id = await document_id_of(session, document, project)
        request = GetDocumentRequest(document_id=document_id)
        answer = await session.call(stub.GetDocument, request)
        show_record(options, answer.document, _SHOWN)

    in_session(options, work)


@app.command()
def history(
    ctx: typer.Context, document: str = DOCUMENT, project: str = _PROJECT, limit: int = LIMIT
) -> None:
    """Metadata records of a document, newest first."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = ListMetadataRecordsRequest(
            document_id=await document_id_of(session, document, project)
        )
        stub = session.stub(HistoryServiceStub)
        found = await session.pages(
            stub.ListMetadataRecords, request, "metadata_records", limit=limit
        )
        columns = ("timestamp", "record_type", "actor", "reason", "note", "metadata_record_id")
        show_list(options, "metadata_records", found, columns)

    in_session(options, work)


@app.command()
def revisions(
    ctx: typer.Context, document: str = DOCUMENT, project: str = _PROJECT, limit: int = LIMIT
) -> None:
    """Files that a document has had, newest first."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = ListRevisionsRequest(document_id=await document_id_of(session, document, project))
        stub = session.stub(DocumentServiceStub)
        found = await session.pages(stub.ListRevisions, request, "files", limit=limit)
        show_list(options, "files", found, _FILES)

    in_session(options, work)


@app.command()
def update(
    ctx: typer.Context,
    document: list[str] = typer.Argument(
        metavar="DOCUMENT...", help="Ids, or PROJECT:folder/name; with several the same change."
    ),
    project: str = _PROJECT,
    title: str | None = typer.Option(None, "--title"),
    type_: str | None = typer.Option(None, "--type"),
    classification: str | None = typer.Option(None, "--classification"),
    source_date: str | None = typer.Option(None, "--source-date", help="YYYY[-MM[-DD]]."),
    issuing_body: str | None = typer.Option(None, "--issuing-body"),
    geographic_scope: str | None = typer.Option(None, "--geographic-scope"),
    revision: str | None = typer.Option(None, "--revision", help="Of the source, as it says."),
    project_role: str | None = typer.Option(None, "--project-role"),
    summary: str | None = typer.Option(None, "--summary"),
) -> None:
    """Change metadata; '' empties a field. The history keeps what was.

    Of several documents each is changed on its own; exit code 9 when some failed.
    """
    given, mask = mask_of(
        {
            "title": title,
            "document_type": type_,
            "classification": classification
            and parse_enum("--classification", Classification.DESCRIPTOR, classification),
            "source_date": source_date,
            "issuing_body": issuing_body,
            "geographic_scope": geographic_scope,
            "revision": revision,
            "project_role": project_role,
            "extraction_summary": summary,
        }
    )
    _update(ctx, document, project, given, mask)


@app.command()
def tag(
    ctx: typer.Context,
    document: str = DOCUMENT,
    add: list[str] = typer.Option([], "--add", "-a", help="Tag to add; repeatable."),
    remove: list[str] = typer.Option([], "--remove", "-r", help="Tag to remove; repeatable."),
    project: str = _PROJECT,
) -> None:
    """Add and remove tags."""
    if not add and not remove:
        raise usage("nothing to change", remedy="give --add or --remove")
    options = options_of(ctx)

    async def work(session: Session) -> None:
        stub = session.stub(DocumentServiceStub)
        found = await session.call(
            stub.GetDocument,
            GetDocumentRequest(document_id=await document_id_of(session, document, project)),
        )
        kept = [t for t in found.document.concept_tags if t not in remove]
        record = Document(
            document_id=found.document.document_id,
            concept_tags=list(dict.fromkeys([*kept, *add])),
            etag=found.document.etag,  # or a tag that someone adds now would be lost
        )
        request = UpdateDocumentRequest(
            document=record, update_mask=FieldMask(paths=["concept_tags"])
        )
        answer = await session.call(stub.UpdateDocument, request)
        show_record(options, answer.document, ("name", "concept_tags", "document_id"))

    in_session(options, work)


def _update(
    ctx: typer.Context, texts: list[str], project: str, given: dict[str, Any], mask: FieldMask
) -> None:
    options = options_of(ctx)

    async def work(session: Session) -> int:
        found = [await document_id_of(session, text, project) for text in texts]
        if len(found) > 1:
            return await update_many(session, options, list(dict.fromkeys(found)), given, mask)
        record = Document(document_id=found[0], **given)
        request = UpdateDocumentRequest(document=record, update_mask=mask)
        answer = await session.call(session.stub(DocumentServiceStub).UpdateDocument, request)
        show_record(options, answer.document, _SHOWN, title="Updated")
        return ExitCode.OK

    raise typer.Exit(in_session(options, work))


@app.command()
def move(
    ctx: typer.Context,
    document: str = DOCUMENT,
    to: str = typer.Argument(metavar="TO", help="New folder/name."),
    project: str = _PROJECT,
) -> None:
    """Give a document another folder or name in its project."""
    options = options_of(ctx)
    folder, name = split_path(to)

    async def work(session: Session) -> None:
        request = MoveDocumentRequest(
            document_id=await document_id_of(session, document, project),
            relative_path=folder, name=name,
        )
        answer = await session.call(session.stub(DocumentServiceStub).MoveDocument, request)
        show_record(options, answer.document, _SHOWN, title="Moved")

    in_session(options, work)


@app.command()
def archive(
    ctx: typer.Context,
    document: str = DOCUMENT,
    project: str = _PROJECT,
    undo: bool = typer.Option(False, "--undo", help="Take it out of the archive (by id)."),
) -> None:
    """Archive a document, or take it out of the archive."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = ArchiveDocumentRequest(
            document_id=await document_id_of(session, document, project), unarchive=undo
        )
        answer = await session.call(session.stub(DocumentServiceStub).ArchiveDocument, request)
        show_record(options, answer.document, _SHOWN)

    in_session(options, work)


@app.command()
def delete(ctx: typer.Context, document: str = DOCUMENT, project: str = _PROJECT) -> None:
    """Move a document to the trash; `wm documents restore` takes it back."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = DeleteDocumentRequest(
            document_id=await document_id_of(session, document, project)
        )
        answer = await session.call(session.stub(DocumentServiceStub).DeleteDocument, request)
        show_record(options, answer.document, ("name", "status", "purge_after", "document_id"))

    in_session(options, work)


@app.command()
def restore(ctx: typer.Context, document: str = DOCUMENT, project: str = _PROJECT) -> None:
    """Take a document out of the trash."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = RestoreDocumentRequest(
            document_id=await trashed_document_id_of(session, document, project)
        )
        answer = await session.call(session.stub(DocumentServiceStub).RestoreDocument, request)
        show_record(options, answer.document, _SHOWN, title="Restored")

    in_session(options, work)


@app.command()
def link(
    ctx: typer.Context,
    document: str = DOCUMENT,
    kind: str = typer.Argument(help="document, requirement, note, source_code, ..."),
    target: str = typer.Argument(help="Id of the other object."),
    relation: str = typer.Option("relates_to", "--relation"),
    remove: bool = typer.Option(False, "--remove", help="Take the link away."),
    project: str = _PROJECT,
) -> None:
    """Link a document with another object, or take the link away."""
    options = options_of(ctx)
    wanted = ObjectLink(kind=kind, id=target, relation=relation)

    async def work(session: Session) -> None:
        stub = session.stub(DocumentServiceStub)
        document_id = await document_id_of(session, document, project)
        answer: Any
        if remove:
            gone = UnlinkObjectsRequest(document_id=document_id, links=[wanted])
            answer = await session.call(stub.UnlinkObjects, gone)
        else:
            request = LinkObjectsRequest(document_id=document_id, links=[wanted])
            answer = await session.call(stub.LinkObjects, request)
        show_list(options, "links", list(answer.links), ("kind", "id", "relation"))

    in_session(options, work)


@app.command()
def links(
    ctx: typer.Context,
    document: str = DOCUMENT,
    incoming: bool = typer.Option(False, "--incoming", help="Links that point to it."),
    project: str = _PROJECT,
    limit: int = LIMIT,
) -> None:
    """Links of a document."""
    options = options_of(ctx)
    way = (
        LinkDirection.LINK_DIRECTION_INCOMING if incoming else LinkDirection.LINK_DIRECTION_OUTGOING
    )

    async def work(session: Session) -> None:
        request = ListLinksRequest(
            kind="document", id=await document_id_of(session, document, project), direction=way
        )
        stub = session.stub(DocumentServiceStub)
        found = await session.pages(stub.ListLinks, request, "links", limit=limit)
        show_list(options, "links", found, ("source_kind", "source_id", "link"))

    in_session(options, work)


add_care(app)
