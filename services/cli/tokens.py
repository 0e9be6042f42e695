"""`wm tokens`: machine tokens for automation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import typer
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.identity_service_pb2 import (
    CreateMachineTokenRequest,
    ListMachineTokensRequest,
    RevokeMachineTokenRequest,
)
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.identity.v1.machine_token_pb2 import MachineTokenStatus

from services.cli.arguments import LIMIT
from services.cli.client import Session, in_session
from services.cli.enums import enum_words, parse_enums, parse_time
from services.cli.options import options_of
from services.cli.output import as_json, print_json, print_line, show_list, show_record
from services.cli.resolve import account_id_of, pick, project_id_of

app = typer.Typer(
    add_completion=False, no_args_is_help=True,
    help="Machine tokens: act as you, cut to a scope, until they expire or are revoked.",
)

_COLUMNS = (
    "name", "status", "permissions", "project_ids", "account_ids", "expires_at", "last_used_at",
    "token_id",
)
_RIGHTS = ", ".join(enum_words(Permission.DESCRIPTOR))


@app.command()
def create(
    ctx: typer.Context,
    name: str = typer.Argument(metavar="NAME", help="What it is for, for example nightly-export."),
    permission: list[str] = typer.Option(
        [], "--permission", "-p", help=f"The most on a project: {_RIGHTS}. Default: yours."
    ),
    project: list[str] = typer.Option(
        [], "--project", help="Only this project; repeatable. Default: all of yours."
    ),
    account: list[str] = typer.Option(
        [], "--account", help="Only this account; repeatable. Default: all of yours."
    ),
    expires: str = typer.Option("90d", "--expires", help="7d, or 2026-12-31; at most 366 days."),
) -> None:
    """Make a token; it is shown this one time.

    Use it with `wm login --token-stdin`, or as WM_TOKEN. It never makes another
    token, links identities or acts as platform admin.
    """
    options = options_of(ctx)
    rights: Any = parse_enums("--permission", Permission.DESCRIPTOR, permission)
    request = CreateMachineTokenRequest(name=name, permissions=rights)
    lifetime = parse_time("--expires", expires) - datetime.now(UTC)
    request.lifetime.FromSeconds(round(lifetime.total_seconds()))

    async def work(session: Session) -> None:
        request.project_ids.extend([await project_id_of(session, each) for each in project])
        request.account_ids.extend([await account_id_of(session, each) for each in account])
        answer = await session.call(session.stub(IdentityServiceStub).CreateMachineToken, request)
        if options.json:
            print_json({"machine_token": as_json(answer.machine_token), "secret": answer.secret})
            return
        show_record(options, answer.machine_token, _COLUMNS, title="Made")
        print_line("The token, shown this one time:")
        print_line(answer.secret)

    in_session(options, work)


@app.command("list")
def list_(
    ctx: typer.Context,
    every: bool = typer.Option(False, "--all", help="Revoked and expired ones, too."),
    limit: int = LIMIT,
) -> None:
    """Your tokens, without their secrets."""
    options = options_of(ctx)
    request = ListMachineTokensRequest()
    if not every:
        request.status = MachineTokenStatus.MACHINE_TOKEN_STATUS_ACTIVE

    async def work(session: Session) -> None:
        stub = session.stub(IdentityServiceStub)
        found = await session.pages(stub.ListMachineTokens, request, "machine_tokens", limit=limit)
        show_list(options, "machine_tokens", found, _COLUMNS)

    in_session(options, work)


@app.command()
def revoke(
    ctx: typer.Context,
    token: str = typer.Argument(metavar="TOKEN", help="Token id or name of `wm tokens list`."),
) -> None:
    """End a token at once."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        stub = session.stub(IdentityServiceStub)
        request = RevokeMachineTokenRequest(token_id=await _token_id(session, token))
        answer = await session.call(stub.RevokeMachineToken, request)
        show_record(options, answer.machine_token, _COLUMNS, title="Revoked")

    in_session(options, work)


async def _token_id(session: Session, text: str) -> str:
    if text.startswith("k_"):
        return text
    stub = session.stub(IdentityServiceStub)
    request = ListMachineTokensRequest(status=MachineTokenStatus.MACHINE_TOKEN_STATUS_ACTIVE)
    tokens = await session.pages(stub.ListMachineTokens, request, "machine_tokens")
    found = [each for each in tokens if each.name == text]
    return str(pick("token", text, found, lambda each: each.token_id).token_id)
