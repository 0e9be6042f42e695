"""`wm projects`: create, assign, restrict, delete and restore projects."""

from __future__ import annotations

from typing import Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.common.v1.classification_pb2 import Classification
from workspace.common.v1.permission_pb2 import Permission
from workspace.common.v1.visibility_pb2 import Visibility
from workspace.project.v1.project_pb2 import Project, ProjectStatus
from workspace.project.v1.project_service_pb2 import (
    AssignProjectRequest,
    CreateProjectRequest,
    DeleteProjectRequest,
    GetProjectRequest,
    ListProjectsRequest,
    ListTrashRequest,
    RestoreProjectRequest,
    SetProjectStatusRequest,
    UpdateProjectRequest,
)
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.cli.arguments import LIMIT, PROJECT, mask_of
from services.cli.client import Session, in_session
from services.cli.enums import parse_enum, parse_enums
from services.cli.failures import usage
from services.cli.homes import own_workspace
from services.cli.options import options_of
from services.cli.output import as_json, field_text, print_json, print_rows, show_list, show_record
from services.cli.project_care import add_care
from services.cli.resolve import (
    account_id_of,
    project_id_of,
    team_id_of,
    trashed_project_id_of,
)

app = typer.Typer(
    add_completion=False, no_args_is_help=True,
    help="Projects: where documents live and access is given.",
)

_COLUMNS = ("name", "status", "restricted", "my_permissions", "account_id", "project_id")
_ACCOUNT = typer.Option("", "--account", help="Account, by id or name.")
_TEAM = typer.Option("", "--team", help="Team, by id or name.")


@app.command("list")
def list_(
    ctx: typer.Context,
    account: str = _ACCOUNT,
    team: str = _TEAM,
    status: str = typer.Option("", "--status", help="active (default), archived or trashed."),
    prefix: str = typer.Option("", "--prefix", help="Names that begin so."),
    limit: int = LIMIT,
) -> None:
    """Projects you may view."""
    options = options_of(ctx)
    number: Any = parse_enum("--status", ProjectStatus.DESCRIPTOR, status)
    request = ListProjectsRequest(status=number, name_prefix=prefix)

    async def work(session: Session) -> None:
        if account:
            request.account_id = await account_id_of(session, account)
        if team:
            request.team_id = await team_id_of(session, team)
        stub = session.stub(ProjectServiceStub)
        found = await session.pages(stub.ListProjects, request, "projects", limit=limit)
        show_list(options, "projects", found, _COLUMNS)

    in_session(options, work)


@app.command()
def create(
    ctx: typer.Context,
    name: str,
    account: str = _ACCOUNT,
    team: str = _TEAM,
    description: str = typer.Option("", "--description"),
    restricted: bool | None = typer.Option(
        None, "--restricted/--open", help="Switch the account's own access off or on."
    ),
    classification: str = typer.Option("", "--classification"),
    visibility: str = typer.Option("", "--visibility", help="private, team or account."),
) -> None:
    """Create a project in your personal workspace, an account or a team."""
    options = options_of(ctx)
    sensitivity: Any = parse_enum("--classification", Classification.DESCRIPTOR, classification)
    intent: Any = parse_enum("--visibility", Visibility.DESCRIPTOR, visibility)
    request = CreateProjectRequest(
        name=name, description=description, restricted=restricted,
        data_classification=sensitivity, visibility=intent,
    )

    async def work(session: Session) -> None:
        if account:
            request.account_id = await account_id_of(session, account)
        if team:
            request.team_id = await team_id_of(session, team)
        answer = await session.call(session.stub(ProjectServiceStub).CreateProject, request)
        show_record(options, answer.project, title="Created")

    in_session(options, work)


@app.command()
def show(ctx: typer.Context, project: str = PROJECT) -> None:
    """One project."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = GetProjectRequest(project_id=await project_id_of(session, project))
        answer = await session.call(session.stub(ProjectServiceStub).GetProject, request)
        show_record(options, answer.project)

    in_session(options, work)


@app.command()
def update(
    ctx: typer.Context,
    project: str = PROJECT,
    name: str | None = typer.Option(None, "--name"),
    description: str | None = typer.Option(None, "--description"),
    billing_scope: str | None = typer.Option(None, "--billing-scope"),
    classification: str | None = typer.Option(None, "--classification"),
    visibility: str | None = typer.Option(None, "--visibility"),
) -> None:
    """Change a project."""
    given, mask = mask_of(
        {
            "name": name,
            "description": description,
            "billing_scope": billing_scope,
            "data_classification": classification
            and parse_enum("--classification", Classification.DESCRIPTOR, classification),
            "visibility": visibility
            and parse_enum("--visibility", Visibility.DESCRIPTOR, visibility),
        }
    )
    _update(ctx, project, given, mask, "Updated")


@app.command()
def restrict(ctx: typer.Context, project: str = PROJECT) -> None:
    """Only grants give access; the account's roles alone no longer do."""
    _update(ctx, project, {"restricted": True}, FieldMask(paths=["restricted"]), "Restricted")


