"""`wm audit`: whether the history is whole, and what auditors keep of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import typer
from workspace.identity.v1.account_service_pb2 import ListAccountsRequest
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.project.v1.history_service_pb2 import (
    ActivityCheckpoint,
    ActivityFault,
    ActivityFaultKind,
    ActivityProof,
    ListActivityCheckpointsRequest,
    ListActivityProofsRequest,
    VerifyActivityRequest,
    VerifyActivityResponse,
)
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub
from workspace.project.v1.project_service_pb2 import ListProjectsRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.cli.activity import set_scope
from services.cli.audit_files import (
    Verified,
    read_checkpoints,
    scope_of,
    verify_export,
    write_export,
)
from services.cli.client import Session, in_session
from services.cli.exit_codes import ExitCode
from services.cli.failures import usage
from services.cli.options import options_of
from services.cli.output import as_json, counted, field_text, print_json, print_line, print_rows
from services.model.seals import Checkpoint

app = typer.Typer(
    add_completion=False, no_args_is_help=True,
    help="The audit chain: every change is in the history, and nobody touched it.",
)

_SECONDS = 600.0
_PROJECT = typer.Option("", "--project", "-p", help="Of this project.")
_DOCUMENT = typer.Option("", "--document", "-d", help="Of this document.")
_ACCOUNT = typer.Option("", "--account", help="Of this account.")
_KEPT = typer.Option(None, "--checkpoint", "-c", help="Checkpoints that were kept elsewhere.")
_EXPORT = typer.Option(None, "--export", help="Verify this export instead, without a server.")
_HEADINGS = ("sequence", "event_id", "kind", "fault")


@app.command()
def verify(
    ctx: typer.Context,
    project: str = _PROJECT,
    document: str = _DOCUMENT,
    account: str = _ACCOUNT,
    checkpoint: Path | None = _KEPT,
    export: Path | None = _EXPORT,
) -> None:
    """Recompute a chain from its beginning: exit code 0 intact, 1 broken.

    With --checkpoint also what a chain alone cannot show: that its end
    was cut off, or all of it made anew. Without a scope every chain in that
    file is verified.
    """
    options, kept = options_of(ctx), read_checkpoints(checkpoint) if checkpoint else []
    if export is not None:
        if not _show_export(verify_export(export, kept), json=options.json):
            raise typer.Exit(ExitCode.FAILED)
        return

    async def work(session: Session) -> bool:
        requests = [VerifyActivityRequest(checkpoint=e.dump(), **scope_of(e)) for e in kept]
        if project or document or account or not kept:
            one = VerifyActivityRequest()
            await set_scope(session, one, project=project, document=document, account=account)
            requests = [_with_checkpoint(one, kept)] if kept else [one]
        answers = [await _verified(session, each, alone=len(requests) == 1) for each in requests]
        if options.json:
            print_json(as_json(answers[0]) if len(answers) == 1 else list(map(as_json, answers)))
        else:
            _show(requests, answers)
        return all(answer.intact for answer in answers)

    if not in_session(options, work):
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def checkpoint(
    ctx: typer.Context,
    project: str = _PROJECT,
    document: str = _DOCUMENT,
    account: str = _ACCOUNT,
) -> None:
    """Where the chains end now, one a line: wm audit checkpoint > FILE

    Keep it where nobody of this server can write: another machine, or paper. Without a
    scope: of all accounts and projects whose history you may verify.
    """
    options = options_of(ctx)

    async def work(session: Session) -> None:
        if project or document or account:
            one = ListActivityCheckpointsRequest()
            await set_scope(session, one, project=project, document=document, account=account)
            found = await _checkpoints(session, one)
        else:
            found = await _all_checkpoints(session)
        if options.json:
            print_json({"checkpoints": list(map(as_json, found))})
            return
        for each in found:
            print_line(each.text)

    in_session(options, work)


@app.command("export")
def export_chain(
    ctx: typer.Context,
    file: Path = typer.Argument(..., help="Written anew; JSON lines."),
    project: str = _PROJECT,
    document: str = _DOCUMENT,
    account: str = _ACCOUNT,
) -> None:
    """All events of a chain as they are sealed, for who verifies them elsewhere."""
    options, request = options_of(ctx), ListActivityProofsRequest(page_size=500)

    async def work(session: Session) -> None:
        await set_scope(session, request, project=project, document=document, account=account)
        stub, proofs, ends = session.stub(HistoryServiceStub), list[ActivityProof](), ""
        while True:
            answer = await session.call(stub.ListActivityProofs, request, timeout=_SECONDS)
            ends = ends or answer.checkpoint
            proofs += answer.proofs
            request.page_token = answer.next_page_token
            if not request.page_token:
                break
        count = write_export(file, ends, proofs)
        if options.json:
            print_json({"file": str(file), "events": count, "checkpoint": ends})
        else:
            print_line(f"{counted(count, 'event')} in {file}")

    in_session(options, work)


async def _verified(
    session: Session, request: VerifyActivityRequest, *, alone: bool
) -> VerifyActivityResponse:
    """The answer. One of many chains that may not be seen, or is gone, is a break of it."""
    stub = session.stub(HistoryServiceStub)
    try:
        answer: VerifyActivityResponse = await session.call(
            stub.VerifyActivity, request, timeout=_SECONDS
        )
    except grpc.aio.AioRpcError as error:
        gone = error.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND)
        if alone or not gone:
            raise
        text = f"It is gone, or not yours to verify ({error.code().name})."
        return VerifyActivityResponse(faults=[ActivityFault(text=text)])
    return answer


async def _checkpoints(
    session: Session, request: ListActivityCheckpointsRequest
) -> list[ActivityCheckpoint]:
    stub = session.stub(HistoryServiceStub)
    return await session.pages(stub.ListActivityCheckpoints, request, "checkpoints")


async def _all_checkpoints(session: Session) -> list[ActivityCheckpoint]:
    """Of everything visible that the caller may verify."""
    accounts = session.each(
        session.stub(AccountServiceStub).ListAccounts, ListAccountsRequest(), "accounts"
    )
    projects = session.each(
        session.stub(ProjectServiceStub).ListProjects, ListProjectsRequest(), "projects"
    )
    asked = [ListActivityCheckpointsRequest(account_id=e.account_id) async for e in accounts]
    asked += [ListActivityCheckpointsRequest(project_id=e.project_id) async for e in projects]
    found: list[ActivityCheckpoint] = []
    for request in asked:
        try:
            found += await _checkpoints(session, request)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.PERMISSION_DENIED:
                raise
    return found


def _with_checkpoint(
    request: VerifyActivityRequest, kept: Sequence[Checkpoint]
) -> VerifyActivityRequest:
    for each in kept:
        if all(getattr(request, name) == value for name, value in scope_of(each).items()):
            request.checkpoint = each.dump()
            return request
    raise usage("none of the checkpoints is of this chain")


def _show(requests: Sequence[VerifyActivityRequest], answers: Sequence[Any]) -> None:
    for request, answer in zip(requests, answers, strict=True):
        name = request.project_id or request.document_id or request.account_id
        where = f"{name}: " if len(requests) > 1 else ""
        seen = counted(answer.verified_count, "event")
        if not answer.intact:
            print_line(f"{where}BROKEN: {seen} looked at")
            print_rows(_HEADINGS, list(map(_row, answer.faults)))
            continue
        against = ", and the checkpoint holds" if request.checkpoint else ""
        print_line(f"{where}intact: {seen} verified{against}")
        for line in _remarks(answer):
            print_line(f"  {line}")


def _remarks(answer: Any) -> list[str]:
    """What an auditor should know of a chain that is intact."""
    lines = []
    if answer.unsealed_count:
        since = field_text(answer, "sealed_since") or "never"
        lines.append(f"sealed since {since}: {counted(answer.unsealed_count, 'event')} without")
    if answer.erased_count:
        lines.append(f"personal data was erased from {counted(answer.erased_count, 'event')}")
    if answer.joined_count:
        lines.append(f"{counted(answer.joined_count, 'event')} came from other stores by sync")
    return lines


def _row(fault: Any) -> list[str]:
    kind = ActivityFaultKind.Name(fault.kind).removeprefix("ACTIVITY_FAULT_KIND_").lower()
    return [str(fault.partition_sequence), fault.event_id, kind, fault.text]


def _show_export(found: Verified, *, json: bool) -> bool:
    intact = not found.faults
    rows = [[str(f.sequence), f.event_id, f.kind.name.lower(), f.text] for f in found.faults]
    if json:
        faults = [dict(zip(_HEADINGS, row, strict=True)) for row in rows]
        print_json({
            "partition": found.partition, "intact": intact, "faults": faults,
            "erased_count": found.erased,
        })  # fmt: skip
        return intact
    seen = counted(found.count, "event")
    print_line(f"{found.partition}: " + (f"intact: {seen} verified" if intact else "BROKEN"))
    if not intact:
        print_rows(_HEADINGS, rows)
    elif found.erased:
        print_line(f"  personal data was erased from {counted(found.erased, 'event')}")
    return intact
