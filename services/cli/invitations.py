"""`wm invitations`: offer memberships and grants, and answer such offers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from workspace.common.v1.permission_pb2 import Permission, PermissionPreset
from workspace.identity.v1.account_pb2 import AccountCapability, AccountRole
from workspace.identity.v1.invitation_pb2 import InvitationStatus, InvitationTerms
from workspace.identity.v1.invitation_service_pb2 import (
    AcceptInvitationRequest,
    CreateInvitationRequest,
    DeclineInvitationRequest,
    GetInvitationRequest,
    ListInvitationsRequest,
    ResendInvitationRequest,
    RevokeInvitationRequest,
)
from workspace.identity.v1.invitation_service_pb2_grpc import InvitationServiceStub
from workspace.identity.v1.team_pb2 import TeamRole

from services.cli.arguments import LIMIT
from services.cli.bearers import read_secret
from services.cli.client import Session, in_session
from services.cli.enums import enum_words, parse_enum, parse_enums, parse_span, parse_time
from services.cli.failures import usage
from services.cli.options import Options, options_of
from services.cli.output import (
    as_json,
    field_text,
    print_json,
    print_line,
    show_record,
    show_table,
    words_of,
)
from services.cli.resolve import account_id_of, project_id_of, team_id_of
from services.model.permissions import preset_permissions

app = typer.Typer(
    add_completion=False, no_args_is_help=True,
    help="Invitations to an account, a team or a project: make them, answer them.",
)

_PRESETS = ", ".join(enum_words(PermissionPreset.DESCRIPTOR))
_SHOWN = (
    "target_type", "target_name", "target_id", "email", "anyone_with_link", "status", "note",
    "expires_at", "invited_by", "grant_id", "invitation_id",
)
_ACCOUNT = typer.Option("", "--account", help="Account, by id or name.")
_TEAM = typer.Option("", "--team", help="Team, by id or name.")
_PROJECT = typer.Option("", "--project", "-p", help="Project, by id or name.")
_INVITATION = typer.Argument(metavar="INVITATION", help="Invitation id of `wm invitations list`.")
_OPTIONAL = typer.Argument(
    "", metavar="[INVITATION]", help="Id of an invitation to you. Without it: by its token."
)
_TOKEN_STDIN = typer.Option(False, "--token-stdin", help="Read the token from standard input.")
_TOKEN_FILE = typer.Option(None, "--token-file", help="Read it from a file.", show_default=False)
_LIFETIME = typer.Option("", "--lifetime", help="How long the token works: 12h, 7d (default).")


@app.command()
def create(
    ctx: typer.Context,
    email: str = typer.Argument("", metavar="[EMAIL]", help="Whom; bound to this address."),
    account: str = _ACCOUNT,
    team: str = _TEAM,
    project: str = _PROJECT,
    role: str = typer.Option(
        "", "--role", help="Role in the account or team; of a project a preset. Default: viewer."
    ),
    permission: list[str] = typer.Option(
        [], "--permission", help="Right on the project or capability in the account; repeatable."
    ),
    guest: bool = typer.Option(False, "--guest", help="Into the team without the account."),
    link: bool = typer.Option(False, "--link", help="Whoever holds the token may accept, once."),
    to_team: str = typer.Option("", "--to-team", help="Offer the project to this team."),
    to_account: str = typer.Option("", "--to-account", help="Offer the project to this account."),
    expires: str = typer.Option("", "--expires", help="End of the grant: 2026-12-31 or 30d."),
    lifetime: str = _LIFETIME,
    note: str = typer.Option("", "--note", help="Words to the invited person."),
) -> None:
    """Invite: wm invitations create bob@example.com --project Plans --role writer

    The token is shown this one time. The invited person accepts with it, or,
    signed in with that address, without it: wm invitations list, accept ID.
    """
    if sum(map(bool, (account, team, project))) != 1:
        raise usage("give exactly one of --account, --team and --project")
    if sum(map(bool, (email, link, to_team, to_account))) != 1:
        raise usage("whom? give one of EMAIL, --link, --to-team and --to-account")
    options = options_of(ctx)
    terms = _terms(account, team, role, permission)
    terms.guest = guest
    if expires:
        terms.grant_expires_at.FromDatetime(parse_time("--expires", expires))
    request = CreateInvitationRequest(
        email=email, anyone_with_link=link, terms=terms, note=note
    )
    if lifetime:
        request.lifetime.FromTimedelta(parse_span("--lifetime", lifetime))

    async def work(session: Session) -> None:
        await _aim(session, request, account=account, team=team, project=project)
        # An id is taken as it is: the other account or team need not be visible.
        if to_team:
            request.grantee_team_id = await team_id_of(session, to_team)
        if to_account:
            request.grantee_account_id = await account_id_of(session, to_account)
        stub = session.stub(InvitationServiceStub)
        _show_made(options, await session.call(stub.CreateInvitation, request), "Invited")

    in_session(options, work)


@app.command("list")
def list_(
    ctx: typer.Context,
    account: str = _ACCOUNT,
    team: str = _TEAM,
    project: str = _PROJECT,
    to_team: str = typer.Option("", "--to-team", help="Offered to this team."),
    to_account: str = typer.Option("", "--to-account", help="Offered to this account."),
    status: str = typer.Option(
        "", "--status", help="pending, accepted, declined, revoked or expired. Default: any."
    ),
    limit: int = LIMIT,
) -> None:
    """Invitations to you; with --account, --team or --project those to it."""
    if sum(map(bool, (account, team, project, to_team, to_account))) > 1:
        raise usage("give at most one of --account, --team, --project, --to-team, --to-account")
    options = options_of(ctx)
    number: Any = parse_enum("--status", InvitationStatus.DESCRIPTOR, status)
    request = ListInvitationsRequest(status=number)

    async def work(session: Session) -> None:
        await _aim(session, request, account=account, team=team, project=project)
        if to_team:
            request.grantee_team_id = await team_id_of(session, to_team)
        if to_account:
            request.grantee_account_id = await account_id_of(session, to_account)
        if request.WhichOneof("filter") is None:
            request.mine = True
        stub = session.stub(InvitationServiceStub)
        found = await session.pages(stub.ListInvitations, request, "invitations", limit=limit)
        headings = ("to", "name", "gets", "whom", "status", "expires_at", "invitation_id")
        show_table(options, "invitations", found, headings, _row)

    in_session(options, work)


@app.command()
def show(ctx: typer.Context, invitation: str = _INVITATION) -> None:
    """One invitation, without its token."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        stub = session.stub(InvitationServiceStub)
        request = GetInvitationRequest(invitation_id=invitation)
        _show(options, (await session.call(stub.GetInvitation, request)).invitation, "")

    in_session(options, work)


