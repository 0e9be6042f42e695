"""Names beside ids, for people. What the caller may not see stays an id."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc.aio
from workspace.identity.v1.account_service_pb2 import GetAccountRequest
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.identity_service_pb2 import GetUserRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.identity.v1.team_service_pb2 import GetTeamRequest
from workspace.identity.v1.team_service_pb2_grpc import TeamServiceStub
from workspace.project.v1.project_service_pb2 import GetProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.cli.client import Session
from services.cli.profile import Profiles

__all__ = ["People"]

_AT_ONCE = 16
_MOST = 200  # a longer table shows ids from there on


class People:
    """Looks names up, each id once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._names: dict[str, str] = {}
        self._limit = asyncio.Semaphore(_AT_ONCE)
        self._addresses = {
            login.user_id: login.email for login in Profiles().logins(session.server)
        }

    async def learn(self, ids: Iterable[str]) -> None:
        """Look up what is not known yet; what cannot be seen stays nameless."""
        new = [each for each in dict.fromkeys(ids) if each and each not in self._names]
        await asyncio.gather(*(self._look_up(each) for each in new[:_MOST]))

    def name(self, id_: str) -> str:
        """The name of a user, team, account or project; '' when unknown."""
        return self._names.get(id_) or self._addresses.get(id_, "")

    def label(self, id_: str) -> str:
        """`Ann (u_...)`, or the id alone."""
        name = self.name(id_)
        return f"{name} ({id_})" if name else id_

    async def _look_up(self, id_: str) -> None:
        async with self._limit:
            try:
                self._names[id_] = await self._read(id_)
            except grpc.aio.AioRpcError:
                self._names[id_] = ""

    async def _read(self, id_: str) -> str:
        call: Any = self._session.call
        if id_.startswith("u_"):
            users = self._session.stub(IdentityServiceStub)
            user = (await call(users.GetUser, GetUserRequest(user_id=id_))).user
            return str(user.name or user.email)
        if id_.startswith("t_"):
            teams = self._session.stub(TeamServiceStub)
            return str((await call(teams.GetTeam, GetTeamRequest(team_id=id_))).team.name)
        if id_.startswith("a_"):
            accounts = self._session.stub(AccountServiceStub)
            answer = await call(accounts.GetAccount, GetAccountRequest(account_id=id_))
            return str(answer.account.name)
        if id_.startswith("p_"):
            projects = self._session.stub(ProjectServiceStub)
            answer = await call(projects.GetProject, GetProjectRequest(project_id=id_))
            return str(answer.project.name)
        return ""
