"""`wm sync`: push, pull and everything that tells how they stand."""

from __future__ import annotations

import sys
from typing import Any

import grpc
import grpc.aio
import typer
from workspace.sync.v1.node_pb2 import Node, NodeAcknowledgement, NodeStatus
from workspace.sync.v1.plan_pb2 import (
    Difference,
    DifferenceKind,
    PlanAction,
    PlannedOperation,
    PlanSummary,
)
from workspace.sync.v1.quarantine_pb2 import QuarantinedRecord, QuarantineReason
from workspace.sync.v1.status_pb2 import ConnectionSyncStatus, SyncHealth
from workspace.sync.v1.sync_service_pb2 import (
    CompareSurfacesRequest,
    EvictNodeRequest,
    GetSyncStatusRequest,
    ListNodesRequest,
    ListQuarantineRequest,
    PlanSyncRequest,
    RetryQuarantinedRequest,
)
from workspace.sync.v1.sync_service_pb2_grpc import SyncServiceStub

from services.cli.arguments import LIMIT
from services.cli.client import Session, in_session
from services.cli.confirming import confirm_by_typing
from services.cli.conflicts import add_to as add_conflict_commands
from services.cli.connections import connection_of
from services.cli.enums import enum_word, parse_enum
from services.cli.exit_codes import ExitCode
from services.cli.failures import usage
from services.cli.options import options_of
from services.cli.output import (
    as_json,
    counted,
    field_text,
    human_bytes,
    print_json,
    print_line,
    print_rows,
    show_table,
)
from services.cli.resolve import project_id_of
from services.cli.sync_runs import CONNECTION, add_run_commands, direction_of, options_from

app = typer.Typer(
    add_completion=False, no_args_is_help=True,
    help="Sync: push to and pull from connections, and what is left for people.",
)
add_run_commands(app)
add_conflict_commands(app)

_SHOWN = 50
_PLAN_COLUMNS = ("action", "family", "name or key", "project", "objects", "bytes", "fields")
_SLOW_CALL = 30.0
_NODE_COLUMNS = ("node", "name", "status", "seen", "acknowledged", "software")
_QUARANTINE_COLUMNS = ("reason", "family", "record", "connection", "tries", "seen", "id")
_DIFFERENCE_COLUMNS = ("difference", "family", "record", "object")


@app.command()
def plan(
    ctx: typer.Context,
    connection: str = CONNECTION,
    pull: bool = typer.Option(False, "--pull", help="Plan a pull instead of a push."),
    force: bool = typer.Option(False, "--force", help="As the run would be given."),
    full: bool = typer.Option(False, "--full", help="Plan a full reconcile."),
    reinitialise: bool = typer.Option(False, "--reinitialise", help="As the run would be given."),
    project: list[str] = typer.Option([], "--project", "-p", help="Only this project; repeatable."),
    limit: int = typer.Option(_SHOWN, "--limit", min=0, help="At most so many lines; 0: all."),
) -> None:
    """What a push (or pull) would do now. Nothing is written.

    Exit code 7 when the guard would stop the run without --force.
    """
    options = options_of(ctx)
    request = PlanSyncRequest(
        direction=direction_of("", "pull" if pull else "push"),
        options=options_from(force, full, reinitialise),
    )

    async def work(session: Session) -> int:
        request.connection_id = (await connection_of(session, connection)).connection_id
        ids = [await project_id_of(session, each) for each in project]
        request.options.project_ids.extend(ids)
        lines, summary = await _plan(session, request, limit)
        if options.json:
            shown = [as_json(line) for line in lines]
            print_json({"summary": as_json(summary), "operations": shown})
        else:
            print_rows(_PLAN_COLUMNS, [_plan_row(line) for line in lines])
            _print_summary(summary, shown=len(lines))
        return ExitCode.PRECONDITION if summary.needs_force and not force else ExitCode.OK

    raise typer.Exit(in_session(options, work))


