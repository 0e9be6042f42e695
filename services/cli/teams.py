"""`wm teams`: teams and their members."""

from __future__ import annotations

from typing import Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.identity.v1.account_pb2 import MemberStatus
from workspace.identity.v1.team_pb2 import Team, TeamMember, TeamRole
from workspace.identity.v1.team_service_pb2 import (
    AddTeamMemberRequest,
    ArchiveTeamRequest,
    CreateTeamRequest,
    GetTeamRequest,
    ImportLegacyTeamRequest,
    LegacyTeamMember,
    ListTeamMembersRequest,
    ListTeamsRequest,
    RemoveTeamMemberRequest,
    TransferRootAdminRequest,
    UpdateTeamMemberRequest,
    UpdateTeamRequest,
)
from workspace.identity.v1.team_service_pb2_grpc import TeamServiceStub

from services.cli.arguments import LIMIT, MEMBER, TEAM, mask_of
from services.cli.client import Session, in_session
from services.cli.enums import parse_enum
from services.cli.homes import own_workspace
from services.cli.options import options_of
from services.cli.output import as_json, print_json, print_rows, show_list, show_record
from services.cli.resolve import (
    account_id_of,
    is_id,
    team_id_of,
    team_member_of,
    user_id_of,
)

app = typer.Typer(
    add_completion=False, no_args_is_help=True,
    help="Teams and who is in them.",
)

_COLUMNS = ("name", "scope_type", "status", "account_id", "team_id")
_MEMBERS = ("name", "email", "role", "status", "guest", "user_id")
_MEMBER_FIELDS = (*_MEMBERS, "team_id")
_ACCOUNT_OPTION = typer.Option("", "--account", help="Account, by id or name.")


@app.command("list")
def list_(ctx: typer.Context, account: str = _ACCOUNT_OPTION, limit: int = LIMIT) -> None:
    """Teams you see."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = ListTeamsRequest()
        if account:
            request.account_id = await account_id_of(session, account)
        stub = session.stub(TeamServiceStub)
        found = await session.pages(stub.ListTeams, request, "teams", limit=limit)
        show_list(options, "teams", found, _COLUMNS)

    in_session(options, work)


@app.command()
def create(
    ctx: typer.Context,
    name: str,
    account: str = _ACCOUNT_OPTION,
    description: str = typer.Option("", "--description"),
    parent: str = typer.Option("", "--parent", help="Team above it, by id or name."),
) -> None:
    """Create a team in an account, else in your personal workspace."""
    options = options_of(ctx)
    request = CreateTeamRequest(name=name, description=description)

    async def work(session: Session) -> None:
        if account:
            request.account_id = await account_id_of(session, account)
        else:
            request.workspace_id = await own_workspace(session)
        if parent:
            request.parent_team_id = await team_id_of(session, parent)
        answer = await session.call(session.stub(TeamServiceStub).CreateTeam, request)
        show_record(options, answer.team, title="Created")

    in_session(options, work)


@app.command()
def show(ctx: typer.Context, team: str = TEAM) -> None:
    """One team."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = GetTeamRequest(team_id=await team_id_of(session, team))
        answer = await session.call(session.stub(TeamServiceStub).GetTeam, request)
        show_record(options, answer.team)

    in_session(options, work)


@app.command()
def update(
    ctx: typer.Context,
    team: str = TEAM,
    name: str | None = typer.Option(None, "--name"),
    description: str | None = typer.Option(None, "--description"),
) -> None:
    """Change a team."""
    options = options_of(ctx)
    given, mask = mask_of({"name": name, "description": description})

    async def work(session: Session) -> None:
        record = Team(team_id=await team_id_of(session, team), **given)
        request = UpdateTeamRequest(team=record, update_mask=mask)
        answer = await session.call(session.stub(TeamServiceStub).UpdateTeam, request)
        show_record(options, answer.team, title="Updated")

    in_session(options, work)


@app.command()
def archive(ctx: typer.Context, team: str = TEAM) -> None:
    """Archive a team; its grants give nothing from then on."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = ArchiveTeamRequest(team_id=await team_id_of(session, team))
        answer = await session.call(session.stub(TeamServiceStub).ArchiveTeam, request)
        show_record(options, answer.team, _COLUMNS, title="Archived")

    in_session(options, work)


@app.command()
def members(ctx: typer.Context, team: str = TEAM, limit: int = LIMIT) -> None:
    """Who is in a team."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = ListTeamMembersRequest(team_id=await team_id_of(session, team))
        stub = session.stub(TeamServiceStub)
        found = await session.pages(stub.ListTeamMembers, request, "members", limit=limit)
        show_list(options, "members", found, _MEMBERS)

    in_session(options, work)


