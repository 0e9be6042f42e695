"""`wm connections`: the surfaces this workspace syncs with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.sync.v1.connection_pb2 import (
    CheckOutcome,
    Connection,
    ConnectionCheck,
    ConnectionStatus,
    SyncScope,
    SyncScopeType,
    Trust,
)
from workspace.sync.v1.connection_service_pb2 import (
    CreateConnectionRequest,
    DeleteConnectionRequest,
    ListConnectionsRequest,
    TestConnectionRequest,
    UpdateConnectionRequest,
)
from workspace.sync.v1.connection_service_pb2_grpc import ConnectionServiceStub

from services.cli.arguments import LIMIT
from services.cli.client import Session, in_session
from services.cli.confirming import confirm_by_typing
from services.cli.enums import enum_word, parse_enum
from services.cli.exit_codes import ExitCode
from services.cli.failures import usage
from services.cli.options import Options, options_of
from services.cli.output import (
    as_json,
    print_json,
    print_line,
    print_rows,
    show_record,
    show_table,
)
from services.cli.resolve import account_id_of, pick, project_id_of
from services.rpc.addresses import is_local

app = typer.Typer(
    add_completion=False, no_args_is_help=True,
    help="Connections: folders, databases and clouds that this workspace syncs with.",
)

_CONNECTION = typer.Argument(metavar="CONNECTION", help="Id or name of a connection.")
_SETTINGS = typer.Argument(
    None, metavar="KEY=VALUE...",
    help="Settings of the provider: folder=/media/usb, or region=eu-central-1 table=t bucket=b; "
    "a wrong one is answered with those there are.",
)
_PROVIDER = typer.Option(
    "local", "--provider", help="local (a folder), postgres, aws or azure."
)
_ACCOUNTS = typer.Option([], "--account", help="Sync this account; repeatable.")
_PROJECTS = typer.Option([], "--project", "-p", help="Sync this project alone; repeatable.")
_TRUST = typer.Option("", "--trust", help="content_only (default), or full for one's own surfaces.")
_BYTES = typer.Option(None, "--max-bytes", min=0, help="Bytes a second each way; 0: no limit.")
_REQUESTS = typer.Option(None, "--max-requests", min=0, help="Requests a second; 0: no limit.")
_SHOWN = (
    "name", "provider", "status", "trust", "note", "max_bytes_per_second",
    "max_requests_per_second", "last_reached_at", "created_at", "connection_id",
)  # fmt: skip
_RECORDS = {
    "postgres": ("host", "database"),
    "aws": ("region", "table"),
    "azure": ("cosmos_account", "cosmos_database", "cosmos_container"),
}
"""Settings that say what has the records, by provider."""


@app.command()
def add(
    ctx: typer.Context,
    connection_id: str = typer.Argument(metavar="ID", help="A short id of your choice."),
    settings: list[str] = _SETTINGS,
    provider: str = _PROVIDER,
    name: str = typer.Option("", "--name", help="Name for people."),
    account: list[str] = _ACCOUNTS,
    project: list[str] = _PROJECTS,
    trust: str = _TRUST,
    note: str = typer.Option("", "--note"),
    max_bytes: int | None = _BYTES,
    max_requests: int | None = _REQUESTS,
    paused: bool = typer.Option(False, "--paused", help="Register it switched off."),
) -> None:
    """Register a surface; look at it with `wm connections test`. Holds no secret."""
    options = options_of(ctx)
    status = ConnectionStatus.CONNECTION_STATUS_PAUSED if paused else 0

    async def work(session: Session) -> None:
        connection = Connection(
            connection_id=connection_id,
            provider=provider,
            name=name,
            note=note,
            settings=_settings(session, settings or []),
            trust=_trust(trust),
            status=status,  # type: ignore[arg-type]
            max_bytes_per_second=max_bytes or 0,
            max_requests_per_second=max_requests or 0,
        )
        scope = await _scope(session, account, project)
        if scope is not None:
            connection.scope.CopyFrom(scope)
        stub = session.stub(ConnectionServiceStub)
        request = CreateConnectionRequest(connection=connection)
        answer = await session.call(stub.CreateConnection, request)
        _show(options, answer.connection, title="Registered")

    in_session(options, work)


@app.command("list")
def list_(
    ctx: typer.Context,
    provider: str = typer.Option("", "--provider", help="Only of this provider."),
    limit: int = LIMIT,
) -> None:
    """Connections that you may use."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        stub = session.stub(ConnectionServiceStub)
        request = ListConnectionsRequest(provider=provider)
        found = await session.pages(stub.ListConnections, request, "connections", limit=limit)
        headings = ("connection_id", "name", "provider", "where", "scope", "status")
        show_table(options, "connections", found, headings, _row)

    in_session(options, work)


