"""`wm relocate`: move a project's files to its present home."""

from __future__ import annotations

import sys
from typing import Any

import typer
from workspace.storage.v1.relocation_pb2 import RelocationStatus
from workspace.storage.v1.storage_service_pb2 import RelocateProjectRequest
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from services.cli.arguments import PROJECT
from services.cli.client import Session, in_session
from services.cli.exit_codes import ExitCode
from services.cli.options import options_of
from services.cli.output import (
    as_json,
    counted,
    field_text,
    human_bytes,
    print_json_line,
    print_line,
    print_rows,
)
from services.cli.resolve import project_id_of

app = typer.Typer(add_completion=False)


@app.command()
def relocate(
    ctx: typer.Context,
    project: str = PROJECT,
    dry_run: bool = typer.Option(False, "--dry-run", help="Count what would move."),
) -> None:
    """Move the files of a project under the prefix of its present home.

    After `wm projects assign` the files lie, and count, where they were. Every
    file is copied, verified and switched; they stay readable all the time.
    Ctrl-C leaves it going on the server; run it again to look. Exit code 9
    when some files stayed where they were.
    """
    options = options_of(ctx)

    async def work(session: Session) -> int:
        request = RelocateProjectRequest(
            project_id=await project_id_of(session, project), dry_run=dry_run
        )
        stub = session.stub(StorageServiceStub)
        last: Any = None
        async for message in session.stream(stub.RelocateProject, request):
            last = message.relocation if message.HasField("relocation") else last
            if options.json:
                print_json_line(as_json(message))
            elif last is not None and sys.stderr.isatty():
                sys.stderr.write(f"\r{_progress(last)}   ")
        if sys.stderr.isatty() and not options.json:
            sys.stderr.write("\n")
        if last is None:
            return ExitCode.OK
        if not options.json:
            _print(last, dry_run=dry_run)
        failed = last.status == RelocationStatus.RELOCATION_STATUS_FAILED or last.objects_failed
        return ExitCode.PARTLY_FAILED if failed else ExitCode.OK

    raise typer.Exit(in_session(options, work))


def _progress(relocation: Any) -> str:
    return (
        f"{relocation.objects_done}/{relocation.objects_planned} files, "
        f"{human_bytes(relocation.bytes_done)} of {human_bytes(relocation.bytes_planned)}"
    )


def _print(relocation: Any, *, dry_run: bool) -> None:
    if dry_run:
        count = counted(relocation.objects_planned, "file")
        print_line(f"Would move {count} ({human_bytes(relocation.bytes_planned)}).")
        return
    moved = counted(relocation.objects_done, "file")
    print_line(f"{field_text(relocation, 'status')}: {moved} moved, "
               f"{relocation.objects_failed} failed.")  # fmt: skip
    rows = [[f.document_id, f.error.message] for f in relocation.failures]
    print_rows(("document_id", "why"), rows)
