"""`wm preview`: who would gain and lose what, before anything is changed."""

from __future__ import annotations

from typing import Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.common.v1.permission_pb2 import Permission, PermissionPreset
from workspace.identity.v1.account_pb2 import AccountMember, AccountRole, MemberStatus
from workspace.identity.v1.account_service_pb2 import (
    AddAccountMemberRequest,
    RemoveAccountMemberRequest,
    UpdateAccountMemberRequest,
)
from workspace.identity.v1.membership_change_pb2 import (
    DisableUserChange,
    ProposedMembershipChange,
)
from workspace.identity.v1.team_pb2 import TeamMember, TeamRole
from workspace.identity.v1.team_service_pb2 import (
    AddTeamMemberRequest,
    RemoveTeamMemberRequest,
    UpdateTeamMemberRequest,
)
from workspace.project.v1.grant_service_pb2 import (
    CreateGrantRequest,
    PreviewAccessChangeRequest,
    PreviewMembershipChangeRequest,
    RevokeGrantRequest,
)
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.project_service_pb2 import AssignProjectRequest

from services.cli.arguments import PROJECT
from services.cli.client import Session, in_session
from services.cli.enums import parse_enum, parse_enums, parse_time
from services.cli.failures import usage
from services.cli.grant_targets import aim, grant_id_of
from services.cli.homes import own_workspace
from services.cli.options import Options, options_of
from services.cli.output import as_json, counted, print_json, print_line, print_rows, words_of
from services.cli.people import People
from services.cli.resolve import account_id_of, is_id, project_id_of, team_id_of, user_id_of

app = typer.Typer(
    add_completion=False, no_args_is_help=True,
    help="Try a change of access: who would gain and lose what. Nothing is written.",
)

_ACCOUNT = typer.Option("", "--account", help="Account, by id or name.")
_TEAM = typer.Option("", "--team", help="Team, by id or name.")


@app.command()
def grant(
    ctx: typer.Context,
    project: str = PROJECT,
    to: str = typer.Argument(metavar="TO", help="E-mail or user id; team:NAME; account:NAME."),
    role: str = typer.Argument("", metavar="[PRESET]", help="viewer ... owner."),
    permission: list[str] = typer.Option([], "--permission", "-p", help="Single right."),
    expires: str = typer.Option("", "--expires", help="2026-12-31, or 7d from now."),
) -> None:
    """What `wm grants give` would do."""
    if bool(role) == bool(permission):
        raise usage("give a preset or --permission", remedy="wm preview grant Plans ann@x.y writer")
    preset: Any = parse_enum("PRESET", PermissionPreset.DESCRIPTOR, role)
    rights: Any = parse_enums("--permission", Permission.DESCRIPTOR, permission)
    change = CreateGrantRequest(preset=preset, permissions=rights)
    if expires:
        change.expires_at.FromDatetime(parse_time("--expires", expires))

    async def request(session: Session) -> PreviewAccessChangeRequest:
        change.project_id = await project_id_of(session, project)
        await aim(session, change, to)
        return PreviewAccessChangeRequest(project_id=change.project_id, create_grant=change)

    _on_project(ctx, request)


@app.command()
def revoke(
    ctx: typer.Context,
    project: str = PROJECT,
    which: str = typer.Argument(metavar="GRANT", help="Grant id, or to whom it was given."),
) -> None:
    """What `wm grants revoke` would do."""

    async def request(session: Session) -> PreviewAccessChangeRequest:
        project_id = await project_id_of(session, project)
        change = RevokeGrantRequest(
            project_id=project_id, grant_id=await grant_id_of(session, project_id, which)
        )
        return PreviewAccessChangeRequest(project_id=project_id, revoke_grant=change)

    _on_project(ctx, request)


@app.command()
def move(
    ctx: typer.Context,
    project: str = PROJECT,
    account: str = _ACCOUNT,
    team: str = _TEAM,
    private: bool = typer.Option(False, "--private", help="To your personal workspace."),
    keep_grant: list[str] = typer.Option([], "--keep-grant", help="Grant id that stays."),
    restricted: bool | None = typer.Option(None, "--restricted/--open"),
) -> None:
    """What `wm projects assign` would do."""
    if sum(map(bool, (account, team, private))) != 1:
        raise usage("give exactly one of --account, --team and --private")

    async def request(session: Session) -> PreviewAccessChangeRequest:
        change = AssignProjectRequest(
            project_id=await project_id_of(session, project),
            keep_grants=keep_grant, restricted=restricted,
        )
        if account:
            change.account_id = await account_id_of(session, account)
        elif team:
            change.team_id = await team_id_of(session, team)
        else:
            change.workspace_id = await own_workspace(session)
        return PreviewAccessChangeRequest(project_id=change.project_id, assign_project=change)

    _on_project(ctx, request)


@app.command()
def restrict(
    ctx: typer.Context,
    project: str = PROJECT,
    open_: bool = typer.Option(False, "--open", help="What `wm projects open` would do."),
) -> None:
    """What `wm projects restrict` would do."""

    async def request(session: Session) -> PreviewAccessChangeRequest:
        project_id = await project_id_of(session, project)
        return PreviewAccessChangeRequest(project_id=project_id, restricted=not open_)

    _on_project(ctx, request)


