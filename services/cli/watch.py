"""`wm watch`: what happens, as it happens."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import typer
from workspace.project.v1.history_service_pb2 import WatchEventsRequest
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub
from workspace.project.v1.permission_service_pb2 import WatchPermissionsRequest
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub

from services.cli.client import Session, in_session
from services.cli.failures import usage
from services.cli.options import Options, options_of
from services.cli.output import as_json, field_text, print_json_line, print_line
from services.cli.people import People
from services.cli.resolve import account_id_of, project_id_of

app = typer.Typer(add_completion=False)

_BREAKS = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED)
_PAUSE = 1.0


@app.command()
def watch(
    ctx: typer.Context,
    what: str = typer.Argument("events", metavar="[events|permissions]"),
    project: list[str] = typer.Option(
        [], "--project", "-p", help="Only this project; repeatable. Default: all you may see."
    ),
    account: str = typer.Option("", "--account", help="Only this account (events)."),
    type_: list[str] = typer.Option(
        [], "--type", help="Only these events, document.created or document.*; repeatable."
    ),
    resume: str = typer.Option("", "--resume", help="Go on after the message of this token."),
    count: int = typer.Option(0, "--count", min=0, help="End after so many; 0: go on."),
    checkpoints: bool = typer.Option(False, "--checkpoints", help="Print the idle messages, too."),
    retry_for: float = typer.Option(
        30.0, "--retry-for", min=0, help="Seconds to wait for a server that does not answer."
    ),
) -> None:
    """Print changes as they happen, one line each; with --json NDJSON.

    Ctrl-C ends it (exit code 130) and prints the token with which --resume
    goes on without a gap: what happened meanwhile comes first. Messages come
    at least once.
    """
    if what not in ("events", "permissions"):
        raise usage(f"{what!r} cannot be watched", remedy="watch events or permissions")
    if what == "permissions" and (account or type_):
        raise usage("--account and --type are for events")
    options = options_of(ctx)

    async def work(session: Session) -> None:
        project_ids = [await project_id_of(session, each) for each in project]
        if what == "events":
            account_id = await account_id_of(session, account) if account else ""
            request: Any = WatchEventsRequest(
                project_ids=project_ids, account_id=account_id, event_types=type_
            )
            method: Any = session.stub(HistoryServiceStub).WatchEvents
        else:
            request = WatchPermissionsRequest(project_ids=project_ids)
            method = session.stub(PermissionServiceStub).WatchPermissions
        request.resume_token = resume
        watching = _Watching(session, options, count=count, checkpoints=checkpoints)
        await watching.run(method, request, patience=retry_for)

    in_session(options, work)


class _Watching:
    """One watch, over as many streams as it takes."""

    def __init__(
        self, session: Session, options: Options, *, count: int, checkpoints: bool
    ) -> None:
        self._session = session
        self._options = options
        self._people = People(session)
        self._left = count or -1
        self._checkpoints = checkpoints

    async def run(self, method: Any, request: Any, *, patience: float) -> None:
        """Until Ctrl-C, the count, or an error that waiting does not heal."""
        heard = time.monotonic()
        if not self._options.json:
            sys.stderr.write("Watching; Ctrl-C ends it.\n")
        try:
            while self._left:
                try:
                    async for message in self._session.stream(method, request):
                        heard = time.monotonic()
                        await self._take(message)
                        request.resume_token = message.resume_token
                        if not self._left:
                            break
                except grpc.aio.AioRpcError as error:
                    if error.code() not in _BREAKS or time.monotonic() - heard > patience:
                        raise
                    await self._session.renew()
                    await asyncio.sleep(_PAUSE)
        finally:
            self._say_token(request.resume_token)

    async def _take(self, message: Any) -> None:
        if message.checkpoint and not self._checkpoints:
            return
        if self._options.json:
            print_json_line(as_json(message))
        else:
            print_line(await self._line(message))
            sys.stdout.flush()
        if not message.checkpoint:
            self._left -= 1

    async def _line(self, message: Any) -> str:
        if message.checkpoint:
            return f"checkpoint {message.resume_token}"
        if hasattr(message, "event"):
            await self._people.learn([message.event.actor_user_id])
            return event_line(message.event, self._people.name)
        await self._people.learn([message.project_id, message.user_id])
        return permission_line(message, self._people.label)

    def _say_token(self, token: str) -> None:
        if not token:
            return
        if self._options.json:
            sys.stderr.write(json.dumps({"resume_token": token}) + "\n")
        else:
            sys.stderr.write(f"\nGo on from here with: --resume {token}\n")


def event_line(event: Any, name: Callable[[str], str]) -> str:
    """`2026-01-02 03:04:05  document.created  Ann  documents/d_...`."""
    who = name(event.actor_user_id) or event.actor_user_id or event.actor_service or "-"
    when = field_text(event, "occurred_at")
    return f"{when}  {event.type:<28}  {who:<16}  {event.resource}"


def permission_line(message: Any, label: Callable[[str], str]) -> str:
    """Whose permissions may have changed, and where."""
    who = label(message.user_id) if message.user_id else "anybody"
    where = label(message.project_id) if message.project_id else "any project"
    return f"{field_text(message, 'occurred_at')}  permissions of {who} on {where} may have changed"
