"""`wm link`: be the same person with two sign-ins."""

from __future__ import annotations

from pathlib import Path

import typer
from workspace.identity.v1.identity_service_pb2 import (
    LinkIdentityRequest,
    ListIdentityLinksRequest,
    UnlinkIdentityRequest,
)
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from services.cli.bearers import read_token
from services.cli.client import Session, in_session
from services.cli.failures import usage
from services.cli.options import Options, options_of
from services.cli.output import print_json, print_line, show_list, show_record

app = typer.Typer(add_completion=False)

_COLUMNS = ("provider", "issuer", "email", "primary", "created_at", "link_id")


@app.command()
def link(
    ctx: typer.Context,
    with_: str = typer.Option(
        "", "--with", metavar="EMAIL", help="Another sign-in of yours that is kept here."
    ),
    token_stdin: bool = typer.Option(
        False, "--token-stdin", help="Read a token of your other identity."
    ),
    token_file: Path | None = typer.Option(
        None, "--token-file", help="The same, from a file.", show_default=False
    ),
    list_: bool = typer.Option(False, "--list", help="Show your identities; change nothing."),
    remove: str = typer.Option(
        "", "--remove", metavar="LINK_ID", help="Take the identity of the token off instead."
    ),
) -> None:
    """Join another identity to you: wm link --with you@example.com

    Both tokens must be at most 5 minutes old: sign in again right before. When
    one of the two users holds records, that one stays; when both do, it is
    refused.
    """
    options = options_of(ctx)
    token = read_token(stdin=token_stdin, file=token_file)
    if sum(map(bool, (with_, token, list_))) != 1:
        raise usage(
            "name the other identity",
            remedy="--with EMAIL, --token-stdin or --token-file; or --list",
        )

    async def work(session: Session) -> None:
        if list_:
            await _list(session, options)
            return
        other = token or await session.token_of(with_)
        await session.renew()
        if remove:
            await _remove(session, options, remove, other)
        else:
            await _join(session, options, other)

    in_session(options, work)


async def _join(session: Session, options: Options, other: str) -> None:
    stub = session.stub(IdentityServiceStub)
    answer = await session.call(stub.LinkIdentity, LinkIdentityRequest(other_token=other))
    show_record(options, answer.identity_link, _COLUMNS, title=f"Linked to {answer.user.user_id}")


async def _remove(session: Session, options: Options, link_id: str, other: str) -> None:
    stub = session.stub(IdentityServiceStub)
    request = UnlinkIdentityRequest(link_id=link_id, other_token=other)
    answer = await session.call(stub.UnlinkIdentity, request)
    if options.json:
        print_json({"unlinked": link_id, "user_id": answer.user.user_id})
    else:
        print_line(f"Unlinked {link_id} from {answer.user.user_id}.")


async def _list(session: Session, options: Options) -> None:
    stub = session.stub(IdentityServiceStub)
    request = ListIdentityLinksRequest(user_id=session.user_id)
    found = await session.pages(stub.ListIdentityLinks, request, "identity_links")
    show_list(options, "identity_links", found, _COLUMNS)