@app.command()
def compare(
    ctx: typer.Context,
    connection: str = CONNECTION,
    project: list[str] = typer.Option([], "--project", "-p", help="Only this project; repeatable."),
    objects: bool = typer.Option(False, "--objects", help="Check the objects, too."),
    read_bytes: bool = typer.Option(False, "--read-bytes", help="Read every object. Slow."),
    limit: int = LIMIT,
) -> None:
    """How this workspace and a connection differ, from the records themselves.

    Exit code 9 when they do.
    """
    options = options_of(ctx)

    async def work(session: Session) -> int:
        request = CompareSurfacesRequest(
            connection_id=(await connection_of(session, connection)).connection_id,
            include_objects=objects or read_bytes,
            read_bytes=read_bytes,
            project_ids=[await project_id_of(session, each) for each in project],
        )
        found, last = await _compare(session, request, limit)
        if options.json:
            print_json({
                "differences": [as_json(each) for each in found],
                "records_compared": str(last.records_compared),
                "objects_compared": str(last.objects_compared), "equal": last.equal,
            })  # fmt: skip
        else:
            print_rows(_DIFFERENCE_COLUMNS, [_difference_row(each) for each in found])
            checked = f"{counted(last.records_compared, 'record')} compared"
            if objects or read_bytes:
                checked += f", {counted(last.objects_compared, 'object')}"
            verdict = "equal" if last.equal else counted(len(found), "difference")
            print_line(f"{checked}: {verdict}.")
        return ExitCode.OK if last.equal else ExitCode.PARTLY_FAILED

    raise typer.Exit(in_session(options, work))