@app.command()
def show(ctx: typer.Context, connection: str = _CONNECTION) -> None:
    """One connection."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        _show(options, await connection_of(session, connection))

    in_session(options, work)


@app.command("set")
def set_(
    ctx: typer.Context,
    connection: str = _CONNECTION,
    settings: list[str] = _SETTINGS,
    name: str | None = typer.Option(None, "--name"),
    account: list[str] = _ACCOUNTS,
    project: list[str] = _PROJECTS,
    trust: str = _TRUST,
    note: str | None = typer.Option(None, "--note"),
    max_bytes: int | None = _BYTES,
    max_requests: int | None = _REQUESTS,
) -> None:
    """Change a connection. KEY= takes a setting away."""
    options = options_of(ctx)
    plain: dict[str, Any] = {
        "name": name, "note": note, "max_bytes_per_second": max_bytes,
        "max_requests_per_second": max_requests, "trust": _trust(trust) if trust else None,
    }  # fmt: skip

    async def work(session: Session) -> None:
        found = await connection_of(session, connection)
        changed = {field: value for field, value in plain.items() if value is not None}
        for field, value in changed.items():
            setattr(found, field, value)
        paths = list(changed)
        if settings:
            _merge(found, _settings(session, settings))
            paths.append("settings")
        scope = await _scope(session, account, project)
        if scope is not None:
            found.scope.CopyFrom(scope)
            paths.append("scope")
        if not paths:
            raise usage("nothing to change", remedy="name at least one setting or option")
        _show(options, await _update(session, found, paths), title="Changed")

    in_session(options, work)


@app.command("test")
def check(
    ctx: typer.Context,
    connection: str = _CONNECTION,
    read_only: bool = typer.Option(False, "--read-only", help="Check reading alone."),
) -> None:
    """Open the surface and check what a run needs; the exit code is 1 if it would fail."""
    options = options_of(ctx)
    usable: list[bool] = []

    async def work(session: Session) -> None:
        found = await connection_of(session, connection)
        request = TestConnectionRequest(connection_id=found.connection_id, read_only=read_only)
        stub = session.stub(ConnectionServiceStub)
        answer = await session.call(stub.TestConnection, request)
        usable.append(answer.usable)
        if options.json:
            print_json(as_json(answer))
            return
        print_rows(("check", "outcome", "ms", "why"), [_check(each) for each in answer.checks])
        print_line("Usable." if answer.usable else "Not usable: see what FAILED above.")

    in_session(options, work)
    raise typer.Exit(ExitCode.OK if all(usable) else ExitCode.FAILED)


@app.command()
def pause(ctx: typer.Context, connection: str = _CONNECTION) -> None:
    """Switch a connection off: no run uses it."""
    _set_status(ctx, connection, ConnectionStatus.CONNECTION_STATUS_PAUSED, "Paused")


@app.command()
def resume(ctx: typer.Context, connection: str = _CONNECTION) -> None:
    """Switch a connection on again."""
    _set_status(ctx, connection, ConnectionStatus.CONNECTION_STATUS_ACTIVE, "Active")


@app.command()
def remove(
    ctx: typer.Context,
    connection: str = _CONNECTION,
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
) -> None:
    """Forget a connection and how far it was; no record is lost on either side."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        found = await connection_of(session, connection)
        confirm_by_typing(
            found.connection_id, f"The connection '{found.name}' is forgotten.", yes=yes
        )
        request = DeleteConnectionRequest(connection_id=found.connection_id, etag=found.etag)
        answer = await session.call(session.stub(ConnectionServiceStub).DeleteConnection, request)
        if options.json:
            print_json(as_json(answer))
        else:
            print_line(f"Removed {found.connection_id}.")

    in_session(options, work)


