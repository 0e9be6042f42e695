"""Dry runs of changes of memberships and statuses, for previews of access.

The use cases of the changes run as they are, up to their commit (services
records/trial): what they refuse is refused here, in the same order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from workspace.identity.v1.account_pb2 import AccountMember
from workspace.identity.v1.account_service_pb2 import KeptOwnerGrant
from workspace.identity.v1.identity_service_pb2 import (
    DisableUserRequest,
    TryMembershipChangeRequest,
    TryMembershipChangeResponse,
)
from workspace.identity.v1.membership_change_pb2 import DisableUserChange

from identity_svc.accounts.accounts import Accounts
from identity_svc.accounts.grant_cleanup import GrantCleanup
from identity_svc.accounts.members import AccountMembers
from identity_svc.directory import Directory
from identity_svc.teams.cleanup import TeamCleanup
from identity_svc.teams.members import TeamMembers
from identity_svc.teams.teams import Teams
from identity_svc.teams.visible import VisibleTeams
from identity_svc.users.copies import MemberCopies
from identity_svc.users.orphans import Orphans
from identity_svc.users.users import Users
from services.kernel import Kernel
from services.records.record import Write
from services.records.trial import trial_kernel, tried

__all__ = ["MembershipTrials", "membership_trials"]

_ANSWERS: Final = frozenset({"account_member", "team_member", "account", "team", "user"})
_PERSONAL: Final = ("email", "name")


class _NoTeamCleanup(TeamCleanup):
    """A dry run cleans nothing up."""

    async def end_memberships(self, account_id: str, user: str) -> None:
        """Nothing."""


class _NoGrantCleanup(GrantCleanup):
    """A dry run cleans nothing up."""

    def __init__(self) -> None:
        """No peer is asked."""

    async def end_grants(self, member: AccountMember) -> list[KeptOwnerGrant]:  # noqa: ARG002
        """Nothing."""
        return []


def membership_trials(kernel: Kernel, directory: Directory, orphans: Orphans) -> MembershipTrials:
    """The use cases of all changes on a kernel that writes nothing."""
    trial = trial_kernel(kernel)
    cleanups = _NoTeamCleanup(trial, directory), _NoGrantCleanup()
    return MembershipTrials(
        accounts=Accounts(trial, directory),
        account_members=AccountMembers(trial, directory, *cleanups),
        teams=Teams(trial, directory, VisibleTeams(directory)),
        team_members=TeamMembers(trial, directory),
        users=Users(trial, directory, MemberCopies(trial.records), orphans),
    )


class MembershipTrials:
    """The use case of TryMembershipChange."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        account_members: AccountMembers,
        teams: Teams,
        team_members: TeamMembers,
        users: Users,
    ) -> None:
        self._users = users
        self._changes: Mapping[str, Callable[[Any], Awaitable[object]]] = {
            "add_account_member": account_members.add,
            "update_account_member": account_members.update,
            "remove_account_member": account_members.remove,
            "add_team_member": team_members.add,
            "update_team_member": team_members.update,
            "remove_team_member": team_members.remove,
            "set_account_status": accounts.set_status,
            "archive_team": teams.archive,
            "disable_user": self._disable,
        }

    async def run(self, request: TryMembershipChangeRequest) -> TryMembershipChangeResponse:
        """The record as the change would leave it; unset if it would change
        nothing. Raises what the change itself would raise."""
        kind = request.change.WhichOneof("change") or ""
        writes = await tried(self._changes[kind](getattr(request.change, kind)))
        return _answer(writes)

    async def _disable(self, change: DisableUserChange) -> object:
        request = DisableUserRequest(user_id=change.user_id, etag=change.etag, reason="preview")
        return await self._users.disable(request)


def _answer(writes: list[Write[Any]]) -> TryMembershipChangeResponse:
    """The first write is what the change is about; others follow from it."""
    answer = TryMembershipChangeResponse()
    if not writes:
        return answer
    family = writes[0].family.name
    assert family in _ANSWERS, family
    after = getattr(answer, family)
    after.CopyFrom(writes[0].message)
    for name in _PERSONAL:
        if name in after.DESCRIPTOR.fields_by_name:
            after.ClearField(name)
    return answer
