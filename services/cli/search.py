"""`wm search`: documents by their words."""

from __future__ import annotations

from typing import Any

import typer
from workspace.project.v1.document_service_pb2 import SearchDocumentsRequest
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub

from services.cli.client import Session, in_session
from services.cli.options import options_of
from services.cli.output import field_text, show_table
from services.cli.people import People
from services.cli.resolve import account_id_of, project_id_of, team_id_of

app = typer.Typer(add_completion=False)


@app.command()
def search(
    ctx: typer.Context,
    words: list[str] = typer.Argument(metavar="WORDS", help="All of them must occur."),
    project: str = typer.Option("", "--project", "-p", help="Only in this project."),
    account: str = typer.Option("", "--account", help="Only in projects of this account."),
    team: str = typer.Option("", "--team", help="Only in projects of this team."),
    limit: int = typer.Option(50, "--limit", min=0, help="At most so many; 0: all."),
) -> None:
    """Find documents by words of name, title, tags and summary.

    Words are whole and without case; of the last one the beginning is enough.
    """
    options = options_of(ctx)
    request = SearchDocumentsRequest(query=" ".join(words))

    async def work(session: Session) -> None:
        if project:
            request.project_id = await project_id_of(session, project)
        if account:
            request.account_id = await account_id_of(session, account)
        if team:
            request.team_id = await team_id_of(session, team)
        stub = session.stub(DocumentServiceStub)
        found = await session.pages(stub.SearchDocuments, request, "documents", limit=limit)
        people = People(session)
        if not options.json:
            await people.learn(document.project_id for document in found)

        def row(document: Any) -> list[str]:
            path = "/".join(filter(None, (document.relative_path, document.name)))
            project = people.name(document.project_id) or document.project_id
            return [
                project, path, document.title, field_text(document, "concept_tags"),
                document.document_id,
            ]

        headings = ("project", "path", "title", "tags", "document_id")
        show_table(options, "documents", found, headings, row, empty="nothing found")

    in_session(options, work)
