"""`wm sync conflicts`, `conflict` and `resolve`: versions side by side, and a decision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from workspace.sync.v1.conflict_pb2 import (
    Conflict,
    ConflictKind,
    ConflictStatus,
    ProjectResolution,
    Resolution,
)
from workspace.sync.v1.sync_service_pb2 import (
    GetConflictRequest,
    ListConflictsRequest,
    ResolveConflictRequest,
    ResolveConflictResponse,
    ResolveProjectConflictsRequest,
)
from workspace.sync.v1.sync_service_pb2_grpc import SyncServiceStub

from services.cli.arguments import LIMIT
from services.cli.client import Session, in_session
from services.cli.enums import enum_word, parse_enum
from services.cli.failures import CliError, not_found, usage
from services.cli.options import options_of
from services.cli.output import (
    as_json,
    counted,
    field_text,
    print_json,
    print_line,
    print_rows,
    show_table,
)
from services.cli.resolve import project_id_of

__all__ = ["add_to"]

_LETTERS = "ABCDEFGHIJKLMNOP"
_SHORT = 10
_WIDE = 60


def add_to(app: typer.Typer) -> None:
    """Put the commands into the group `wm sync`."""
    app.command("conflicts")(conflicts)
    app.command("conflict")(conflict)
    app.command("resolve")(resolve)


def conflicts(
    ctx: typer.Context,
    project: str = typer.Option("", "--project", "-p", help="Only this project."),
    kind: str = typer.Option("", "--kind", help="edit_edit, edit_delete, policy, ..."),
    resolved: bool = typer.Option(False, "--resolved", help="Decided ones instead of open ones."),
    limit: int = LIMIT,
) -> None:
    """What people must decide, newest first."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = ListConflictsRequest()
        if project:
            request.project_id = await project_id_of(session, project)
        if kind:
            request.kind = parse_enum("--kind", ConflictKind.DESCRIPTOR, kind)  # type: ignore[assignment]
        if resolved:
            request.status = ConflictStatus.CONFLICT_STATUS_RESOLVED
        stub = session.stub(SyncServiceStub)
        found = await session.pages(stub.ListConflicts, request, "conflicts", limit=limit)
        show_table(
            options, "conflicts", found,
            ("conflict", "kind", "what", "name", "versions", "fields", "since"), _row,
            empty="no conflicts",
        )

    in_session(options, work)


