"""Who is told what of a permission change: services, managers, everybody of himself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from workspace.identity.v1.account_pb2 import MemberStatus

from project_svc.access.facts import ProjectView
from project_svc.access.gate import Access
from project_svc.access.permission_changes import PermissionChange
from services.model.errors import permission_denied
from services.model.membership_rows import ACCOUNT, TEAM, USER
from services.model.permissions import MANAGE_ACCESS, VIEW, permission_names
from services.rpc.consistency import AS_OF_NOW, MINIMIZE_LATENCY, Demand

__all__ = ["Audience", "Everything", "NamedProjects", "OwnChanges", "Told"]

_ACTIVE = int(MemberStatus.MEMBER_STATUS_ACTIVE)


@dataclass(frozen=True, slots=True)
class Told:
    """One message. Empty `project_id`: any project of the user; empty `user_id`:
    any user of the project. `by_name`: its receiver may know the partition."""

    change: PermissionChange
    project_id: str
    user_id: str
    by_name: bool = True


class Audience(Protocol):
    """The receiver of a stream."""

    async def check(self, demand: Demand) -> None:
        """Raises PERMISSION_DENIED when the right has ended."""

    async def told(self, change: PermissionChange) -> Sequence[Told]:
        """What the receiver is told of a change."""


class Everything:
    """A service that watches all."""

    async def check(self, demand: Demand) -> None:
        """Services keep their right."""

    async def told(self, change: PermissionChange) -> Sequence[Told]:
        return _of_everybody(change, change.project_id)


class NamedProjects:
    """These projects: `managed` with everybody, `own` of `user_id` alone. An
    empty `user_id` is a service, which needs no right."""

    def __init__(
        self, access: Access, user_id: str, managed: frozenset[str], own: frozenset[str]
    ) -> None:
        self._access = access
        self._user_id = user_id
        self._managed = managed
        self._own = own

    @classmethod
    async def of(cls, access: Access, user_id: str, names: Sequence[str]) -> NamedProjects:
        """Managed where the user holds `manage_access` now."""
        held = [(name, await access.of(user_id, name)) for name in names]
        managed = {name for name, found in held if found and MANAGE_ACCESS in found.permissions}
        return cls(access, user_id, frozenset(managed), frozenset(names) - managed)

    async def check(self, demand: Demand) -> None:
        if not self._user_id:
            return
        wanted = [(name, MANAGE_ACCESS) for name in self._managed]
        wanted += [(name, VIEW) for name in self._own]
        for name, permission in wanted:
            found = await self._access.of(self._user_id, name, demand)
            if found is None or permission not in found.permissions:
                raise permission_denied(permission_names([permission])[0], f"projects/{name}")

    async def told(self, change: PermissionChange) -> Sequence[Told]:
        if change.project_id:
            return self._of_project(change, change.project_id)
        return [each async for each in self._of_identity(change)]

    def _of_project(self, change: PermissionChange, project_id: str) -> Sequence[Told]:
        if project_id in self._managed:
            return _of_everybody(change, project_id)
        if project_id in self._own and (change.everyone or self._user_id in change.users):
            return [Told(change, project_id, self._user_id)]
        return []

    async def _of_identity(self, change: PermissionChange) -> AsyncIterator[Told]:
        for name in (*self._managed, *self._own):
            view = await self._access.facts.project(name, MINIMIZE_LATENCY)
            if view is None or not await self._rests_on(view, change):
                continue
            if name in self._managed:
                for each in _of_everybody(change, name):
                    yield each
            elif change.everyone or self._user_id in change.users:
                yield Told(change, name, self._user_id)

    async def _rests_on(self, view: ProjectView, change: PermissionChange) -> bool:
        """Whether decisions about the project look at what changed."""
        scopes = {ACCOUNT + each for each in view.accounts} | {TEAM + each for each in view.teams}
        if change.pk in scopes:
            return True
        if change.pk.startswith(USER):
            user_id = change.pk.removeprefix(USER)
            user = await self._access.facts.user(user_id, view.accounts, view.teams)
            targets = {grant.target_id for grant in view.live}
            return user_id in targets or any(fact.member_status for fact in user.raw.values())
        if change.pk.startswith(ACCOUNT) and view.teams:
            asker = self._user_id or "-"
            user = await self._access.facts.user(asker, (), view.teams, MINIMIZE_LATENCY)
            home = change.pk.removeprefix(ACCOUNT)
            return any(team.account_id == home for team in user.teams.values())
        return False


class OwnChanges:
    """A person who names no projects: his own changes, and all of projects on
    which he holds `manage_access` at the time."""

    def __init__(self, access: Access, user_id: str) -> None:
        self._access = access
        self._user_id = user_id

    async def check(self, demand: Demand) -> None:
        """About oneself one may always ask."""

    async def told(self, change: PermissionChange) -> Sequence[Told]:
        if change.project_id:
            return await self._of_project(change, change.project_id)
        if self._user_id in change.users or await self._is_member([change.pk]):
            if change.everyone or self._user_id in change.users:
                return [Told(change, "", self._user_id)]
            return []
        if change.everyone and change.pk.startswith(ACCOUNT):
            # The account may be the home of a project that was shared with him.
            return [Told(change, "", self._user_id, by_name=False)]
        return []

    async def _of_project(self, change: PermissionChange, project_id: str) -> Sequence[Told]:
        found = await self._access.of(self._user_id, project_id, AS_OF_NOW)
        held = found.permissions if found else frozenset[int]()
        if MANAGE_ACCESS in held:
            return _of_everybody(change, project_id)
        concerned = self._user_id in change.users or (
            change.everyone and (VIEW in held or await self._is_member(change.scopes))
        )
        return [Told(change, project_id, self._user_id)] if concerned else []

    async def _is_member(self, scopes: Sequence[str] | frozenset[str]) -> bool:
        """Whether he is an active member of any of these scopes."""
        accounts = [each.removeprefix(ACCOUNT) for each in scopes if each.startswith(ACCOUNT)]
        teams = [each.removeprefix(TEAM) for each in scopes if each.startswith(TEAM)]
        if not accounts and not teams:
            return False
        user = await self._access.facts.user(self._user_id, accounts, teams)
        return any(fact.member_status == _ACTIVE for fact in user.raw.values())


def _of_everybody(change: PermissionChange, project_id: str) -> Sequence[Told]:
    if change.everyone:
        return [Told(change, project_id, "")]
    return [Told(change, project_id, user_id) for user_id in sorted(change.users)]