async def connection_of(session: Session, text: str) -> Connection:
    """The connection of an id, or of a name that only one has."""
    stub = session.stub(ConnectionServiceStub)
    found = await session.pages(stub.ListConnections, ListConnectionsRequest(), "connections")
    named = [each for each in found if each.connection_id == text]
    named = named or [each for each in found if each.name == text]
    chosen: Connection = pick("connection", text, named, lambda each: str(each.connection_id))
    return chosen


def _set_status(
    ctx: typer.Context, connection: str, status: ConnectionStatus.ValueType, done: str
) -> None:
    options = options_of(ctx)

    async def work(session: Session) -> None:
        found = await connection_of(session, connection)
        found.status = status
        _show(options, await _update(session, found, ["status"]), title=done)

    in_session(options, work)


async def _update(session: Session, connection: Connection, paths: Sequence[str]) -> Connection:
    request = UpdateConnectionRequest(connection=connection, update_mask=FieldMask(paths=paths))
    answer = await session.call(session.stub(ConnectionServiceStub).UpdateConnection, request)
    changed: Connection = answer.connection
    return changed


def _settings(session: Session, pairs: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE as a map. A folder of this machine is meant from here."""
    given: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise usage(f"{pair!r} is not KEY=VALUE", remedy="for example folder=/media/usb")
        given[key] = value
    if given.get("folder") and is_local(session.server):
        given["folder"] = os.path.abspath(os.path.expanduser(given["folder"]))  # noqa: PTH100, PTH111
    return given


def _merge(connection: Connection, given: dict[str, str]) -> None:
    for key, value in given.items():
        if value:
            connection.settings[key] = value
        elif key in connection.settings:
            del connection.settings[key]


def _trust(text: str) -> Any:
    return parse_enum("--trust", Trust.DESCRIPTOR, text)


async def _scope(
    session: Session, accounts: Sequence[str], projects: Sequence[str]
) -> SyncScope | None:
    """What is to be synced; None when nothing was named."""
    if accounts and projects:
        raise usage("give --account or --project, not both")
    if accounts:
        ids = [await account_id_of(session, each) for each in accounts]
        return SyncScope(type=SyncScopeType.SYNC_SCOPE_TYPE_ACCOUNTS, account_ids=ids)
    if projects:
        ids = [await project_id_of(session, each) for each in projects]
        return SyncScope(type=SyncScopeType.SYNC_SCOPE_TYPE_PROJECTS, project_ids=ids)
    return None


def _show(options: Options, connection: Connection, *, title: str = "") -> None:
    more = [*sorted(connection.settings.items()), ("scope", _scope_text(connection.scope))]
    instance = connection.instance.instance_id
    show_record(
        options, connection, _SHOWN, title=title, more=[*more, ("surface", instance or "not seen")]
    )


def _row(connection: Connection) -> list[str]:
    where = _where(connection.provider, dict(connection.settings))
    status = enum_word(ConnectionStatus.DESCRIPTOR, connection.status)
    scope = _scope_text(connection.scope)
    named = [connection.connection_id, connection.name, connection.provider]
    return [*named, where, scope, status]


def _where(provider: str, settings: dict[str, str]) -> str:
    """Short, and the same for every provider: what has the records."""
    return "/".join(settings.get(name, "") for name in _RECORDS.get(provider, ("folder",)))


def _scope_text(scope: SyncScope) -> str:
    if scope.type == SyncScopeType.SYNC_SCOPE_TYPE_ALL:
        return "everything"
    kind, ids = ("account", scope.account_ids) if scope.account_ids else (
        "project", scope.project_ids
    )
    return f"{kind} {ids[0]}" if len(ids) == 1 else f"{len(ids)} {kind}s"


def _check(check: ConnectionCheck) -> list[str]:
    word = enum_word(CheckOutcome.DESCRIPTOR, check.outcome)
    shown = word.upper() if check.outcome == CheckOutcome.CHECK_OUTCOME_FAILED else word
    took = f"{check.duration_us / 1000:.1f}" if check.duration_us else ""
    return [check.check, shown, took, check.error.message]
