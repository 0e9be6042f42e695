"""More verbs of `wm projects`: who has access and why, holds, the end."""

from __future__ import annotations

from typing import Any

import typer
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1.permission_service_pb2 import ListProjectUsersRequest
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub
from workspace.project.v1.project_service_pb2 import PurgeProjectRequest, SetLegalHoldRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.cli.arguments import LIMIT, PROJECT
from services.cli.client import Session, in_session
from services.cli.confirming import confirm_by_typing
from services.cli.enums import parse_enum
from services.cli.options import options_of
from services.cli.output import field_text, show_record, show_table, words_of
from services.cli.people import People
from services.cli.resolve import project_id_of, trashed_project_id_of

__all__ = ["add_care"]


def add_care(app: typer.Typer) -> None:
    """Put these verbs into `wm projects`."""
    for verb in (users, hold, purge):
        app.command()(verb)


def users(
    ctx: typer.Context,
    project: str = PROJECT,
    permission: str = typer.Option("view", "--permission", help="Only who holds this."),
    limit: int = LIMIT,
) -> None:
    """Who has access to a project, and why."""
    options = options_of(ctx)
    number: Any = parse_enum("--permission", Permission.DESCRIPTOR, permission)
    request = ListProjectUsersRequest(permission=number, include_sources=True)

    async def work(session: Session) -> None:
        request.project_id = await project_id_of(session, project)
        stub = session.stub(PermissionServiceStub)
        found = await session.pages(stub.ListProjectUsers, request, "users", limit=limit)
        people = People(session)
        if not options.json:
            await people.learn(_ids_of(found))

        def row(user: Any) -> list[str]:
            why = "; ".join(source_text(source, people) for source in user.sources)
            reduced = " (reduced)" if user.reduced else ""
            return [
                people.name(user.user_id), words_of(user.permissions) + reduced, why, user.user_id
            ]

        show_table(options, "users", found, ("name", "may", "because of", "user_id"), row)

    in_session(options, work)


def source_text(source: Any, people: People) -> str:
    """`owner by team grant of Team, until 2026-12-31 00:00:00`."""
    kind = field_text(source, "kind").replace("_", " ")
    via = people.name(source.team_id) or people.name(source.account_id)
    via = via or source.team_id or source.account_id
    role = f" as {source.role}" if source.role else ""
    until = f", until {field_text(source, 'expires_at')}" if source.HasField("expires_at") else ""
    return f"{kind}{f' of {via}' if via else ''}{role} ({words_of(source.permissions)}){until}"


def _ids_of(found: list[Any]) -> list[str]:
    sources = [source for user in found for source in user.sources]
    ids = [user.user_id for user in found]
    return [*ids, *(s.team_id for s in sources), *(s.account_id for s in sources)]


def hold(
    ctx: typer.Context,
    project: str = PROJECT,
    reason: str = typer.Option(..., "--reason", help="Why; kept with the project."),
    lift: bool = typer.Option(False, "--lift", help="End the hold."),
) -> None:
    """Put a project under legal hold: nothing of it can be deleted."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = SetLegalHoldRequest(
            project_id=await project_id_of(session, project), legal_hold=not lift, reason=reason
        )
        answer = await session.call(session.stub(ProjectServiceStub).SetLegalHold, request)
        fields = ("name", "status", "legal_hold", "legal_hold_reason", "project_id")
        show_record(options, answer.project, fields, title="Lifted" if lift else "Held")

    in_session(options, work)


def purge(
    ctx: typer.Context,
    project: str = PROJECT,
    yes: bool = typer.Option(False, "--yes", help="Do not ask; for scripts."),
) -> None:
    """Remove a project of the trash for good; asks you to type its id."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        project_id = await trashed_project_id_of(session, project)
        confirm_by_typing(
            project_id, f"This removes {project_id} and its documents for good.", yes=yes
        )
        request = PurgeProjectRequest(project_id=project_id)
        answer = await session.call(session.stub(ProjectServiceStub).PurgeProject, request)
        show_record(options, answer.project, ("name", "status", "project_id"), title="Purged")

    in_session(options, work)
