"""`wm activity`: what was done, newest first."""

from __future__ import annotations

from typing import Any

import typer
from workspace.project.v1.history_service_pb2 import ListActivityRequest
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub

from services.cli.client import Session, in_session
from services.cli.enums import parse_moment
from services.cli.failures import usage
from services.cli.options import options_of
from services.cli.output import field_text, show_table
from services.cli.people import People
from services.cli.resolve import account_id_of, document_id_of, project_id_of

app = typer.Typer(add_completion=False)

_ACCOUNT = typer.Option("", "--account", help="Of this account and its projects.")


@app.command()
def activity(
    ctx: typer.Context,
    project: str = typer.Option("", "--project", "-p", help="Of this project and its documents."),
    document: str = typer.Option("", "--document", "-d", help="Of this document."),
    account: str = _ACCOUNT,
    since: str = typer.Option("", "--since", help="2026-12-31, or 7d ago."),
    until: str = typer.Option("", "--until", help="The same; before this time."),
    type_: str = typer.Option("", "--type", help="Types that begin so, for example project."),
    limit: int = typer.Option(50, "--limit", min=0, help="At most so many; 0: all."),
) -> None:
    """Who did what, newest first: wm activity --project Plans --since 7d

    With --json each event holds the records with their old and new values.
    """
    options = options_of(ctx)
    request = ListActivityRequest(type_prefix=type_)
    if since:
        request.since.FromDatetime(parse_moment("--since", since))
    if until:
        request.until.FromDatetime(parse_moment("--until", until))

    async def work(session: Session) -> None:
        await set_scope(session, request, project=project, document=document, account=account)
        stub = session.stub(HistoryServiceStub)
        found = await session.pages(stub.ListActivity, request, "events", limit=limit)
        people = People(session)
        if not options.json:
            await people.learn(event.actor_user_id for event in found)

        def row(event: Any) -> list[str]:
            who = people.name(event.actor_user_id) or event.actor_user_id
            who = who or event.actor_service or "-"
            return [field_text(event, "occurred_at"), event.type, who, event.resource]

        headings = ("time", "event", "who", "what")
        show_table(options, "events", found, headings, row, empty="nothing happened")

    in_session(options, work)


async def set_scope(
    session: Session, request: Any, *, project: str, document: str, account: str
) -> None:
    """Exactly one of project, document and account, by id or name."""
    if document and project and not account:  # folder/name in that project
        request.document_id = await document_id_of(session, document, project)
        return
    if sum(map(bool, (project, document, account))) != 1:
        raise usage("give exactly one of --project, --document and --account")
    if project:
        request.project_id = await project_id_of(session, project)
    elif document:
        request.document_id = await document_id_of(session, document)
    else:
        request.account_id = await account_id_of(session, account)
