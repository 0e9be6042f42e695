"""`wm grants`: who has been given what on a project."""

from __future__ import annotations

from typing import Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.common.v1.permission_pb2 import Permission, PermissionPreset
from workspace.project.v1.grant_pb2 import Grant, GrantStatus
from workspace.project.v1.grant_service_pb2 import (
    CreateGrantRequest,
    ListGrantsRequest,
    RevokeGrantRequest,
    UpdateGrantRequest,
)
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub

from services.cli.arguments import LIMIT, PROJECT
from services.cli.client import Session, in_session
from services.cli.enums import enum_words, parse_enum, parse_enums, parse_time
from services.cli.failures import usage
from services.cli.grant_targets import aim, find_grant, grant_id_of
from services.cli.options import Options, options_of
from services.cli.output import field_text, show_record, show_table
from services.cli.people import People
from services.cli.resolve import project_id_of
from services.model.permissions import preset_permissions

app = typer.Typer(
    add_completion=False, no_args_is_help=True,
    help="Grants: who has been given what on a project.",
)

_COLUMNS = ("target_type", "target_id", "permissions", "source", "status", "expires_at", "grant_id")
_PRESETS = ", ".join(enum_words(PermissionPreset.DESCRIPTOR))


@app.command("list")
def list_(
    ctx: typer.Context,
    project: str = PROJECT,
    revoked: bool = typer.Option(False, "--revoked", help="The revoked ones instead."),
    limit: int = LIMIT,
) -> None:
    """Grants of a project."""
    options = options_of(ctx)
    request = ListGrantsRequest()
    if revoked:
        request.status = GrantStatus.GRANT_STATUS_REVOKED

    async def work(session: Session) -> None:
        request.project_id = await project_id_of(session, project)
        stub = session.stub(GrantServiceStub)
        found = await session.pages(stub.ListGrants, request, "grants", limit=limit)
        await _show(session, options, found)

    in_session(options, work)


async def _show(session: Session, options: Options, grants: list[Any]) -> None:
    people = People(session)
    if not options.json:
        await people.learn(grant.target_id for grant in grants)
    headings = ("name", *(column.replace("target_type", "type") for column in _COLUMNS))

    def row(grant: Any) -> list[str]:
        return [people.name(grant.target_id), *(field_text(grant, name) for name in _COLUMNS)]

    show_table(options, "grants", grants, headings, row)


@app.command()
def give(
    ctx: typer.Context,
    project: str = PROJECT,
    to: str = typer.Argument(
        metavar="TO", help="E-mail or user id; team:NAME; account:NAME.", show_default=False
    ),
    role: str = typer.Argument("", metavar="[PRESET]", help=f"One of {_PRESETS}."),
    permission: list[str] = typer.Option(
        [], "--permission", "-p", help="Single right; repeatable, instead of a preset."
    ),
    expires: str = typer.Option("", "--expires", help="2026-12-31, or 7d from now."),
    note: str = typer.Option("", "--note"),
) -> None:
    """Share a project: wm grants give Plans ann@example.com writer"""
    if bool(role) == bool(permission):
        raise usage("give a preset or --permission", remedy=f"presets: {_PRESETS}")
    options = options_of(ctx)
    preset: Any = parse_enum("PRESET", PermissionPreset.DESCRIPTOR, role)
    rights: Any = parse_enums("--permission", Permission.DESCRIPTOR, permission)
    request = CreateGrantRequest(preset=preset, permissions=rights, note=note)
    if expires:
        request.expires_at.FromDatetime(parse_time("--expires", expires))

    async def work(session: Session) -> None:
        request.project_id = await project_id_of(session, project)
        await aim(session, request, to)
        answer = await session.call(session.stub(GrantServiceStub).CreateGrant, request)
        show_record(options, answer.grant, (*_COLUMNS, "note"), title="Given")

    in_session(options, work)


@app.command()
def change(
    ctx: typer.Context,
    project: str = PROJECT,
    grant: str = typer.Argument(
        metavar="GRANT", help="Grant id, or to whom it was given: user id, e-mail, team:NAME, ..."
    ),
    role: str = typer.Argument("", metavar="[PRESET]", help=f"One of {_PRESETS}."),
    permission: list[str] = typer.Option(
        [], "--permission", "-p", help="Single right; repeatable, instead of a preset."
    ),
    expires: str = typer.Option("", "--expires", help="2026-12-31, 7d, or `never`."),
    note: str | None = typer.Option(None, "--note"),
) -> None:
    """Give other rights or another end: wm grants change Plans bob@example.com writer"""
    if role and permission:
        raise usage("give a preset or --permission, not both", remedy=f"presets: {_PRESETS}")
    options = options_of(ctx)
    record = Grant(permissions=_rights(role, permission), note=note or "")
    paths = ["permissions"] if record.permissions else []
    paths += ["note"] if note is not None else []
    if expires:
        paths.append("expires_at")
        if expires != "never":
            record.expires_at.FromDatetime(parse_time("--expires", expires))
    if not paths:
        raise usage("nothing to change", remedy="give a preset, --permission, --expires or --note")

    async def work(session: Session) -> None:
        project_id = await project_id_of(session, project)
        found = await find_grant(session, project_id, grant)
        record.project_id, record.grant_id, record.etag = project_id, found.grant_id, found.etag
        request = UpdateGrantRequest(grant=record, update_mask=FieldMask(paths=paths))
        answer = await session.call(session.stub(GrantServiceStub).UpdateGrant, request)
        show_record(options, answer.grant, (*_COLUMNS, "note"), title="Changed")

    in_session(options, work)


def _rights(role: str, permission: list[str]) -> Any:
    if not role:
        return parse_enums("--permission", Permission.DESCRIPTOR, permission)
    preset: Any = parse_enum("PRESET", PermissionPreset.DESCRIPTOR, role)
    return sorted(preset_permissions(preset))


@app.command()
def revoke(
    ctx: typer.Context,
    project: str = PROJECT,
    grant: str = typer.Argument(
        metavar="GRANT", help="Grant id, or to whom it was given: user id, e-mail, team:NAME, ..."
    ),
) -> None:
    """Take a grant back; the record of it stays."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        project_id = await project_id_of(session, project)
        request = RevokeGrantRequest(
            project_id=project_id, grant_id=await grant_id_of(session, project_id, grant)
        )
        answer = await session.call(session.stub(GrantServiceStub).RevokeGrant, request)
        show_record(options, answer.grant, _COLUMNS, title="Revoked")

    in_session(options, work)
