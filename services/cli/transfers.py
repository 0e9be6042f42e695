"""`wm transfers`: the emergency switch of signed URLs."""

from __future__ import annotations

import typer
from workspace.storage.v1.storage_service_pb2 import RevokeTransfersRequest
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from services.cli.client import Session, in_session
from services.cli.options import options_of
from services.cli.output import as_json, print_json, print_line
from services.cli.resolve import project_id_of
from services.model.templates import enum_word

app = typer.Typer(
    add_completion=False, no_args_is_help=True,
    help="Transfers: signed upload and download URLs.",
)

_METHODS = {
    "data_plane": "our data plane refuses them",
    "key_revoked": "their signing keys are gone",
    "expiry_only": "the provider cannot revoke, they end at their expiry",
}


@app.callback()
def _group() -> None:
    """One sub-command, and a name for those to come."""


@app.command()
def revoke(
    ctx: typer.Context,
    project: str = typer.Argument("", help="Project id or name; nothing: the whole deployment."),
    note: str = typer.Option("", "--note", help="Why, for the audit trail."),
) -> None:
    """End every outstanding URL of a project (owners) or of all (platform admins).

    Uploads that are pending stay: their URLs are signed again when asked for.
    """
    options = options_of(ctx)

    async def work(session: Session) -> None:
        request = RevokeTransfersRequest(note=note)
        if project:
            request.project_id = await project_id_of(session, project)
        stub = session.stub(StorageServiceStub)
        answer = await session.call(stub.RevokeTransfers, request)
        if options.json:
            print_json(as_json(answer))
            return
        for result in answer.results:
            word = enum_word(result.DESCRIPTOR.fields_by_name["method"], result.method)
            at = result.effective_at.ToJsonString()
            print_line(f"{result.storage_provider}: from {at} on; {_METHODS.get(word, word)}.")

    in_session(options, work)