@app.command()
def status(
    ctx: typer.Context,
    connection: str = typer.Argument("", metavar="[CONNECTION]", help="Only this one."),
) -> None:
    """Where sync stands: health, what waits, what is left."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        stub, request = session.stub(SyncServiceStub), GetSyncStatusRequest(page_size=500)
        if connection:
            request.connection_id = (await connection_of(session, connection)).connection_id
        found: list[ConnectionSyncStatus] = []
        while True:
            answer = await session.call(stub.GetSyncStatus, request, timeout=_SLOW_CALL)
            found.extend(answer.connections)
            request.page_token = answer.next_page_token
            if not request.page_token:
                break
        if options.json:
            shown = [as_json(each) for each in found]
            health = SyncHealth.Name(answer.health)
            print_json({"health": health, "connections": shown})
            return
        if not found:
            print_line("No connections: wm connections add")
        for each in found:
            _print_status(each)

    in_session(options, work)


@app.command()
def quarantine(
    ctx: typer.Context,
    connection: str = typer.Argument("", metavar="[CONNECTION]", help="Only of this one."),
    reason: str = typer.Option("", "--reason", help="Only with this reason."),
    retry: list[str] = typer.Option([], "--retry", help="Try this one again; repeatable, or all."),
    limit: int = LIMIT,
) -> None:
    """Records that could not be applied, newest first; with --retry try them again.

    Exit code 9 when some still do not apply.
    """
    options = options_of(ctx)
    wanted = parse_enum("--reason", QuarantineReason.DESCRIPTOR, reason)
    request = ListQuarantineRequest(reason=wanted)  # type: ignore[arg-type]

    async def work(session: Session) -> int:
        stub = session.stub(SyncServiceStub)
        if connection:
            request.connection_id = (await connection_of(session, connection)).connection_id
        if retry and "all" not in retry:
            return await _retry(session, retry, as_json_too=options.json)
        found = await session.pages(stub.ListQuarantine, request, "records", limit=limit)
        if retry:
            ids = [each.quarantine_id for each in found]
            return await _retry(session, ids, as_json_too=options.json)
        show_table(options, "records", found, _QUARANTINE_COLUMNS, _quarantine_row,
                   empty="nothing in quarantine")  # fmt: skip
        return ExitCode.OK

    raise typer.Exit(in_session(options, work))


@app.command()
def nodes(
    ctx: typer.Context,
    status: str = typer.Option("", "--status", help="live, silent or evicted."),
    limit: int = LIMIT,
) -> None:
    """Nodes that sync with the same surfaces, and how far they have read."""
    options = options_of(ctx)
    wanted = parse_enum("--status", NodeStatus.DESCRIPTOR, status)
    request = ListNodesRequest(status=wanted)  # type: ignore[arg-type]

    async def work(session: Session) -> None:
        stub = session.stub(SyncServiceStub)
        found = await session.pages(stub.ListNodes, request, "nodes", limit=limit)
        show_table(options, "nodes", found, _NODE_COLUMNS, _node_row)

    in_session(options, work)


@app.command()
def evict(
    ctx: typer.Context,
    node: str = typer.Argument(metavar="NODE", help="Node id of `wm sync nodes`."),
    force: bool = typer.Option(False, "--force", help="Although it is live."),
    note: str = typer.Option("", "--note", help="Why, for the audit trail."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
) -> None:
    """Stop waiting for a node that is gone for good.

    If it returns it compares everything, and its unsynced edits become conflicts.
    """
    options = options_of(ctx)
    confirm_by_typing(node, "Deleted records will be purged without this node.", yes=yes)

    async def work(session: Session) -> None:
        stub = session.stub(SyncServiceStub)
        request = EvictNodeRequest(node_id=node, force=force, note=note)
        answer = await session.call(stub.EvictNode, request)
        show_table(options, "nodes", [answer.node], _NODE_COLUMNS, _node_row)

    in_session(options, work)


async def _plan(
    session: Session, request: PlanSyncRequest, limit: int
) -> tuple[list[PlannedOperation], PlanSummary]:
    stub, lines = session.stub(SyncServiceStub), list[PlannedOperation]()
    while True:
        request.page_size = min(limit - len(lines), 500) if limit else 500
        answer = await _patiently(session, stub.PlanSync, request)
        lines.extend(answer.operations)
        request.page_token = answer.next_page_token
        if not request.page_token or (limit and len(lines) >= limit):
            return lines, answer.summary


async def _compare(
    session: Session, request: CompareSurfacesRequest, limit: int
) -> tuple[list[Difference], Any]:
    """Differences, and the last answer: to the end, unless enough were found."""
    stub, found = session.stub(SyncServiceStub), list[Difference]()
    request.page_size = min(limit, 500) if limit else 500
    while True:
        answer = await _patiently(session, stub.CompareSurfaces, request)
        found.extend(answer.differences)
        request.page_token = answer.next_page_token
        if not request.page_token or (limit and len(found) >= limit):
            return found, answer


async def _patiently(session: Session, method: Any, request: Any) -> Any:
    """The answer, however long it is made: the server goes on, the same call gets it."""
    while True:
        try:
            return await session.call(method, request, timeout=_SLOW_CALL)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
            sys.stderr.write("Still at it; Ctrl-C gives up.\n")


async def _retry(session: Session, ids: list[str], *, as_json_too: bool) -> int:
    if not ids:
        raise usage("nothing to try again")
    stub, results = session.stub(SyncServiceStub), []
    for at in range(0, len(ids), 500):
        request = RetryQuarantinedRequest(quarantine_ids=ids[at : at + 500])
        answer = await session.call(stub.RetryQuarantined, request, timeout=_SLOW_CALL)
        results.extend(answer.results)
    if as_json_too:
        print_json({"results": [as_json(each) for each in results]})
    else:
        rows = [
            [each.quarantine_id, "applied" if each.HasField("applied") else each.error.message]
            for each in results
        ]
        print_rows(("id", "outcome"), rows)
    failed = any(each.HasField("error") for each in results)
    return ExitCode.PARTLY_FAILED if failed else ExitCode.OK


def _print_summary(summary: PlanSummary, *, shown: int) -> None:
    told = (
        (summary.creates, "to create"), (summary.updates, "to update"),
        (summary.deletes, "to delete"), (summary.merges, "to merge"),
        (summary.conflicts, "that will conflict"), (summary.quarantined, "for quarantine"),
        (summary.waiting, "waiting for objects"),
    )  # fmt: skip
    parts = [f"{count:,} {what}" for count, what in told if count]
    total = sum(count for count, _ in told)
    how = "full reconcile" if summary.full_reconcile else "changes"
    print_line(f"{how}: {', '.join(parts) or 'nothing to do'}.")
    if shown < total:
        print_line(f"{total - shown:,} more lines with --limit 0.")
    if summary.objects:
        print_line(f"{counted(summary.objects, 'object')}, {human_bytes(summary.bytes)} to move.")
    guard = f"guard: {summary.guarded_changes:,} of at most {summary.guard_limit:,}"
    guard += " deletes, replaced winners and removed versions"
    print_line(guard + (": the run needs --force." if summary.needs_force else "."))


def _print_status(status: ConnectionSyncStatus) -> None:
    health = enum_word(SyncHealth.DESCRIPTOR, status.health)
    name = f" ({status.name})" if status.name else ""
    print_line(f"{status.connection_id}{name}: {health}")
    for heading, text in _status_lines(status):
        if text:
            print_line(f"  {heading:<12}  {text}")


def _status_lines(status: ConnectionSyncStatus) -> list[tuple[str, str]]:
    to_push = ""
    if status.records_to_push:
        age = _span(status.push_lag.seconds)
        to_push = f"{counted(status.records_to_push, 'record')}, the oldest {age} old"
    left = (
        (status.open_conflicts, "open conflict", "wm sync conflicts"),
        (status.quarantined, "record in quarantine", "wm sync quarantine"),
        (status.bytes_pending, "object still to come", "a later run brings it"),
    )
    pulled = f"{_span(status.pull_lag.seconds)} ago" if status.HasField("pull_lag") else ""
    return [
        ("connection", field_text(status, "connection_status")),
        ("running", status.active_run_id and f"wm sync watch {status.active_run_id}"),
        ("to push", to_push),
        ("last pull", pulled),
        *(("left", f"{count:,} {what}: {how}") for count, what, how in left if count),
        ("in step", field_text(status, "in_step_at")),
        ("reconciled", field_text(status, "reconciled_at")),
        ("error", status.last_error.message),
    ]


def _span(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _plan_row(line: PlannedOperation) -> list[str]:
    return [
        enum_word(PlanAction.DESCRIPTOR, line.action), line.key.family,
        line.name or line.key.sk, line.project_id, str(line.objects or ""),
        human_bytes(line.bytes) if line.bytes else "",
        enum_word(QuarantineReason.DESCRIPTOR, line.quarantine_reason)
        if line.quarantine_reason else ", ".join(line.fields),
    ]  # fmt: skip


def _difference_row(each: Difference) -> list[str]:
    kind = enum_word(DifferenceKind.DESCRIPTOR, each.kind)
    return [kind, each.key.family, f"{each.key.pk} {each.key.sk}", each.storage_key]


def _quarantine_row(each: QuarantinedRecord) -> list[str]:
    return [
        enum_word(QuarantineReason.DESCRIPTOR, each.reason), each.family, f"{each.pk} {each.sk}",
        each.connection_id, str(each.attempts), field_text(each, "last_attempt_at"),
        each.quarantine_id,
    ]


def _node_row(node: Node) -> list[str]:
    name = f"{node.name} (this one)" if node.self else node.name
    read = [_acknowledged(each) for each in node.acknowledgements]
    return [
        node.node_id, name, enum_word(NodeStatus.DESCRIPTOR, node.status),
        field_text(node, "last_seen_at"), ", ".join(read), node.software_version,
    ]


def _acknowledged(each: NodeAcknowledgement) -> str:
    return f"{each.connection_id} {field_text(each, 'acknowledged_until')}".strip()
