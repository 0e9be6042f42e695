"""More verbs of `wm accounts`: usage, routing, claims, ownership, the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.identity.v1.account_pb2 import AccountRole, NotificationRouting
from workspace.identity.v1.account_service_pb2 import (
    ClaimOrphanedProjectRequest,
    DeleteAccountRequest,
    ExportAccountDataRequest,
    GetNotificationRoutingRequest,
    GetUsageRequest,
    TransferAccountOwnershipRequest,
    UpdateNotificationRoutingRequest,
    UsageGrouping,
)
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub

from services.cli.arguments import ACCOUNT, MEMBER
from services.cli.client import Session, in_session
from services.cli.confirming import confirm_by_typing
from services.cli.data_export import export_records
from services.cli.enums import parse_enum, parse_enums
from services.cli.failures import usage as usage_error
from services.cli.options import Options, options_of
from services.cli.output import (
    as_json,
    counted,
    field_text,
    human_bytes,
    print_json,
    print_line,
    print_rows,
    show_record,
    show_table,
)
from services.cli.people import People
from services.cli.resolve import account_id_of, account_member_of, project_id_of

__all__ = ["add_care"]

_DELETES = (
    "This ends the account {} and, after its time in the trash, everything in it.\n"
    "Export its data before: wm accounts export."
)


def add_care(app: typer.Typer) -> None:
    """Put these verbs into `wm accounts`."""
    for verb in (usage, routing, claim, transfer, export, delete):
        app.command()(verb)


def usage(
    ctx: typer.Context,
    account: str = ACCOUNT,
    by: str = typer.Option("project", "--by", help="account, project or billing_scope."),
    project: str = typer.Option("", "--project", "-p", help="Only this project."),
) -> None:
    """Documents and bytes of an account, against its quotas."""
    options = options_of(ctx)
    grouping: Any = parse_enum("--by", UsageGrouping.DESCRIPTOR, by)
    request = GetUsageRequest(group_by=grouping, page_size=500)

    async def work(session: Session) -> None:
        request.account_id = await account_id_of(session, account)
        if project:
            request.project_id = await project_id_of(session, project)
        rows: list[Any] = []
        while True:
            answer = await session.call(session.stub(AccountServiceStub).GetUsage, request)
            rows += answer.rows
            request.page_token = answer.next_page_token
            if not answer.next_page_token:
                break
        if options.json:
            answer.rows[:] = []
            answer.rows.extend(rows)
            print_json(as_json(answer))
            return
        people = People(session)
        await people.learn(row.project_id for row in rows)
        _print_usage(answer, rows, people)

    in_session(options, work)


def _print_usage(answer: Any, rows: list[Any], people: People) -> None:
    shown = [
        [
            people.name(row.project_id) or row.project_id or row.billing_scope,
            str(row.documents), human_bytes(row.bytes),
            human_bytes(row.reserved_bytes) if row.reserved_bytes else "",
        ]
        for row in rows
    ]
    if shown:
        print_rows(("of", "documents", "size", "under way"), shown)
    total = answer.total
    limits = [human_bytes(answer.quota_bytes)] if answer.quota_bytes else []
    limits += [counted(answer.quota_documents, "document")] if answer.quota_documents else []
    print_line(
        f"In all {counted(total.documents, 'document')}, {human_bytes(total.bytes)}; "
        f"quota: {' and '.join(limits) or 'none'}."
    )


def routing(
    ctx: typer.Context,
    account: str = ACCOUNT,
    topic: str = typer.Option("", "--set", metavar="TOPIC", help="Change this topic."),
    to: list[str] = typer.Option([], "--to", help="Member who is told; repeatable."),
    role: list[str] = typer.Option([], "--role", help="Role whose members are told; repeatable."),
    off: bool = typer.Option(False, "--off", help="Tell nobody of the topic."),
) -> None:
    """Who is told what of an account.

    wm accounts routing Client --set project.orphaned --role owner
    """
    options = options_of(ctx)
    if (to or role or off) and not topic:
        raise usage_error("name the topic with --set TOPIC")
    if topic and not (to or role or off):
        raise usage_error("give --to, --role or --off", remedy="who is to be told of the topic?")
    roles: Any = parse_enums("--role", AccountRole.DESCRIPTOR, role)

    async def work(session: Session) -> None:
        account_id = await account_id_of(session, account)
        stub = session.stub(AccountServiceStub)
        if topic:
            users = [(await account_member_of(session, account_id, w)).user_id for w in to]
            record = NotificationRouting(
                account_id=account_id, topic=topic, disabled=off, user_ids=users, roles=roles
            )
            mask = FieldMask(paths=["disabled", "user_ids", "roles"])
            request = UpdateNotificationRoutingRequest(
                notification_routing=record, update_mask=mask
            )
            await session.call(stub.UpdateNotificationRouting, request)
        read = GetNotificationRoutingRequest(account_id=account_id)
        answer = await session.call(stub.GetNotificationRouting, read)
        await _show_routing(session, options, list(answer.notification_routing))

    in_session(options, work)


async def _show_routing(session: Session, options: Options, rows: list[Any]) -> None:
    people = People(session)
    if not options.json:
        await people.learn(user for each in rows for user in each.user_ids)

    def row(each: Any) -> list[str]:
        names = ", ".join(people.name(user) or user for user in each.user_ids)
        roles = field_text(each, "roles")
        told = "; ".join(filter(None, (roles, names)))
        return [each.topic, "nobody" if each.disabled else told, "" if each.etag else "default"]

    show_table(options, "notification_routing", rows, ("topic", "told", ""), row)


def claim(
    ctx: typer.Context,
    account: str = ACCOUNT,
    project: str = typer.Argument(metavar="PROJECT", help="Id of a project without an owner."),
    owner: str = typer.Option("me", "--owner", help="Member who becomes the owner."),
    reason: str = typer.Option("", "--reason", help="Kept in the history."),
) -> None:
    """Give a project of the account that nobody owns any more a new owner."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        account_id = await account_id_of(session, account)
        request = ClaimOrphanedProjectRequest(
            account_id=account_id,
            project_id=await project_id_of(session, project),
            owner_user_id=(await account_member_of(session, account_id, owner)).user_id,
            reason=reason,
        )
        stub = session.stub(AccountServiceStub)
        answer = await session.call(stub.ClaimOrphanedProject, request)
        fields = ("project_id", "owner_user_id", "grant_id")
        show_record(options, answer, fields, title="Claimed")

    in_session(options, work)


