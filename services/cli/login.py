"""`wm login`: sign in at the local provider."""

from __future__ import annotations

import asyncio

import typer

from services.cli.options import Options, options_of

app = typer.Typer(add_completion=False)


@app.command()
def login(
    ctx: typer.Context,
    name: str = typer.Option("", "--name", help="Your name as others see it."),
) -> None:
    """Sign in: wm login --as you@example.com (local provider).

    The token is kept for you alone (0600) and renewed as long as you can read
    the secret in the data folder. Several people may be signed in; the last
    one is the current one, and --as chooses another for one command.
    """
    from services.cli.failures import usage

    options = options_of(ctx)
    if not options.as_email:
        raise usage("who are you?", remedy="wm login --as you@example.com")
    asyncio.run(_login(options, name))


async def _login(options: Options, name: str) -> None:
    from workspace.identity.v1.identity_service_pb2 import NormalizeIdentityRequest
    from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

    from services.cli.client import Session, open_channel, server_of
    from services.cli.output import as_json, print_json, print_line
    from services.cli.profile import Profiles
    from services.cli.signing_in import issue_token

    profiles = Profiles()
    server = server_of(options, profiles)
    channel = open_channel(server)
    try:
        entry = await issue_token(channel, options.data_dir, email=options.as_email, name=name)
        session = Session(channel=channel, server=server, login=entry, profiles=profiles)
        stub = session.stub(IdentityServiceStub)
        answer = await session.call(stub.NormalizeIdentity, NormalizeIdentityRequest())
        profiles.save(server, entry)
    finally:
        await channel.close()
    if options.json:
        print_json(as_json(answer.user))
        return
    print_line(f"Signed in to {server} as {options.as_email} ({answer.user.user_id}).")
    if answer.created:
        print_line(f"Your personal workspace is {answer.personal_workspace.account_id}.")
