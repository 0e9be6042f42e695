"""`wm whoami`: the session of the caller."""

from __future__ import annotations

import typer
from workspace.identity.v1.identity_service_pb2 import GetSessionRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.identity.v1.session_pb2 import SessionContext

from services.cli.client import Session, in_session
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


def _show(options: Options, session: SessionContext, server: str) -> None:
    if options.json:
        print_json(as_json(session))
        return
    user = session.user
    print_line(f"{user.name} <{user.email}>  {user.user_id}  at {server}")
    if session.is_platform_admin:
        print_line("  platform admin")
    for entry in session.accounts:
        role = field_text(entry.member, "role")
        print_line(f"  account {entry.account.name}  {role}  {entry.account.account_id}")
    for member_of in session.teams:
        team, role = member_of.team, field_text(member_of.member, "role")
        print_line(f"  team    {team.name}  {role}  {team.team_id}")
    more = " or more" if session.next_page_token else ""
    print_line(f"  {len(session.projects)} projects{more}")
