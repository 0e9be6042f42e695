"""`wm accounts`: application accounts and their members."""

from __future__ import annotations

from typing import Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.common.v1.classification_pb2 import Classification
from workspace.common.v1.visibility_pb2 import Visibility
from workspace.identity.v1.account_pb2 import (
    Account,
    AccountCapability,
    AccountMember,
    AccountRole,
    AccountStatus,
    MemberStatus,
)
from workspace.identity.v1.account_service_pb2 import (
    AddAccountMemberRequest,
    CreateAccountRequest,
    GetAccountRequest,
    ListAccountMembersRequest,
    ListAccountsRequest,
    RemoveAccountMemberRequest,
    SetAccountStatusRequest,
    UpdateAccountMemberRequest,
    UpdateAccountRequest,
)
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub

from services.cli.account_care import add_care
from services.cli.arguments import ACCOUNT, LIMIT, MEMBER, mask_of
from services.cli.client import Session, in_session
from services.cli.enums import parse_enum, parse_enums
from services.cli.options import options_of
from services.cli.output import show_list, show_record
from services.cli.resolve import account_id_of, account_member_of, is_id

app = typer.Typer(
    add_completion=False, no_args_is_help=True,
    help="Accounts: customers or workspaces, and who is in.",
)

_COLUMNS = ("name", "type", "status", "data_classification", "account_id")
_MEMBERS = ("name", "email", "role", "status", "permissions", "user_id")
_MEMBER_FIELDS = ("name", "email", "role", "status", "permissions", "user_id", "account_id")


@app.command("list")
def list_(ctx: typer.Context, limit: int = LIMIT) -> None:
    """Accounts of which you are a member."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        stub = session.stub(AccountServiceStub)
        found = await session.pages(
            stub.ListAccounts, ListAccountsRequest(), "accounts", limit=limit
        )
        show_list(options, "accounts", found, _COLUMNS)

    in_session(options, work)


@app.command()
def create(
    ctx: typer.Context,
    name: str,
    type_: str = typer.Option(
        "client_org", "--type",
        help="Kind: client_org, consulting_firm, or a word of your own (a-z, 0-9, _).",
    ),
    classification: str = typer.Option("", "--classification", help="Sensitivity of its data."),
    visibility: str = typer.Option("", "--visibility", help="Of new projects: private or account."),
    description: str = typer.Option("", "--description"),
) -> None:
    """Create an account; you become its owner."""
    options = options_of(ctx)
    request = CreateAccountRequest(
        name=name,
        type=type_,
        data_classification=parse_enum(  # type: ignore[arg-type]
            "--classification", Classification.DESCRIPTOR, classification
        ),
        default_project_visibility=parse_enum(  # type: ignore[arg-type]
            "--visibility", Visibility.DESCRIPTOR, visibility
        ),
        description=description,
    )

    async def work(session: Session) -> None:
        answer = await session.call(session.stub(AccountServiceStub).CreateAccount, request)
        show_record(options, answer.account, title="Created")

    in_session(options, work)


@app.command()
def show(ctx: typer.Context, account: str = ACCOUNT) -> None:
    """One account."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = GetAccountRequest(account_id=await account_id_of(session, account))
        answer = await session.call(session.stub(AccountServiceStub).GetAccount, request)
        show_record(options, answer.account)

    in_session(options, work)


@app.command()
def update(
    ctx: typer.Context,
    account: str = ACCOUNT,
    name: str | None = typer.Option(None, "--name"),
    description: str | None = typer.Option(None, "--description"),
    billing_plan: str | None = typer.Option(None, "--billing-plan"),
    classification: str | None = typer.Option(None, "--classification"),
    visibility: str | None = typer.Option(None, "--visibility", help="Of new projects."),
) -> None:
    """Change an account."""
    options = options_of(ctx)
    changed: dict[str, Any] = {
        "name": name,
        "description": description,
        "billing_plan": billing_plan,
        "data_classification": classification
        and parse_enum("--classification", Classification.DESCRIPTOR, classification),
        "default_project_visibility": visibility
        and parse_enum("--visibility", Visibility.DESCRIPTOR, visibility),
    }
    given, mask = mask_of(changed)

    async def work(session: Session) -> None:
        record = Account(account_id=await account_id_of(session, account), **given)
        request = UpdateAccountRequest(account=record, update_mask=mask)
        answer = await session.call(session.stub(AccountServiceStub).UpdateAccount, request)
        show_record(options, answer.account, title="Updated")

    in_session(options, work)


def _set_status(ctx: typer.Context, account: str, status: Any, reason: str, done: str) -> None:
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = SetAccountStatusRequest(
            account_id=await account_id_of(session, account), status=status, reason=reason
        )
        answer = await session.call(session.stub(AccountServiceStub).SetAccountStatus, request)
        show_record(options, answer.account, _COLUMNS, title=done)

    in_session(options, work)