def conflict(
    ctx: typer.Context,
    conflict_id: str = typer.Argument(metavar="CONFLICT", help="Id, or how it begins."),
) -> None:
    """One conflict: its versions side by side, who wrote them, when and where."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        found = await _get(session, conflict_id)
        if options.json:
            print_json({"conflict": as_json(found)})
            return
        _show(found)

    in_session(options, work)


def resolve(
    ctx: typer.Context,
    conflict_id: str = typer.Argument("", metavar="[CONFLICT]", help="Id, or how it begins."),
    keep: str = typer.Option("", "--keep", help="Version to keep: A, B, ..."),
    ours: bool = typer.Option(False, "--ours", help="Keep this workspace's version."),
    both: bool = typer.Option(False, "--both", help="Keep all; losers become new documents."),
    name: str = typer.Option("", "--name", help="With --both: name of the new document."),
    field: list[str] = typer.Option([], "--field", help="title=B: this field of that version."),
    body: str = typer.Option("", "--body", help="File with the whole record as JSON."),
    delete: bool = typer.Option(False, "--delete", help="Delete the record."),
    project: str = typer.Option("", "--project", "-p", help="All open conflicts of a project."),
    rule: str = typer.Option("", "--rule", help="With --project: ours, theirs, winner or both."),
    note: str = typer.Option("", "--note", help="Why, for the audit trail."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show the result, change nothing."),
) -> None:
    """Decide a conflict. Pushing it closes the conflict everywhere."""
    options = options_of(ctx)
    chosen = [bool(each) for each in (keep, ours, both, field, body, delete)]
    if project:
        if conflict_id or any(chosen) or not rule:
            raise usage("--project needs --rule and no conflict", remedy="--project P --rule ours")
    elif sum(chosen) != 1 or not conflict_id:
        raise usage(
            "give a conflict and one of --keep, --ours, --both, --field, --body, --delete",
            remedy="look at the versions with `wm sync conflict ID`",
        )

    async def work(session: Session) -> None:
        if project:
            await _resolve_project(session, ctx, project, rule, note, dry_run)
            return
        found = await _get(session, conflict_id)
        request = ResolveConflictRequest(
            conflict_id=found.conflict_id,
            resolution=_resolution(found, keep, ours, both, name, field, body, delete),
            note=note, dry_run=dry_run, etag=found.etag,
        )
        stub = session.stub(SyncServiceStub)
        answer = await session.call(stub.ResolveConflict, request)
        if options.json:
            print_json(as_json(answer))
            return
        _told(answer, dry_run=dry_run)

    in_session(options, work)


async def _resolve_project(
    session: Session, ctx: typer.Context, project: str, rule: str, note: str, dry_run: bool
) -> None:
    request = ResolveProjectConflictsRequest(
        project_id=await project_id_of(session, project),
        resolution=parse_enum("--rule", ProjectResolution.DESCRIPTOR, rule),  # type: ignore[arg-type]
        note=note, dry_run=dry_run,
    )
    stub = session.stub(SyncServiceStub)
    results = await session.pages(stub.ResolveProjectConflicts, request, "results", limit=0)
    if options_of(ctx).json:
        print_json({"results": [as_json(each) for each in results]})
        return
    failed = [each for each in results if each.WhichOneof("outcome") == "error"]
    verb = "would be resolved" if dry_run else "resolved"
    print_line(f"{counted(len(results) - len(failed), 'conflict')} {verb}")
    for each in failed:
        print_line(f"  {each.conflict_id[:_SHORT]}  still open: {each.error.message}")
    if failed:
        raise CliError(f"{counted(len(failed), 'conflict')} still open")


async def _get(session: Session, text: str) -> Conflict:
    stub = session.stub(SyncServiceStub)
    found = text if len(text) == 64 else await _whole_id(session, text)
    answer = await session.call(stub.GetConflict, GetConflictRequest(conflict_id=found))
    known: Conflict = answer.conflict
    return known


async def _whole_id(session: Session, text: str) -> str:
    stub = session.stub(SyncServiceStub)
    listed = await session.pages(stub.ListConflicts, ListConflictsRequest(), "conflicts", limit=0)
    found = [each.conflict_id for each in listed if each.conflict_id.startswith(text)]
    if not found:
        raise not_found(f"no open conflict {text!r}", remedy="look at `wm sync conflicts`")
    if len(found) > 1:
        raise usage(f"{len(found)} conflicts begin with {text!r}", remedy="give more of the id")
    return str(found[0])


def _resolution(
    found: Conflict, keep: str, ours: bool, both: bool, name: str, field: Sequence[str], body: str,
    delete: bool,
) -> Resolution:
    if keep:
        return Resolution(theirs=Resolution.Theirs(dot=_version(found, keep).stamp.dot))
    if ours:
        return Resolution(ours=Resolution.Ours())
    if both:
        return Resolution(both=Resolution.Both(name=name))
    if delete:
        return Resolution(delete=Resolution.Delete())
    if body:
        return Resolution(body=Resolution.Body(body=_read(body)))
    choices = {}
    for each in field:
        key, _, letter = each.partition("=")
        choices[key] = _version(found, letter).stamp.dot
    return Resolution(fields=Resolution.Fields(choices=choices))


def _version(found: Conflict, letter: str) -> Any:
    at = _LETTERS.find(letter.upper()) if len(letter) == 1 else -1
    if not 0 <= at < len(found.versions):
        last = _LETTERS[len(found.versions) - 1] if found.versions else "A"
        raise usage(f"no version {letter!r}", remedy=f"this conflict has A to {last}")
    return found.versions[at]


def _read(path: str) -> Struct:
    try:
        struct = Struct()
        struct.update(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise usage(f"--body: {path} cannot be read as JSON ({error})", remedy="") from None
    return struct


def _row(each: Conflict) -> Sequence[str]:
    return (
        each.conflict_id[:_SHORT],
        enum_word(ConflictKind.DESCRIPTOR, each.kind),
        each.key.family.replace("_", " "),
        each.name,
        str(len(each.versions)) if each.versions else "",
        ", ".join(field.field for field in each.fields),
        field_text(each, "created_at"),
    )


def _show(found: Conflict) -> None:
    kind = enum_word(ConflictKind.DESCRIPTOR, found.kind)
    state = enum_word(ConflictStatus.DESCRIPTOR, found.status)
    what = found.key.family.replace("_", " ")
    print_line(f"{what} {found.name!r}: {kind}, {state}, since {field_text(found, 'created_at')}")
    if not found.versions:
        print_line(f"  resolved by {found.resolved_by or 'another node'}")
        return
    print_line(f"  {found.conflict_id}")
    headings = ["", *(_heading(at, each) for at, each in enumerate(found.versions))]
    if found.HasField("base"):
        headings.append("before")
    print_rows(headings, [*_who(found), *_fields(found)])
    print_line("* differs; keep one with `wm sync resolve ID --keep A`, or field by field")


def _heading(at: int, version: Any) -> str:
    marks = [word for word, on in (("shown", version.winner), ("ours", version.ours)) if on]
    return _LETTERS[at] + (f" ({', '.join(marks)})" if marks else "")


def _who(found: Conflict) -> list[list[str]]:
    empty = [""] if found.HasField("base") else []
    rows = [
        ["written by", *(each.author_user_id for each in found.versions), *empty],
        ["when", *(field_text(each, "written_at") for each in found.versions), *empty],
        ["node", *(each.node_id for each in found.versions), *empty],
    ]
    if any(not each.objects_available for each in found.versions):
        here = ["here" if each.objects_available else "to come" for each in found.versions]
        rows.append(["file", *here, *empty])
    return rows


def _fields(found: Conflict) -> list[list[str]]:
    """A row for each field on which the versions are not of one mind."""
    bodies = [MessageToDict(v.body) if v.HasField("body") else None for v in found.versions]
    base = [MessageToDict(found.base.body)] if found.HasField("base") else []
    names = sorted({name for body in bodies if body is not None for name in body})
    contested = {each.field for each in found.fields}
    rows = []
    for name in names:
        texts = [_text(body, name) for body in bodies]
        if len(set(texts)) > 1:
            mark = "* " if name in contested else "  "
            rows.append([mark + name, *texts, *(_text(body, name) for body in base)])
    if any(body is None for body in bodies):
        rows.insert(0, ["* state", *("deleted" if b is None else "there" for b in bodies),
                        *("there" for _ in base)])  # fmt: skip
    return rows


def _text(body: dict[str, Any] | None, name: str) -> str:
    if body is None or name not in body:
        return ""
    value = body[name]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDE else text[: _WIDE - 3] + "..."


def _told(answer: ResolveConflictResponse, *, dry_run: bool) -> None:
    if dry_run:
        print_line("Nothing was changed. It would become:")
        members = MessageToDict(answer.result)
        for name in sorted(members):
            print_line(f"  {name}: {_text(members, name)}")
        if not members:
            print_line("  deleted")
        return
    print_line("Resolved. Push to close it everywhere: wm sync push CONNECTION")
    for document in answer.new_document_ids:
        print_line(f"  kept as a new document: {document}")
    if answer.remaining_conflict_id:
        print_line(f"  still open: {answer.remaining_conflict_id[:_SHORT]} (a later version)")