@app.command()
def add_member(
    ctx: typer.Context,
    team: str = TEAM,
    who: str = MEMBER,
    role: str = typer.Option("member", "--role", help="admin, member or viewer."),
    guest: bool = typer.Option(False, "--guest", help="Someone outside the team's account."),
) -> None:
    """Take a known user in."""
    options = options_of(ctx)
    number: Any = parse_enum("--role", TeamRole.DESCRIPTOR, role)
    request = AddTeamMemberRequest(role=number, guest=guest)
    if is_id("u", who):
        request.user_id = who
    else:
        request.email = who

    async def work(session: Session) -> None:
        request.team_id = await team_id_of(session, team)
        answer = await session.call(session.stub(TeamServiceStub).AddTeamMember, request)
        show_record(options, answer.member, _MEMBER_FIELDS, title="Added")

    in_session(options, work)


def _change(ctx: typer.Context, team: str, who: str, path: str, **changed: Any) -> None:
    options = options_of(ctx)

    async def work(session: Session) -> None:
        team_id = await team_id_of(session, team)
        found = await team_member_of(session, team_id, who)
        record = TeamMember(team_id=team_id, user_id=found.user_id, etag=found.etag, **changed)
        request = UpdateTeamMemberRequest(member=record, update_mask=FieldMask(paths=[path]))
        answer = await session.call(session.stub(TeamServiceStub).UpdateTeamMember, request)
        show_record(options, answer.member, _MEMBER_FIELDS, title="Changed")

    in_session(options, work)


@app.command()
def set_role(
    ctx: typer.Context,
    team: str = TEAM,
    who: str = MEMBER,
    role: str = typer.Argument(help="admin, member or viewer."),
) -> None:
    """Give a member another role."""
    _change(ctx, team, who, "role", role=parse_enum("ROLE", TeamRole.DESCRIPTOR, role))


@app.command()
def suspend_member(ctx: typer.Context, team: str = TEAM, who: str = MEMBER) -> None:
    """Mute what the team gives a member."""
    _change(ctx, team, who, "status", status=MemberStatus.MEMBER_STATUS_SUSPENDED)


@app.command()
def activate_member(ctx: typer.Context, team: str = TEAM, who: str = MEMBER) -> None:
    """Take the suspension of a member back."""
    _change(ctx, team, who, "status", status=MemberStatus.MEMBER_STATUS_ACTIVE)


@app.command()
def remove_member(ctx: typer.Context, team: str = TEAM, who: str = MEMBER) -> None:
    """End a membership; the record of it stays."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        team_id = await team_id_of(session, team)
        found = await team_member_of(session, team_id, who)
        request = RemoveTeamMemberRequest(team_id=team_id, user_id=found.user_id)
        answer = await session.call(session.stub(TeamServiceStub).RemoveTeamMember, request)
        show_record(options, answer.member, _MEMBER_FIELDS, title="Removed")

    in_session(options, work)


@app.command()
def transfer_root(ctx: typer.Context, team: str = TEAM, who: str = MEMBER) -> None:
    """Make another member the root administrator."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        team_id = await team_id_of(session, team)
        member = await team_member_of(session, team_id, who)
        request = TransferRootAdminRequest(team_id=team_id, new_root_admin_user_id=member.user_id)
        answer = await session.call(session.stub(TeamServiceStub).TransferRootAdmin, request)
        fields = ("name", "root_admin_user_id", "team_id")
        show_record(options, answer.team, fields, title="Transferred")

    in_session(options, work)


@app.command()
def import_legacy(
    ctx: typer.Context,
    legacy_id: str = typer.Argument(metavar="LEGACY_ID", help="Id in the old system; once only."),
    name: str = typer.Argument(metavar="NAME"),
    root: str = typer.Option(..., "--root", help="User id or e-mail of the root administrator."),
    member: list[str] = typer.Option(
        [], "--member", "-m", metavar="EMAIL[:ROLE]", help="Whom to invite; repeatable."
    ),
    description: str = typer.Option("", "--description"),
) -> None:
    """Import a standalone team of old; all are invited (platform admins)."""
    options = options_of(ctx)
    request = ImportLegacyTeamRequest(
        legacy_id=legacy_id, name=name, description=description,
        members=[_legacy_member(each) for each in member],
    )

    async def work(session: Session) -> None:
        request.root_admin_user_id = await user_id_of(session, root)
        answer = await session.call(session.stub(TeamServiceStub).ImportLegacyTeam, request)
        if options.json:
            print_json(as_json(answer))
            return
        show_record(options, answer.team, _COLUMNS, title="Imported")
        invited = answer.root_admin_invitation.invitation_id
        rows = [["root administrator", "invited", invited]]
        rows += [_legacy_row(result) for result in answer.results]
        print_rows(("who", "outcome", "invitation_id"), rows)

    in_session(options, work)


def _legacy_member(text: str) -> LegacyTeamMember:
    email, _, role = text.partition(":")
    number: Any = parse_enum("--member", TeamRole.DESCRIPTOR, role or "member")
    return LegacyTeamMember(email=email, role=number)


def _legacy_row(result: Any) -> list[str]:
    if result.WhichOneof("outcome") == "error":
        return [result.email, result.error.message, ""]
    return [result.email, "invited", result.invitation.invitation_id]