@app.command()
def suspend(
    ctx: typer.Context, account: str = ACCOUNT, reason: str = typer.Option("", "--reason")
) -> None:
    """Close an account and its projects for everyone, for now."""
    _set_status(ctx, account, AccountStatus.ACCOUNT_STATUS_SUSPENDED, reason, "Suspended")


@app.command()
def archive(
    ctx: typer.Context, account: str = ACCOUNT, reason: str = typer.Option("", "--reason")
) -> None:
    """Make an account and its projects read-only."""
    _set_status(ctx, account, AccountStatus.ACCOUNT_STATUS_ARCHIVED, reason, "Archived")


@app.command()
def activate(
    ctx: typer.Context, account: str = ACCOUNT, reason: str = typer.Option("", "--reason")
) -> None:
    """Make a suspended or archived account active again."""
    _set_status(ctx, account, AccountStatus.ACCOUNT_STATUS_ACTIVE, reason, "Active")


@app.command()
def members(ctx: typer.Context, account: str = ACCOUNT, limit: int = LIMIT) -> None:
    """Who is in an account."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = ListAccountMembersRequest(account_id=await account_id_of(session, account))
        stub = session.stub(AccountServiceStub)
        found = await session.pages(stub.ListAccountMembers, request, "members", limit=limit)
        show_list(options, "members", found, _MEMBERS)

    in_session(options, work)


@app.command()
def add_member(
    ctx: typer.Context,
    account: str = ACCOUNT,
    who: str = MEMBER,
    role: str = typer.Option("viewer", "--role", help="Role in the account."),
    permission: list[str] = typer.Option([], "--permission", help="Extra capability; repeatable."),
) -> None:
    """Take a known user in."""
    options = options_of(ctx)
    request = AddAccountMemberRequest(
        role=parse_enum("--role", AccountRole.DESCRIPTOR, role),  # type: ignore[arg-type]
        permissions=parse_enums(  # type: ignore[arg-type]
            "--permission", AccountCapability.DESCRIPTOR, permission
        ),
    )
    if is_id("u", who):
        request.user_id = who
    else:
        request.email = who

    async def work(session: Session) -> None:
        request.account_id = await account_id_of(session, account)
        answer = await session.call(session.stub(AccountServiceStub).AddAccountMember, request)
        show_record(options, answer.member, _MEMBER_FIELDS, title="Added")

    in_session(options, work)


def _change_member(
    ctx: typer.Context, account: str, who: str, paths: list[str], **changed: Any
) -> None:
    options = options_of(ctx)

    async def work(session: Session) -> None:
        account_id = await account_id_of(session, account)
        found = await account_member_of(session, account_id, who)
        record = AccountMember(
            account_id=account_id, user_id=found.user_id, etag=found.etag, **changed
        )
        request = UpdateAccountMemberRequest(member=record, update_mask=FieldMask(paths=paths))
        answer = await session.call(session.stub(AccountServiceStub).UpdateAccountMember, request)
        show_record(options, answer.member, _MEMBER_FIELDS, title="Changed")

    in_session(options, work)


@app.command()
def set_role(
    ctx: typer.Context,
    account: str = ACCOUNT,
    who: str = MEMBER,
    role: str = typer.Argument(help="owner, account_admin, administrator, editor or viewer."),
) -> None:
    """Give a member another role."""
    number = parse_enum("ROLE", AccountRole.DESCRIPTOR, role)
    _change_member(ctx, account, who, ["role"], role=number)


@app.command()
def suspend_member(ctx: typer.Context, account: str = ACCOUNT, who: str = MEMBER) -> None:
    """Mute what the account gives a member."""
    suspended = MemberStatus.MEMBER_STATUS_SUSPENDED
    _change_member(ctx, account, who, ["status"], status=suspended)


@app.command()
def activate_member(ctx: typer.Context, account: str = ACCOUNT, who: str = MEMBER) -> None:
    """Take the suspension of a member back."""
    _change_member(ctx, account, who, ["status"], status=MemberStatus.MEMBER_STATUS_ACTIVE)


@app.command()
def remove_member(ctx: typer.Context, account: str = ACCOUNT, who: str = MEMBER) -> None:
    """End a membership; the record of it stays."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        account_id = await account_id_of(session, account)
        found = await account_member_of(session, account_id, who)
        request = RemoveAccountMemberRequest(account_id=account_id, user_id=found.user_id)
        answer = await session.call(session.stub(AccountServiceStub).RemoveAccountMember, request)
        show_record(options, answer.member, _MEMBER_FIELDS, title="Removed")

    in_session(options, work)


add_care(app)
