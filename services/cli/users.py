"""`wm users`: people as the platform sees them: sessions, data, erasure."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer
from workspace.identity.v1.identity_service_pb2 import (
    BootstrapPlatformAdminRequest,
    DisableUserRequest,
    EnableUserRequest,
    EraseUserRequest,
    ExportUserDataRequest,
    GetUserRequest,
    RevokeSessionsRequest,
)
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from services.cli.client import Session, in_session
from services.cli.confirming import confirm_by_typing
from services.cli.data_export import export_records
from services.cli.options import options_of
from services.cli.output import as_json, counted, print_json, print_line, print_rows, show_record
from services.cli.resolve import user_id_of
from services.cli.signing_in import read_local_secret

app = typer.Typer(
    add_completion=False, no_args_is_help=True,
    help="Users: their data, their sessions, disabling and erasing.",
)
sessions = typer.Typer(
    add_completion=False, no_args_is_help=True, help="The signed-in sessions of a user."
)
app.add_typer(sessions, name="sessions")

_WHO = typer.Argument("me", metavar="[WHO]", help="User id or e-mail address; default you.")
_OTHER = typer.Argument(metavar="WHO", help="User id or e-mail address.")
_SHOWN = (
    "name", "email", "status", "disabled_at", "disabled_reason", "erased_at",
    "personal_workspace_id", "last_seen_at", "user_id",
)
_ERASES = (
    "This replaces name, address and every other personal data of {} by a pseudonym, in\n"
    "records and history, for good. The identity can never sign in again."
)


@app.command()
def show(ctx: typer.Context, who: str = _WHO) -> None:
    """One user whom you may see."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = GetUserRequest(user_id=await user_id_of(session, who))
        answer = await session.call(session.stub(IdentityServiceStub).GetUser, request)
        show_record(options, answer.user, _SHOWN)

    in_session(options, work)


@app.command()
def export(
    ctx: typer.Context,
    who: str = _WHO,
    output: Path | None = typer.Option(
        None, "--output", "-o", help="File to write; default standard output.", show_default=False
    ),
    force: bool = typer.Option(False, "--force", help="Replace a file that is there."),
) -> None:
    """Every record about a user, one JSON document a line (NDJSON)."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = ExportUserDataRequest(user_id=await user_id_of(session, who))
        method = session.stub(IdentityServiceStub).ExportUserData
        await export_records(session, options, method, request, output, force=force)

    in_session(options, work)


@app.command()
def erase(
    ctx: typer.Context,
    who: str = typer.Argument(metavar="WHO", help="User id, e-mail address, or `me`."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask; for scripts."),
) -> None:
    """Replace somebody's personal data for good; asks you to type the user id."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        user_id = await user_id_of(session, who)
        confirm_by_typing(user_id, _ERASES.format(user_id), yes=yes)
        request = EraseUserRequest(user_id=user_id, confirm_user_id=user_id)
        answer = await session.call(session.stub(IdentityServiceStub).EraseUser, request)
        show_record(options, answer.user, ("status", "erased_at", "user_id"), title="Erased")

    in_session(options, work)


@app.command()
def disable(
    ctx: typer.Context, who: str = _OTHER, reason: str = typer.Option("", "--reason")
) -> None:
    """Refuse a user everywhere; says what is left without an owner (platform admins)."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = DisableUserRequest(user_id=await user_id_of(session, who), reason=reason)
        answer = await session.call(session.stub(IdentityServiceStub).DisableUser, request)
        if options.json:
            print_json(as_json(answer))
            return
        show_record(options, answer.user, _SHOWN, title="Disabled")
        _print_orphans(answer)

    in_session(options, work)


@app.command()
def enable(ctx: typer.Context, who: str = _OTHER) -> None:
    """Let a disabled user sign in again (platform admins)."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = EnableUserRequest(user_id=await user_id_of(session, who))
        answer = await session.call(session.stub(IdentityServiceStub).EnableUser, request)
        show_record(options, answer.user, _SHOWN, title="Enabled")

    in_session(options, work)


@app.command()
def bootstrap_admin(ctx: typer.Context) -> None:
    """Become the first platform admin, by the secret in the data folder; once."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = BootstrapPlatformAdminRequest(
            bootstrap_secret=read_local_secret(options.data_dir)
        )
        stub = session.stub(IdentityServiceStub)
        answer = await session.call(stub.BootstrapPlatformAdmin, request)
        fields = ("user_id", "source", "created_at")
        show_record(options, answer.platform_admin, fields, title="You are a platform admin")

    in_session(options, work)


@sessions.callback()
def _sessions() -> None:
    """Keeps `revoke` a word of its own."""


@sessions.command("revoke")
def revoke_sessions(
    ctx: typer.Context,
    who: str = _WHO,
    machine_tokens: bool = typer.Option(
        False, "--machine-tokens", help="Their machine tokens, too."
    ),
) -> None:
    """Refuse every token of a user that was issued before now."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = RevokeSessionsRequest(
            user_id=await user_id_of(session, who), include_machine_tokens=machine_tokens
        )
        answer = await session.call(session.stub(IdentityServiceStub).RevokeSessions, request)
        if options.json:
            print_json(as_json(answer))
            return
        print_line(f"Every session of {answer.user.user_id} is refused from now on.")
        if machine_tokens:
            tokens = counted(answer.revoked_machine_tokens, "machine token")
            print_line(f"Revoked with them: {tokens}.")
        if answer.user.user_id == session.user_id:
            sys.stderr.write("Sign in again here: wm login --as " + session.login.email + "\n")

    in_session(options, work)


def _print_orphans(answer: Any) -> None:
    if not answer.orphan_count:
        return
    print_line("Left without an enabled owner or root administrator:")
    rows = []
    for orphan in answer.orphans:
        kind = orphan.WhichOneof("scope") or ""
        rows.append([kind.removesuffix("_id"), orphan.name, getattr(orphan, kind, "")])
    print_rows(("kind", "name", "id"), rows)
    if answer.orphan_count > len(rows) or answer.orphans_incomplete:
        print_line("... and more; give these an owner, and ask again.")
