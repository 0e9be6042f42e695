"""`wm webhooks`: signed posts of events to an address."""

from __future__ import annotations

from typing import Any

import typer
from workspace.project.v1.history_service_pb2 import (
    CreateWebhookRequest,
    DeleteWebhookRequest,
    ListWebhooksRequest,
)
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub

from services.cli.arguments import LIMIT
from services.cli.client import Session, in_session
from services.cli.failures import usage
from services.cli.options import options_of
from services.cli.output import as_json, print_json, print_line, show_list, show_record
from services.cli.resolve import account_id_of, project_id_of

app = typer.Typer(
    add_completion=False, no_args_is_help=True,
    help="Webhooks: events as signed POST requests to an HTTPS address.",
)

_COLUMNS = ("url", "events=event_types", "status", "description", "webhook_id")
_SHOWN = ("url", "event_types", "status", "description", "document_ready_hold", "account_id",
          "project_id", "webhook_id")  # fmt: skip
_ACCOUNT = typer.Option("", "--account", help="Events of this account.")
_PROJECT = typer.Option("", "--project", "-p", help="Events of this project.")


@app.command()
def create(
    ctx: typer.Context,
    url: str = typer.Argument(metavar="URL", help="https://..."),
    account: str = _ACCOUNT,
    project: str = _PROJECT,
    type_: list[str] = typer.Option(
        [], "--type", help="Only these events, document.created or document.*; repeatable."
    ),
    description: str = typer.Option("", "--description"),
    hold: bool = typer.Option(
        False, "--hold", help="Hold uploads in `scanning` until the receiver releases them."
    ),
) -> None:
    """Send events to an address; the key of the signatures is shown this one time."""
    options = options_of(ctx)
    request = CreateWebhookRequest(
        url=url, event_types=type_, description=description, document_ready_hold=hold
    )

    async def work(session: Session) -> None:
        await _aim(session, request, account, project)
        stub = session.stub(HistoryServiceStub)
        answer = await session.call(stub.CreateWebhook, request)
        if options.json:
            secret = answer.signing_secret
            print_json({"webhook": as_json(answer.webhook), "signing_secret": secret})
            return
        show_record(options, answer.webhook, _SHOWN, title="Created")
        print_line("The key of the signatures, shown this one time:")
        print_line(answer.signing_secret)

    in_session(options, work)


@app.command("list")
def list_(
    ctx: typer.Context, account: str = _ACCOUNT, project: str = _PROJECT, limit: int = LIMIT
) -> None:
    """Webhooks of an account or a project."""
    options = options_of(ctx)
    request = ListWebhooksRequest()

    async def work(session: Session) -> None:
        await _aim(session, request, account, project)
        stub = session.stub(HistoryServiceStub)
        found = await session.pages(stub.ListWebhooks, request, "webhooks", limit=limit)
        show_list(options, "webhooks", found, _COLUMNS)

    in_session(options, work)


@app.command()
def delete(
    ctx: typer.Context,
    webhook: str = typer.Argument(metavar="WEBHOOK", help="Webhook id of `wm webhooks list`."),
) -> None:
    """End a webhook; nothing more is sent."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        stub = session.stub(HistoryServiceStub)
        request = DeleteWebhookRequest(webhook_id=webhook)
        answer = await session.call(stub.DeleteWebhook, request)
        show_record(options, answer.webhook, _SHOWN, title="Ended")

    in_session(options, work)


async def _aim(session: Session, request: Any, account: str, project: str) -> None:
    if bool(account) == bool(project):
        raise usage("give exactly one of --account and --project")
    if account:
        request.account_id = await account_id_of(session, account)
    else:
        request.project_id = await project_id_of(session, project)
