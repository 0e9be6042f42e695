"""`wm sync push|pull|watch|runs|cancel`: runs, followed from the command line."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import grpc
import grpc.aio
import typer
from workspace.sync.v1.run_pb2 import Run, RunStatus, SyncDirection, SyncOptions
from workspace.sync.v1.sync_service_pb2 import (
    CancelRunRequest,
    ListRunsRequest,
    PullRequest,
    PushRequest,
    StartSyncRequest,
    WatchRunRequest,
)
from workspace.sync.v1.sync_service_pb2_grpc import SyncServiceStub

from services.cli.arguments import LIMIT
from services.cli.client import Session, in_session
from services.cli.connections import connection_of
from services.cli.enums import enum_word, parse_enum
from services.cli.exit_codes import BY_STATUS, ExitCode
from services.cli.failures import CliError
from services.cli.options import Options, options_of
from services.cli.output import (
    as_json,
    field_text,
    print_json_line,
    print_line,
    show_record,
    show_table,
)
from services.cli.resolve import project_id_of
from services.cli.sync_progress import RunProgress, report, what_was_done

__all__ = ["CONNECTION", "add_run_commands", "direction_of", "options_from"]

CONNECTION = typer.Argument(metavar="CONNECTION", help="Id or name of a connection.")
_RUN = typer.Argument(metavar="RUN", help="Run id of `wm sync runs`.")
_FORCE = typer.Option(False, "--force", help="Go on past the mass-change guard.")
_FULL = typer.Option(False, "--full", help="Compare everything, not only what changed.")
_REINITIALISE = typer.Option(
    False, "--reinitialise", help="Accept the surface that is behind the connection now."
)
_PROJECTS = typer.Option([], "--project", "-p", help="Only this project; repeatable.")
_BYTES = typer.Option(0, "--max-bytes", min=0, help="Most bytes per second; 0: no own limit.")
_REQUESTS = typer.Option(0, "--max-requests", min=0, help="Most calls per second; 0: no own limit.")
_DETACH = typer.Option(False, "--detach", help="Start it and return at once.")
_BREAKS = (
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)  # fmt: skip
_PATIENCE = 60.0
_PAUSE = 1.0
_ENDED = frozenset(
    {
        RunStatus.RUN_STATUS_SUCCEEDED,
        RunStatus.RUN_STATUS_SUCCEEDED_WITH_ISSUES,
        RunStatus.RUN_STATUS_FAILED,
        RunStatus.RUN_STATUS_CANCELLED,
    }
)
_COLUMNS = ("run", "connection", "direction", "status", "created", "what")


def add_run_commands(app: typer.Typer) -> None:
    """Put the verbs about runs on the group."""
    app.command()(push)
    app.command()(pull)
    app.command()(watch)
    app.command()(runs)
    app.command()(cancel)


def push(
    ctx: typer.Context, connection: str = CONNECTION, force: bool = _FORCE, full: bool = _FULL,
    reinitialise: bool = _REINITIALISE, project: list[str] = _PROJECTS, max_bytes: int = _BYTES,
    max_requests: int = _REQUESTS, detach: bool = _DETACH,
) -> None:  # fmt: skip
    """Send what changed here to a connection.

    Ctrl-C leaves the run going. Exit code 9 when conflicts, quarantine or
    pending bytes are left.
    """
    _begin(
        ctx, PushRequest(connection_id=connection), SyncDirection.SYNC_DIRECTION_PUSH, project,
        options_from(force, full, reinitialise, max_bytes, max_requests), detach=detach,
    )


def pull(
    ctx: typer.Context, connection: str = CONNECTION, force: bool = _FORCE, full: bool = _FULL,
    reinitialise: bool = _REINITIALISE, project: list[str] = _PROJECTS, max_bytes: int = _BYTES,
    max_requests: int = _REQUESTS, detach: bool = _DETACH,
) -> None:  # fmt: skip
    """Merge what changed at a connection into this workspace.

    Ctrl-C leaves the run going. Exit code 9 when conflicts, quarantine or
    pending bytes are left.
    """
    _begin(
        ctx, PullRequest(connection_id=connection), SyncDirection.SYNC_DIRECTION_PULL, project,
        options_from(force, full, reinitialise, max_bytes, max_requests), detach=detach,
    )


def watch(ctx: typer.Context, run: str = _RUN) -> None:
    """Follow a run to its end."""
    options = options_of(ctx)

    async def work(session: Session) -> int:
        return await _Following(session, options, run_id=run).follow()

    raise typer.Exit(in_session(options, work))


def runs(
    ctx: typer.Context,
    connection: str = typer.Argument("", metavar="[CONNECTION]", help="Only of this one."),
    status: str = typer.Option("", "--status", help="Only in this state, for example failed."),
    direction: str = typer.Option("", "--direction", help="Only push or pull."),
    limit: int = LIMIT,
) -> None:
    """Runs, newest first (20 unless --limit says otherwise)."""
    options = options_of(ctx)
    request = ListRunsRequest(
        status=parse_enum("--status", RunStatus.DESCRIPTOR, status),  # type: ignore[arg-type]
        direction=direction_of("--direction", direction),
    )

    async def work(session: Session) -> None:
        stub = session.stub(SyncServiceStub)
        if connection:
            request.connection_id = await _id_of(session, connection)
        found = await session.pages(stub.ListRuns, request, "runs", limit=limit or 20)
        show_table(options, "runs", found, _COLUMNS, _row)

    in_session(options, work)


def cancel(ctx: typer.Context, run: str = _RUN) -> None:
    """Have a run end after its batch. What was committed stays."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        stub = session.stub(SyncServiceStub)
        answer = await session.call(stub.CancelRun, CancelRunRequest(run_id=run))
        show_record(options, answer.run, ("run_id", "connection_id", "direction", "status"))

    in_session(options, work)


