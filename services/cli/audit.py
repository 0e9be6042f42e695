"""`wm audit`: whether the history is whole."""

from __future__ import annotations

import typer
from workspace.project.v1.history_service_pb2 import VerifyActivityRequest
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub

from services.cli.activity import set_scope
from services.cli.client import Session, in_session
from services.cli.exit_codes import ExitCode
from services.cli.options import options_of
from services.cli.output import as_json, counted, print_json, print_line, print_rows

app = typer.Typer(
    add_completion=False, no_args_is_help=True,
    help="The audit chain: every change is in the history, and nobody touched it.",
)

_SECONDS = 600.0


@app.callback()
def audit() -> None:
    """Keeps `verify` a word of its own."""


@app.command()
def verify(
    ctx: typer.Context,
    project: str = typer.Option("", "--project", "-p", help="The chain of this project."),
    document: str = typer.Option("", "--document", "-d", help="The chain of this document."),
    account: str = typer.Option("", "--account", help="The chain of this account."),
) -> None:
    """Recompute a chain from its beginning: exit code 0 intact, 1 broken."""
    options = options_of(ctx)
    request = VerifyActivityRequest()

    async def work(session: Session) -> bool:
        await set_scope(session, request, project=project, document=document, account=account)
        stub = session.stub(HistoryServiceStub)
        answer = await session.call(stub.VerifyActivity, request, timeout=_SECONDS)
        if options.json:
            print_json(as_json(answer))
            return bool(answer.intact)
        seen = counted(answer.verified_count, "event")
        print_line(f"intact: {seen} verified" if answer.intact else f"BROKEN: {seen} looked at")
        rows = [[str(f.partition_sequence), f.event_id, f.text] for f in answer.faults]
        print_rows(("sequence", "event_id", "fault"), rows)
        return bool(answer.intact)

    if not in_session(options, work):
        raise typer.Exit(ExitCode.FAILED)
