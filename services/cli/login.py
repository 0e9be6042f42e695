"""`wm login`: sign in at the local provider, or with a token of another one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from services.cli.options import Options, options_of

if TYPE_CHECKING:
    from services.cli.client import Session
    from services.cli.profile import Login

app = typer.Typer(add_completion=False)


@app.command()
def login(
    ctx: typer.Context,
    name: str = typer.Option("", "--name", help="Your name as others see it."),
    token_stdin: bool = typer.Option(
        False, "--token-stdin", help="Read a token of your sign-in provider, or of `wm tokens`."
    ),
    token_file: Path | None = typer.Option(
        None, "--token-file", help="The same, from a file.", show_default=False
    ),
) -> None:
    """Sign in: wm login --as you@example.com (local provider).

    The token is kept for you alone (0600) and renewed as long as you can read
    the secret in the data folder. Several people may be signed in; the last
    one is the current one, and --as chooses another for one command.

    With another provider: your-provider-cli print-token | wm login --token-stdin.
    A token is never given on the command line, where others could read it.
    """
    from services.cli.bearers import read_token
    from services.cli.failures import usage

    options = options_of(ctx)
    token = read_token(stdin=token_stdin, file=token_file)
    if token and name:
        raise usage("--name is for the local provider", remedy="the provider says your name")
    if not token and not options.as_email:
        raise usage("who are you?", remedy="wm login --as you@example.com")
    asyncio.run(_login(options, name, token))


async def _login(options: Options, name: str, token: str) -> None:
    from services.cli.bearers import login_of
    from services.cli.client import Session, open_channel, reach
    from services.cli.output import as_json, print_json, print_line
    from services.cli.profile import Profiles
    from services.cli.signing_in import issue_token

    profiles = Profiles()
    reached = reach(options, profiles)
    server = reached.server
    channel = open_channel(reached)
    try:
        if token:
            entry = login_of(token, email=options.as_email)
        else:
            entry = await issue_token(channel, options.data_dir, email=options.as_email, name=name)
        session = Session(channel=channel, reached=reached, login=entry, profiles=profiles)
        user, workspace = await _who(session, entry)
        entry = replace(entry, user_id=user.user_id, email=entry.email or _label(entry, user))
        profiles.save(server, entry, ca_file=options.ca)
    finally:
        await channel.close()
    if options.json:
        print_json(as_json(user))
        return
    print_line(f"Signed in to {server} as {entry.email} ({user.user_id}).")
    if options.ca is not None:
        print_line(f"Its authority is in {options.ca.absolute()}: kept for this server.")
    if workspace:
        print_line(f"Your personal workspace is {workspace}.")


async def _who(session: Session, entry: Login) -> tuple[Any, str]:
    """The user, made at first sight, and the workspace made with it or ''."""
    from workspace.identity.v1.identity_service_pb2 import (
        GetSessionRequest,
        NormalizeIdentityRequest,
    )
    from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

    from services.tokens.machine import MACHINE_PREFIX

    stub = session.stub(IdentityServiceStub)
    if entry.token.startswith(MACHINE_PREFIX):  # acts as somebody, and signs nobody in
        seen = await session.call(stub.GetSession, GetSessionRequest(page_size=1))
        return seen.session.user, ""
    answer = await session.call(stub.NormalizeIdentity, NormalizeIdentityRequest())
    workspace = answer.personal_workspace.account_id if answer.created else ""
    return answer.user, str(workspace)


def _label(entry: Login, user: Any) -> str:
    """Under what the sign-in is kept: a machine token beside its person."""
    from services.tokens.machine import MACHINE_PREFIX

    who = str(user.email or user.user_id)
    return f"machine:{who}" if entry.token.startswith(MACHINE_PREFIX) else who