def direction_of(option: str, text: str) -> SyncDirection.ValueType:
    """`push`, `pull` or ''. Raises a usage error."""
    return parse_enum(option, SyncDirection.DESCRIPTOR, text)  # type: ignore[return-value]


def options_from(
    force: bool, full: bool, reinitialise: bool, max_bytes: int = 0, max_requests: int = 0
) -> SyncOptions:
    """How a run shall work."""
    return SyncOptions(
        force=force, full_reconcile=full, reinitialise=reinitialise,
        max_bytes_per_second=max_bytes, max_requests_per_second=max_requests,
    )


def _begin(
    ctx: typer.Context, request: Any, direction: SyncDirection.ValueType, projects: list[str],
    how: SyncOptions, *, detach: bool,
) -> None:  # fmt: skip
    options = options_of(ctx)

    async def work(session: Session) -> int:
        found = await connection_of(session, request.connection_id)
        request.connection_id = found.connection_id
        how.project_ids.extend([await project_id_of(session, each) for each in projects])
        request.options.CopyFrom(how)
        if not detach:
            return await _Following(session, options, begin=request).follow()
        stub = session.stub(SyncServiceStub)
        start = StartSyncRequest(
            connection_id=request.connection_id, direction=direction, options=how
        )
        answer = await session.call(stub.StartSync, start)
        if options.json:
            print_json_line(as_json(answer.run))
        else:
            print_line(f"Started {answer.run.run_id}. {_how_to_go_on(answer.run.run_id)}")
        return ExitCode.OK

    raise typer.Exit(in_session(options, work))


async def _id_of(session: Session, text: str) -> str:
    """The id of a connection; of one that was removed only the id itself is known."""
    try:
        return (await connection_of(session, text)).connection_id
    except CliError:
        return text


class _Following:
    """A run to its end, over as many streams as it takes."""

    def __init__(
        self, session: Session, options: Options, *, begin: Any = None, run_id: str = ""
    ) -> None:
        self._session = session
        self._options = options
        self._begin = begin
        self._run_id = run_id
        self._last: Run | None = None

    async def follow(self) -> int:
        """Show it; the exit code. Ctrl-C leaves the run going and says how to go on."""
        heard = time.monotonic()
        with RunProgress(shown=not self._options.json) as bar:
            try:
                while self._last is None or self._last.status not in _ENDED:
                    try:
                        async for message in self._messages():
                            heard = time.monotonic()
                            self._take(message, bar)
                    except grpc.aio.AioRpcError as error:
                        waited = time.monotonic() - heard
                        known = self._last is not None or self._run_id
                        if not known or error.code() not in _BREAKS or waited > _PATIENCE:
                            raise
                        await self._session.renew()
                        await asyncio.sleep(_PAUSE)
            except asyncio.CancelledError:
                self._say_detached()
                raise
        return self._done(self._last)

    def _messages(self) -> Any:
        stub = self._session.stub(SyncServiceStub)
        if self._run_id:  # begun: only look
            return self._session.stream(stub.WatchRun, WatchRunRequest(run_id=self._run_id))
        method: Any = stub.Push if isinstance(self._begin, PushRequest) else stub.Pull
        return self._session.stream(method, self._begin)

    def _take(self, message: Any, bar: RunProgress) -> None:
        self._last = message.progress.run
        self._run_id = message.progress.run.run_id
        if self._options.json:
            print_json_line(as_json(message))
        else:
            bar.show(message.progress)

    def _done(self, run: Run) -> int:
        if not self._options.json:
            report(run)
        if run.status == RunStatus.RUN_STATUS_SUCCEEDED:
            return ExitCode.OK
        if run.status == RunStatus.RUN_STATUS_SUCCEEDED_WITH_ISSUES:
            # A conflict is no failure: both versions are there until people decide.
            left = run.counts.quarantined or run.counts.bytes_pending
            return ExitCode.PARTLY_FAILED if left else ExitCode.OK
        if run.status == RunStatus.RUN_STATUS_CANCELLED:
            return ExitCode.FAILED
        names = {code.value[0]: code.name for code in grpc.StatusCode}
        return BY_STATUS.get(names.get(run.error.code, ""), ExitCode.FAILED)

    def _say_detached(self) -> None:
        how = _how_to_go_on(self._run_id) if self._run_id else "Look for it: wm sync runs"
        sys.stderr.write(f"\nThe run goes on. {how}\n")


def _how_to_go_on(run_id: str) -> str:
    return f"Follow it: wm sync watch {run_id}   End it: wm sync cancel {run_id}"


def _row(run: Run) -> list[str]:
    return [
        run.run_id, run.connection_id, enum_word(SyncDirection.DESCRIPTOR, run.direction),
        enum_word(RunStatus.DESCRIPTOR, run.status), field_text(run, "created_at"),
        run.error.message if run.HasField("error") else what_was_done(run),
    ]