@app.command("open")
def open_(ctx: typer.Context, project: str = PROJECT) -> None:
    """Members of the home account have access by their role again."""
    _update(ctx, project, {"restricted": False}, FieldMask(paths=["restricted"]), "Open")


def _update(
    ctx: typer.Context, project: str, given: dict[str, Any], mask: FieldMask, done: str
) -> None:
    options = options_of(ctx)

    async def work(session: Session) -> None:
        record = Project(project_id=await project_id_of(session, project), **given)
        request = UpdateProjectRequest(project=record, update_mask=mask)
        answer = await session.call(session.stub(ProjectServiceStub).UpdateProject, request)
        show_record(options, answer.project, title=done)

    in_session(options, work)


@app.command()
def assign(
    ctx: typer.Context,
    project: str = PROJECT,
    account: str = _ACCOUNT,
    team: str = _TEAM,
    private: bool = typer.Option(False, "--private", help="To your personal workspace."),
    team_permission: list[str] = typer.Option(
        [], "--team-permission", help="Right of the team; repeatable. Default: up to write."
    ),
    keep_grant: list[str] = typer.Option([], "--keep-grant", help="Grant id that stays."),
    restricted: bool | None = typer.Option(None, "--restricted/--open"),
) -> None:
    """Move a project to a team, an account or your personal workspace."""
    if sum(map(bool, (account, team, private))) != 1:
        raise usage("give exactly one of --account, --team and --private")
    options = options_of(ctx)
    rights: Any = parse_enums("--team-permission", Permission.DESCRIPTOR, team_permission)
    request = AssignProjectRequest(
        team_permissions=rights, keep_grants=keep_grant, restricted=restricted
    )

    async def work(session: Session) -> None:
        request.project_id = await project_id_of(session, project)
        if account:
            request.account_id = await account_id_of(session, account)
        elif team:
            request.team_id = await team_id_of(session, team)
        else:
            request.workspace_id = await own_workspace(session)
        answer = await session.call(session.stub(ProjectServiceStub).AssignProject, request)
        show_record(options, answer if options.json else answer.project, title="Assigned")

    in_session(options, work)


def _set_status(ctx: typer.Context, project: str, status: Any, done: str) -> None:
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = SetProjectStatusRequest(
            project_id=await project_id_of(session, project), status=status
        )
        answer = await session.call(session.stub(ProjectServiceStub).SetProjectStatus, request)
        show_record(options, answer.project, _COLUMNS, title=done)

    in_session(options, work)


@app.command()
def archive(ctx: typer.Context, project: str = PROJECT) -> None:
    """Make a project read-only."""
    _set_status(ctx, project, ProjectStatus.PROJECT_STATUS_ARCHIVED, "Archived")


@app.command()
def activate(ctx: typer.Context, project: str = PROJECT) -> None:
    """Take a project out of the archive."""
    _set_status(ctx, project, ProjectStatus.PROJECT_STATUS_ACTIVE, "Active")


@app.command()
def delete(ctx: typer.Context, project: str = PROJECT) -> None:
    """Move a project to the trash; `wm projects restore` takes it back."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = DeleteProjectRequest(project_id=await project_id_of(session, project))
        answer = await session.call(session.stub(ProjectServiceStub).DeleteProject, request)
        show_record(options, answer.project, (*_COLUMNS, "purge_after"), title="In the trash")

    in_session(options, work)


@app.command()
def restore(ctx: typer.Context, project: str = PROJECT) -> None:
    """Take a project out of the trash."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = RestoreProjectRequest(project_id=await trashed_project_id_of(session, project))
        answer = await session.call(session.stub(ProjectServiceStub).RestoreProject, request)
        show_record(options, answer.project, _COLUMNS, title="Restored")

    in_session(options, work)


@app.command()
def trash(ctx: typer.Context, limit: int = LIMIT) -> None:
    """Projects and documents that you could restore."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        stub = session.stub(ProjectServiceStub)
        items = await session.pages(stub.ListTrash, ListTrashRequest(), "items", limit=limit)
        if options.json:
            print_json({"items": [as_json(item) for item in items]})
            return
        rows = [_trash_row(item) for item in items]
        print_rows(("kind", "name", "trashed_at", "id"), rows, empty="the trash is empty")

    in_session(options, work)


def _trash_row(item: Any) -> list[str]:
    kind = item.WhichOneof("item")
    record = getattr(item, kind)
    return [kind, record.name, field_text(record, "trashed_at"), getattr(record, f"{kind}_id")]


add_care(app)
