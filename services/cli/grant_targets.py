"""To whom a grant goes, and which one is meant, in people's words."""

from __future__ import annotations

from typing import Any

from workspace.project.v1.grant_pb2 import GrantStatus, GrantTargetType
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest, ListGrantsRequest
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub

from services.cli.client import Session
from services.cli.failures import CliError, not_found
from services.cli.resolve import account_id_of, is_id, pick, team_id_of, user_id_of

__all__ = ["aim", "find_grant", "grant_id_of"]


async def aim(session: Session, request: CreateGrantRequest, to: str) -> None:
    """Set the receiver: a user by id, address or name; `team:NAME`; `account:NAME`."""
    kind, _, rest = to.partition(":")
    if kind == "team" and rest:
        request.target_type = GrantTargetType.GRANT_TARGET_TYPE_TEAM
        request.target_id = await team_id_of(session, rest)
    elif kind == "account" and rest:
        request.target_type = GrantTargetType.GRANT_TARGET_TYPE_ACCOUNT
        request.target_id = await account_id_of(session, rest)
    else:
        request.target_type = GrantTargetType.GRANT_TARGET_TYPE_USER
        request.target_id = await _known_user(session, to, request.project_id)
        if not request.target_id:
            request.target_email = to


async def grant_id_of(session: Session, project_id: str, text: str) -> str:
    """A grant id, or the id of the active grant to `text`, read as by `aim`."""
    if is_id("g", text):
        return text
    return str((await find_grant(session, project_id, text)).grant_id)


async def find_grant(session: Session, project_id: str, text: str) -> Any:
    """The active grant with this id or to this receiver."""
    wanted = text
    if not is_id("g", text):
        aimed = CreateGrantRequest(project_id=project_id)
        await aim(session, aimed, text)
        if aimed.target_email:
            raise not_found(
                f"nobody known here has the address {text}",
                remedy="use the user id or grant id of `wm grants list`",
            )
        wanted = aimed.target_id
    stub = session.stub(GrantServiceStub)
    request = ListGrantsRequest(project_id=project_id, status=GrantStatus.GRANT_STATUS_ACTIVE)
    grants = await session.pages(stub.ListGrants, request, "grants")
    found = [grant for grant in grants if wanted in (grant.grant_id, grant.target_id)]
    return pick("grant", text, found, lambda g: g.grant_id)


async def _known_user(session: Session, to: str, project_id: str) -> str:
    """The id of a user who is known here; '' leaves an address to the server."""
    if "@" not in to:
        return await user_id_of(session, to, project_id=project_id)
    try:
        return await user_id_of(session, to, project_id=project_id)
    except CliError:
        return ""
