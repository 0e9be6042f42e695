"""Names to ids: every verb takes an id, or a name that only one thing has."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from workspace.identity.v1.account_service_pb2 import (
    ListAccountMembersRequest,
    ListAccountsRequest,
)
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.team_service_pb2 import ListTeamMembersRequest, ListTeamsRequest
from workspace.identity.v1.team_service_pb2_grpc import TeamServiceStub
from workspace.project.v1.document_service_pb2 import ListDocumentsRequest
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.project_pb2 import ProjectStatus
from workspace.project.v1.project_service_pb2 import (
    GetProjectRequest,
    ListProjectsRequest,
    ListTrashRequest,
)
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.cli.client import Session
from services.cli.failures import CliError, not_found, usage
from services.cli.profile import Profiles

__all__ = [
    "account_id_of",
    "account_member_of",
    "document_id_of",
    "is_id",
    "pick",
    "project_id_of",
    "split_path",
    "team_id_of",
    "team_member_of",
    "trashed_document_id_of",
    "trashed_project_id_of",
    "user_id_of",
]


def is_id(prefix: str, text: str) -> bool:
    """Whether `text` is an id of that kind, for example `p_` and 26 characters."""
    return re.fullmatch(rf"{prefix}_[a-z2-7]{{26}}", text) is not None


def pick(kind: str, text: str, found: Sequence[Any], id_of: Callable[[Any], str]) -> Any:
    """The one thing found. Raises not found, or usage naming the candidates."""
    if len(found) == 1:
        return found[0]
    if not found:
        raise not_found(
            f"no {kind} {text!r} (or you may not see it)",
            remedy=f"look at `wm {kind}s list`" if kind != "member" else "",
        )
    ids = ", ".join(id_of(item) for item in found[:5])
    raise usage(f"{len(found)} {kind}s are called {text!r}", remedy=f"use an id: {ids}")


async def account_id_of(session: Session, text: str) -> str:
    """Of an account the caller is a member of."""
    if is_id("a", text):
        return text
    stub = session.stub(AccountServiceStub)
    accounts = await session.pages(stub.ListAccounts, ListAccountsRequest(), "accounts")
    found = [account for account in accounts if account.name == text]
    return str(pick("account", text, found, lambda a: a.account_id).account_id)


async def team_id_of(session: Session, text: str) -> str:
    """Of a team the caller sees."""
    if is_id("t", text):
        return text
    stub = session.stub(TeamServiceStub)
    teams = await session.pages(stub.ListTeams, ListTeamsRequest(), "teams")
    found = [team for team in teams if team.name == text]
    return str(pick("team", text, found, lambda t: t.team_id).team_id)


async def project_id_of(session: Session, text: str) -> str:
    """Of a project the caller may view, active or archived."""
    if is_id("p", text):
        return text
    stub = session.stub(ProjectServiceStub)
    found: list[Any] = []
    for status in (ProjectStatus.PROJECT_STATUS_ACTIVE, ProjectStatus.PROJECT_STATUS_ARCHIVED):
        request = ListProjectsRequest(name_prefix=text, status=status)
        projects = await session.pages(stub.ListProjects, request, "projects")
        found += [project for project in projects if project.name == text]
    return str(pick("project", text, found, lambda p: p.project_id).project_id)


async def trashed_project_id_of(session: Session, text: str) -> str:
    """Of a project in the trash."""
    if is_id("p", text):
        return text
    stub = session.stub(ProjectServiceStub)
    items = await session.pages(stub.ListTrash, ListTrashRequest(), "items")
    found = [item.project for item in items if item.project.name == text]
    return str(pick("project", text, found, lambda p: p.project_id).project_id)


async def document_id_of(session: Session, text: str, project: str = "") -> str:
    """A document id, `PROJECT:folder/name`, or `folder/name` with a project."""
    if is_id("d", text):
        return text
    if not project:
        project, colon, text = text.partition(":")
        if not colon:
            raise usage(
                f"{project!r} is no document id",
                remedy="write PROJECT:folder/name, or give --project",
            )
    folder, name = split_path(text)
    request = ListDocumentsRequest(
        project_id=await project_id_of(session, project),
        relative_path_prefix=folder,
        name_prefix=name,
    )
    stub = session.stub(DocumentServiceStub)
    documents = await session.pages(stub.ListDocuments, request, "documents")
    found = [d for d in documents if d.relative_path == folder and d.name == name]
    return str(pick("document", text, found, lambda d: d.document_id).document_id)


async def trashed_document_id_of(session: Session, text: str, project: str = "") -> str:
    """Of a document in the trash, written as for `document_id_of`."""
    if is_id("d", text):
        return text
    if not project:
        project, colon, text = text.partition(":")
        if not colon:
            raise usage(
                f"{project!r} is no document id",
                remedy="write PROJECT:folder/name, or give --project",
            )
    request = ListTrashRequest(project_id=await project_id_of(session, project))
    items = await session.pages(session.stub(ProjectServiceStub).ListTrash, request, "items")
    place = split_path(text)
    documents = [item.document for item in items if item.WhichOneof("item") == "document"]
    found = [d for d in documents if (d.relative_path, d.name) == place]
    if not found:
        raise not_found(
            f"no document {text!r} in the trash", remedy="look at `wm projects trash`"
        )
    return str(pick("document", text, found, lambda d: d.document_id).document_id)


def split_path(path: str) -> tuple[str, str]:
    """(`folder`, `name`) of `folder/name`."""
    folder, _, name = path.strip("/").rpartition("/")
    return folder, name


async def account_member_of(session: Session, account_id: str, text: str) -> Any:
    """A member record by user id, `me`, e-mail address or name."""
    request = ListAccountMembersRequest(account_id=account_id)
    stub = session.stub(AccountServiceStub)
    return await _member(session, stub.ListAccountMembers, request, text)


async def team_member_of(session: Session, team_id: str, text: str) -> Any:
    """A member record by user id, `me`, e-mail address or name."""
    request = ListTeamMembersRequest(team_id=team_id)
    return await _member(session, session.stub(TeamServiceStub).ListTeamMembers, request, text)


async def user_id_of(
    session: Session, text: str, *, project_id: str = "", account_id: str = ""
) -> str:
    """A user id, `me`, someone signed in on this machine, or a member of the
    account (given, or home of the project) by address or name."""
    if text == "me":
        return session.user_id
    if is_id("u", text):
        return text
    for login in Profiles().logins(session.server):
        if login.email.lower() == text.lower():
            return login.user_id
    account_id = account_id or (await _home_of(session, project_id) if project_id else "")
    found = await _members_called(session, account_id, text) if account_id else []
    if not found:
        raise _no_user(text)
    return str(pick("member", text, found, lambda m: m.user_id).user_id)


def _no_user(text: str) -> CliError:
    what = "has the address" if "@" in text else "is called"
    return not_found(
        f"no user {what} {text} (that you can see from here)",
        remedy="use the user id, which `wm whoami` shows to each; or invite the address: "
        "wm invitations create",
    )


async def _members_called(session: Session, account_id: str, text: str) -> list[Any]:
    request = ListAccountMembersRequest(account_id=account_id)
    stub = session.stub(AccountServiceStub)
    members = await session.pages(stub.ListAccountMembers, request, "members")
    return [m for m in members if _is_called(m, text)]


def _is_called(member: Any, text: str) -> bool:
    return text in (member.user_id, member.name) or member.email == text.lower()


async def _home_of(session: Session, project_id: str) -> str:
    stub = session.stub(ProjectServiceStub)
    answer = await session.call(stub.GetProject, GetProjectRequest(project_id=project_id))
    return str(answer.project.account_id)


async def _member(session: Session, method: Any, request: Any, text: str) -> Any:
    wanted = session.user_id if text == "me" else text
    members = await session.pages(method, request, "members")
    found = [m for m in members if _is_called(m, wanted)]
    if not found:
        raise not_found(
            f"no member has the address {text}" if "@" in text else f"no member {text!r}",
            remedy="look at the list of members, or add them first",
        )
    return pick("member", text, found, lambda m: m.user_id)
