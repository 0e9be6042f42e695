"""`wm whoami`: the session of the caller."""

from __future__ import annotations

import typer
from workspace.identity.v1.identity_service_pb2 import GetSessionRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from services.cli.client import Session, in_session
from services.cli.enums import enum_word
from services.cli.options import Options, options_of
from services.cli.output import as_json, field_text, print_json, print_line

app = typer.Typer(add_completion=False)


@app.command()
def whoami(ctx: typer.Context) -> None:
    """Who you are here: user, accounts, teams."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        stub = session.stub(IdentityServiceStub)
        answer = await session.call(stub.GetSession, GetSessionRequest())
        _show(options, answer.session, session.server)

    in_session(options, work)


def _show(options: Options, session: object, server: str) -> None:
    from workspace.identity.v1.session_pb2 import SessionContext

    assert isinstance(session, SessionContext)
    if options.json:
        print_json(as_json(session))
        return
    user = session.user
    print_line(f"{user.name} <{user.email}>  {user.user_id}  at {server}")
    if session.is_platform_admin:
        print_line("  platform admin")
    for entry in session.accounts:
        role = enum_word(entry.member.DESCRIPTOR.fields_by_name["role"].enum_type, entry.member.role)
        print_line(f"  account {entry.account.name}  {role}  {entry.account.account_id}")
    for team in session.teams:
        print_line(f"  team    {team.team.name}  {field_text(team.member, 'role')}  {team.team.team_id}")
    print_line(f"  {len(session.projects)} projects{' or more' if session.next_page_token else ''}")