def transfer(
    ctx: typer.Context,
    account: str = ACCOUNT,
    who: str = MEMBER,
    my_role: str = typer.Option(
        "account_admin", "--my-role", help="What the owner of now becomes."
    ),
) -> None:
    """Make another member the owner of an account."""
    options = options_of(ctx)
    number: Any = parse_enum("--my-role", AccountRole.DESCRIPTOR, my_role)

    async def work(session: Session) -> None:
        account_id = await account_id_of(session, account)
        member = await account_member_of(session, account_id, who)
        request = TransferAccountOwnershipRequest(
            account_id=account_id, new_owner_user_id=member.user_id, former_owner_role=number
        )
        stub = session.stub(AccountServiceStub)
        answer = await session.call(stub.TransferAccountOwnership, request)
        fields = ("name", "owner_user_id", "account_id")
        show_record(options, answer.account, fields, title="Transferred")

    in_session(options, work)


def export(
    ctx: typer.Context,
    account: str = ACCOUNT,
    output: Path | None = typer.Option(
        None, "--output", "-o", help="File to write; default standard output.", show_default=False
    ),
    force: bool = typer.Option(False, "--force", help="Replace a file that is there."),
) -> None:
    """Every record of an account, one JSON document a line (NDJSON)."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = ExportAccountDataRequest(account_id=await account_id_of(session, account))
        method = session.stub(AccountServiceStub).ExportAccountData
        await export_records(session, options, method, request, output, force=force)

    in_session(options, work)


def delete(
    ctx: typer.Context,
    account: str = ACCOUNT,
    yes: bool = typer.Option(False, "--yes", help="Do not ask; for scripts."),
) -> None:
    """End an account; asks you to type its id."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        account_id = await account_id_of(session, account)
        confirm_by_typing(account_id, _DELETES.format(account_id), yes=yes)
        request = DeleteAccountRequest(account_id=account_id)
        answer = await session.call(session.stub(AccountServiceStub).DeleteAccount, request)
        fields = ("name", "status", "purge_at", "account_id")
        show_record(options, answer.account, fields, title="Deleted")

    in_session(options, work)