@app.command()
def member(
    ctx: typer.Context,
    who: str = typer.Argument(metavar="WHO", help="User id, e-mail address, or `me`."),
    account: str = _ACCOUNT,
    team: str = _TEAM,
    role: str = typer.Option("", "--role", help="Give this role (adds whoever is no member)."),
    add: bool = typer.Option(False, "--add", help="With --role: is no member yet."),
    remove: bool = typer.Option(False, "--remove", help="End the membership."),
    suspend: bool = typer.Option(False, "--suspend", help="Suspend the member."),
    disable: bool = typer.Option(False, "--disable", help="Disable the user (platform admins)."),
    project: str = typer.Option("", "--project", help="Look at this project only: who there."),
) -> None:
    """On which projects a person would gain or lose what.

    wm preview member bob@example.com --account Client --remove
    """
    options = options_of(ctx)
    if sum(map(bool, (role, remove, suspend, disable))) != 1:
        raise usage("give exactly one of --role, --remove, --suspend and --disable")
    if (bool(account) + bool(team)) != (0 if disable else 1):
        raise usage("give exactly one of --account and --team", remedy="--disable needs neither")
    verb = "add" if add else "role" if role else "remove" if remove else "suspend"

    async def work(session: Session) -> None:
        change = ProposedMembershipChange()
        if disable:
            user_id = await user_id_of(session, who)
            change.disable_user.CopyFrom(DisableUserChange(user_id=user_id))
        elif account:
            await _in_account(session, change, account, who, role, verb)
        else:
            await _in_team(session, change, team, who, role, verb)
        if project:
            project_id = await project_id_of(session, project)
            request = PreviewAccessChangeRequest(project_id=project_id, membership_change=change)
            await _show(session, options, request, by="user_id")
        else:
            whole = PreviewMembershipChangeRequest(change=change)
            await _show(session, options, whole, by="project_id")

    in_session(options, work)


async def _in_account(
    session: Session, change: Any, account: str, who: str, role: str, verb: str
) -> None:
    account_id = await account_id_of(session, account)
    number: Any = parse_enum("--role", AccountRole.DESCRIPTOR, role)
    if verb == "add":
        added = AddAccountMemberRequest(account_id=account_id, role=number)
        _name(added, who)
        change.add_account_member.CopyFrom(added)
        return
    user_id = await user_id_of(session, who, account_id=account_id)
    if verb == "remove":
        gone = RemoveAccountMemberRequest(account_id=account_id, user_id=user_id)
        change.remove_account_member.CopyFrom(gone)
        return
    record = AccountMember(account_id=account_id, user_id=user_id, role=number)
    change.update_account_member.CopyFrom(
        UpdateAccountMemberRequest(member=record, update_mask=_mask(record, verb))
    )


async def _in_team(
    session: Session, change: Any, team: str, who: str, role: str, verb: str
) -> None:
    team_id = await team_id_of(session, team)
    number: Any = parse_enum("--role", TeamRole.DESCRIPTOR, role)
    if verb == "add":
        added = AddTeamMemberRequest(team_id=team_id, role=number)
        _name(added, who)
        change.add_team_member.CopyFrom(added)
        return
    user_id = await _team_member_id(session, team_id, who)
    if verb == "remove":
        change.remove_team_member.CopyFrom(
            RemoveTeamMemberRequest(team_id=team_id, user_id=user_id)
        )
        return
    record = TeamMember(team_id=team_id, user_id=user_id, role=number)
    change.update_team_member.CopyFrom(
        UpdateTeamMemberRequest(member=record, update_mask=_mask(record, verb))
    )


async def _team_member_id(session: Session, team_id: str, who: str) -> str:
    from services.cli.resolve import team_member_of

    return who if is_id("u", who) else str((await team_member_of(session, team_id, who)).user_id)


def _name(request: Any, who: str) -> None:
    if is_id("u", who):
        request.user_id = who
    else:
        request.email = who


def _mask(record: Any, verb: str) -> FieldMask:
    if verb == "suspend":
        record.status = MemberStatus.MEMBER_STATUS_SUSPENDED
        return FieldMask(paths=["status"])
    return FieldMask(paths=["role"])


def _on_project(ctx: typer.Context, make: Any) -> None:
    options = options_of(ctx)

    async def work(session: Session) -> None:
        await _show(session, options, await make(session), by="user_id")

    in_session(options, work)


async def _show(session: Session, options: Options, request: Any, *, by: str) -> None:
    """All pages; a page may be empty and still have a next one."""
    stub = session.stub(GrantServiceStub)
    of_project = isinstance(request, PreviewAccessChangeRequest)
    method = stub.PreviewAccessChange if of_project else stub.PreviewMembershipChange
    entries: list[Any] = []
    sums = dict.fromkeys(("gaining_count", "losing_count", "hidden_count"), 0)
    request.page_size = 500
    while True:
        answer = await session.call(method, request)
        entries += answer.entries
        for name in sums:
            sums[name] += getattr(answer, name)
        request.page_token = answer.next_page_token
        if not answer.next_page_token:
            break
    if options.json:
        print_json({"entries": [as_json(entry) for entry in entries], **sums})
        return
    await _print(session, entries, sums, by)


async def _print(session: Session, entries: list[Any], sums: dict[str, int], by: str) -> None:
    people = People(session)
    await people.learn(getattr(entry, by) for entry in entries)
    rows = [
        [
            people.name(getattr(entry, by)), words_of(entry.gained), words_of(entry.lost),
            getattr(entry, by),
        ]
        for entry in entries
    ]
    if rows:
        print_rows(("name", "gains", "loses", by), rows)
    noun = "user" if by == "user_id" else "project"
    gaining, losing = counted(sums["gaining_count"], noun), counted(sums["losing_count"], noun)
    if noun == "user":
        print_line(f"{gaining} would gain, {losing} would lose rights. Nothing was changed.")
    else:
        print_line(f"Gains on {gaining}, losses on {losing}. Nothing was changed.")
    if sums["hidden_count"]:
        hidden = counted(sums["hidden_count"], noun)
        print_line(f"Counted in this, but not shown: {hidden} that you may not see.")
