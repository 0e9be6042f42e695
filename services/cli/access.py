"""`wm access`: ask for access to a project, and decide such wishes."""

from __future__ import annotations

from typing import Any

import typer
from workspace.common.v1.permission_pb2 import Permission, PermissionPreset
from workspace.project.v1.grant_pb2 import AccessRequest, AccessRequestStatus
from workspace.project.v1.grant_service_pb2 import (
    DecideAccessRequestRequest,
    ListAccessRequestsRequest,
    RequestAccessRequest,
)
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub

from services.cli.arguments import LIMIT, PROJECT
from services.cli.client import Session, in_session
from services.cli.enums import enum_words, parse_enum, parse_enums, parse_time
from services.cli.failures import CliError, not_found, usage
from services.cli.options import options_of
from services.cli.output import field_text, show_record, show_table, words_of
from services.cli.people import People
from services.cli.resolve import project_id_of, user_id_of
from services.model.permissions import preset_permissions

app = typer.Typer(
    add_completion=False, no_args_is_help=True,
    help="Access requests: ask for rights on a project, and decide who gets them.",
)

_PRESETS = ", ".join(word for word in enum_words(PermissionPreset.DESCRIPTOR) if word != "owner")
_SHOWN = ("project_id", "user_id", "permissions", "note", "status", "decision_note", "grant_id",
          "access_request_id")  # fmt: skip


@app.command()
def request(
    ctx: typer.Context,
    project: str = typer.Argument(
        metavar="PROJECT", help="Project id, as somebody gave it to you."
    ),
    role: str = typer.Argument("viewer", metavar="[PRESET]", help=f"One of {_PRESETS}."),
    permission: list[str] = typer.Option([], "--permission", help="Single right; repeatable."),
    note: str = typer.Option("", "--note", help="Why, for those who decide."),
) -> None:
    """Ask for rights: wm access request p_... writer --note "for the audit"

    The answer does not tell whether the project exists. Asking again changes
    the request.
    """
    options = options_of(ctx)
    wish = RequestAccessRequest(permissions=_rights(role, permission), note=note)

    async def work(session: Session) -> None:
        try:
            wish.project_id = await project_id_of(session, project)
        except CliError as error:
            error.failure = usage(
                f"{project!r} is no project that you can see",
                remedy="ask for access by its id, p_...: somebody who has access can tell it",
            ).failure
            raise
        answer = await session.call(session.stub(GrantServiceStub).RequestAccess, wish)
        show_record(options, answer.access_request, _SHOWN, title="Asked")

    in_session(options, work)


@app.command("list")
def list_(
    ctx: typer.Context,
    project: str = PROJECT,
    status: str = typer.Option("pending", "--status", help="pending, approved, declined or all."),
    limit: int = LIMIT,
) -> None:
    """Who asks for access to a project that you manage."""
    options = options_of(ctx)
    words = enum_words(AccessRequestStatus.DESCRIPTOR) if status == "all" else [status]
    numbers = parse_enums("--status", AccessRequestStatus.DESCRIPTOR, words)

    async def work(session: Session) -> None:
        project_id = await project_id_of(session, project)
        found: list[Any] = []
        for number in numbers:
            found += await _requests(session, project_id, number, limit=limit)
        people = People(session)
        if not options.json:
            await people.learn(each.user_id for each in found)

        def row(each: Any) -> list[str]:
            return [
                people.name(each.user_id), words_of(each.permissions), each.note,
                field_text(each, "status"), field_text(each, "created_at"), each.user_id,
                each.access_request_id,
            ]

        headings = (
            "name", "wants", "note", "status", "created_at", "user_id", "access_request_id"
        )
        show_table(options, "access_requests", found, headings, row)

    in_session(options, work)


@app.command()
def decide(
    ctx: typer.Context,
    project: str = PROJECT,
    who: str = typer.Argument(metavar="REQUEST", help="Request id, or who asks."),
    approve: bool | None = typer.Option(
        None, "--approve/--decline", help="Which.", show_default=False
    ),
    role: str = typer.Option("", "--role", help=f"Give this instead: {_PRESETS}."),
    permission: list[str] = typer.Option([], "--permission", help="Single right; repeatable."),
    expires: str = typer.Option("", "--expires", help="End of the grant: 2026-12-31 or 30d."),
    note: str = typer.Option("", "--note", help="Words to the one who asked."),
) -> None:
    """Approve or decline: wm access decide Plans bob@example.com --approve"""
    if approve is None:
        raise usage("say --approve or --decline")
    if not approve and (role or permission or expires):
        raise usage("--role, --permission and --expires are for --approve")
    options = options_of(ctx)
    decision = DecideAccessRequestRequest(
        approve=approve, note=note,
        permissions=_rights(role, permission) if role or permission else [],
    )
    if expires:
        decision.expires_at.FromDatetime(parse_time("--expires", expires))

    async def work(session: Session) -> None:
        decision.project_id = await project_id_of(session, project)
        asked = await _waiting(session, decision.project_id, who)
        decision.access_request_id, decision.etag = asked.access_request_id, asked.etag
        answer = await session.call(session.stub(GrantServiceStub).DecideAccessRequest, decision)
        given = [("given", words_of(answer.grant.permissions))]
        show_record(options, answer.access_request, _SHOWN, title="Decided", more=given)

    in_session(options, work)


def _rights(role: str, permission: list[str]) -> Any:
    if permission:
        return parse_enums("--permission", Permission.DESCRIPTOR, permission)
    number = parse_enum("PRESET", PermissionPreset.DESCRIPTOR, role)
    if number == PermissionPreset.PERMISSION_PRESET_OWNER:
        raise usage("owner cannot be asked for", remedy=f"presets: {_PRESETS}")
    return sorted(preset_permissions(number))


async def _waiting(session: Session, project_id: str, text: str) -> AccessRequest:
    pending = AccessRequestStatus.ACCESS_REQUEST_STATUS_PENDING
    found: list[AccessRequest] = await _requests(session, project_id, pending)
    match = [each for each in found if text in (each.access_request_id, each.user_id)]
    if not match and "_" not in text:
        user_id = await user_id_of(session, text, project_id=project_id)
        match = [each for each in found if each.user_id == user_id]
    if not match:
        raise not_found(
            f"{text} has no request that waits", remedy="look at `wm access list PROJECT`"
        )
    return match[0]


async def _requests(
    session: Session, project_id: str, status: int, *, limit: int = 0
) -> list[Any]:
    stub = session.stub(GrantServiceStub)
    request = ListAccessRequestsRequest(project_id=project_id)
    request.status = status  # type: ignore[assignment]
    return await session.pages(stub.ListAccessRequests, request, "access_requests", limit=limit)
