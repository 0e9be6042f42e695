"""`wm check`: may someone do something?"""

from __future__ import annotations

from typing import Any

import typer
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1.permission_service_pb2 import CheckPermissionRequest
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub

from services.cli.arguments import PROJECT
from services.cli.client import Session, in_session
from services.cli.enums import parse_enum
from services.cli.exit_codes import ExitCode
from services.cli.options import options_of
from services.cli.output import as_json, print_json, print_line
from services.cli.resolve import project_id_of, user_id_of

app = typer.Typer(add_completion=False)


@app.command()
def check(
    ctx: typer.Context,
    user: str = typer.Argument(metavar="USER", help="User id, e-mail address, or `me`."),
    permission: str = typer.Argument(help="view, comment, review, write, manage_access, owner."),
    project: str = PROJECT,
) -> None:
    """Whether a user holds a permission: exit code 0 allowed, 4 denied."""
    options = options_of(ctx)
    number: Any = parse_enum("PERMISSION", Permission.DESCRIPTOR, permission)

    async def work(session: Session) -> bool:
        project_id = await project_id_of(session, project)
        user_id = await user_id_of(session, user, project_id=project_id)
        request = CheckPermissionRequest(
            project_id=project_id,
            permission=number,
            user_id="" if user_id == session.user_id else user_id,
        )
        stub = session.stub(PermissionServiceStub)
        answer = await session.call(stub.CheckPermission, request)
        if options.json:
            print_json(as_json(answer))
        else:
            print_line("allowed" if answer.allowed else "denied")
        return bool(answer.allowed)

    if not in_session(options, work):
        raise typer.Exit(ExitCode.DENIED)
