"""`wm check`: may someone do something, and why?"""

from __future__ import annotations

from typing import Any

import typer
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1.permission_service_pb2 import (
    CheckPermissionRequest,
    ExplainPermissionRequest,
)
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub

from services.cli.client import Session, in_session
from services.cli.enums import enum_words, parse_enum
from services.cli.exit_codes import ExitCode
from services.cli.explaining import explanation_lines, ids_in
from services.cli.options import Options, options_of
from services.cli.output import as_json, print_json, print_line
from services.cli.people import People
from services.cli.resolve import project_id_of, user_id_of

app = typer.Typer(add_completion=False)

_WORDS = ", ".join(enum_words(Permission.DESCRIPTOR))


@app.command()
def check(
    ctx: typer.Context,
    project: str = typer.Argument(metavar="PROJECT", help="Id or name of a project."),
    permission: str = typer.Argument(metavar="PERMISSION", help=f"One of {_WORDS}."),
    third: str = typer.Argument("", hidden=True),
    user: str = typer.Option("me", "--user", "-u", help="User id or e-mail; default you."),
    explain: bool = typer.Option(False, "--explain", help="Every reason, and what would help."),
) -> None:
    """Whether somebody holds a permission: exit code 0 allowed, 4 denied.

    wm check Plans write --user bob@example.com --explain

    `wm check USER PERMISSION PROJECT` says the same for one user.
    """
    options = options_of(ctx)
    if third:  # the three words of old: who, what, where
        user, project = project, third
    number: Any = parse_enum("PERMISSION", Permission.DESCRIPTOR, permission)

    async def work(session: Session) -> bool:
        project_id = await project_id_of(session, project)
        user_id = await user_id_of(session, user, project_id=project_id)
        about = {
            "project_id": project_id,
            "permission": number,
            "user_id": "" if user_id == session.user_id else user_id,
        }
        if explain:
            return await _explain(session, options, ExplainPermissionRequest(**about))
        stub = session.stub(PermissionServiceStub)
        answer = await session.call(stub.CheckPermission, CheckPermissionRequest(**about))
        if options.json:
            print_json(as_json(answer))
        else:
            print_line("allowed" if answer.allowed else "denied")
        return bool(answer.allowed)

    if not in_session(options, work):
        raise typer.Exit(ExitCode.DENIED)


async def _explain(session: Session, options: Options, request: Any) -> bool:
    stub = session.stub(PermissionServiceStub)
    answer = await session.call(stub.ExplainPermission, request)
    if options.json:
        print_json(as_json(answer))
        return bool(answer.allowed)
    people = People(session)
    await people.learn(ids_in(answer))
    for line in explanation_lines(answer, people.name):
        print_line(line)
    return bool(answer.allowed)