@app.command()
def accept(
    ctx: typer.Context,
    invitation: str = _OPTIONAL,
    token_stdin: bool = _TOKEN_STDIN,
    token_file: Path | None = _TOKEN_FILE,
) -> None:
    """Accept by id, or by the token, which is asked for or read from a file.

    A token is never given on the command line, where others could read it.
    """
    _answer(ctx, AcceptInvitationRequest(), invitation, token_stdin, token_file, "Accepted")


@app.command()
def decline(
    ctx: typer.Context,
    invitation: str = _OPTIONAL,
    token_stdin: bool = _TOKEN_STDIN,
    token_file: Path | None = _TOKEN_FILE,
) -> None:
    """Say no, by id or by the token."""
    _answer(ctx, DeclineInvitationRequest(), invitation, token_stdin, token_file, "Declined")


@app.command()
def revoke(ctx: typer.Context, invitation: str = _INVITATION) -> None:
    """Take an invitation back that waits for an answer."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        stub = session.stub(InvitationServiceStub)
        request = RevokeInvitationRequest(invitation_id=invitation)
        answer = await session.call(stub.RevokeInvitation, request)
        _show(options, answer.invitation, "Revoked")

    in_session(options, work)


@app.command()
def resend(ctx: typer.Context, invitation: str = _INVITATION, lifetime: str = _LIFETIME) -> None:
    """Make a new token; the old one ends."""
    options = options_of(ctx)
    request = ResendInvitationRequest(invitation_id=invitation)
    if lifetime:
        request.lifetime.FromTimedelta(parse_span("--lifetime", lifetime))

    async def work(session: Session) -> None:
        stub = session.stub(InvitationServiceStub)
        _show_made(options, await session.call(stub.ResendInvitation, request), "Sent again")

    in_session(options, work)


def _answer(
    ctx: typer.Context, request: Any, invitation: str, stdin: bool, file: Path | None, done: str
) -> None:
    if invitation and (stdin or file):
        raise usage("give the id or the token, not both")
    if invitation and not invitation.startswith("i_"):
        raise usage(
            "that is no invitation id",
            remedy="a token is not for the command line: leave it out, and it is asked for",
        )
    options = options_of(ctx)
    if invitation:
        request.invitation_id = invitation
    else:
        request.token = read_secret("token", stdin=stdin, file=file)

    async def work(session: Session) -> None:
        stub = session.stub(InvitationServiceStub)
        accepts = isinstance(request, AcceptInvitationRequest)
        method = stub.AcceptInvitation if accepts else stub.DeclineInvitation
        _show(options, (await session.call(method, request)).invitation, done)

    in_session(options, work)


def _terms(account: str, team: str, role: str, permission: list[str]) -> InvitationTerms:
    if account:
        return InvitationTerms(
            account_role=parse_enum("--role", AccountRole.DESCRIPTOR, role or "viewer"),  # type: ignore[arg-type]
            account_permissions=parse_enums(  # type: ignore[arg-type]
                "--permission", AccountCapability.DESCRIPTOR, permission
            ),
        )
    if team:
        if permission:
            raise usage("--permission is for accounts and projects")
        return InvitationTerms(
            team_role=parse_enum("--role", TeamRole.DESCRIPTOR, role or "member")  # type: ignore[arg-type]
        )
    if role and permission:
        raise usage("give --role or --permission, not both", remedy=f"presets: {_PRESETS}")
    rights: Any = parse_enums("--permission", Permission.DESCRIPTOR, permission)
    preset = parse_enum("--role", PermissionPreset.DESCRIPTOR, role or "viewer")
    return InvitationTerms(permissions=rights or sorted(preset_permissions(preset)))


async def _aim(session: Session, request: Any, *, account: str, team: str, project: str) -> None:
    if account:
        request.account_id = await account_id_of(session, account)
    elif team:
        request.team_id = await team_id_of(session, team)
    elif project:
        request.project_id = await project_id_of(session, project)


def _row(invitation: Any) -> list[str]:
    whom = invitation.email or invitation.grantee_team_id or invitation.grantee_account_id
    return [
        field_text(invitation, "target_type"), invitation.target_name, _gets(invitation.terms),
        whom or "anyone with the token", field_text(invitation, "status"),
        field_text(invitation, "expires_at"), invitation.invitation_id,
    ]


def _gets(terms: Any) -> str:
    role = field_text(terms, "account_role") or field_text(terms, "team_role")
    guest = " (guest)" if terms.guest else ""
    return f"{role}{guest}" if role else words_of(terms.permissions)


def _show(options: Options, invitation: Any, title: str) -> None:
    gets = ("gets", _gets(invitation.terms))
    show_record(options, invitation, _SHOWN, title=title, more=[gets])


def _show_made(options: Options, answer: Any, title: str) -> None:
    if options.json:
        print_json({"invitation": as_json(answer.invitation), "token": answer.token})
        return
    _show(options, answer.invitation, title)
    print_line("The token, shown this one time (wm invitations accept asks for it):")
    print_line(answer.token)
