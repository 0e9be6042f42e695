"""Why a user holds a permission, or does not: the evaluator's answer, fact by fact.

The rules are those of `permissions.py`; here every fact of a source is looked at
by itself, so that all that is wrong is named and not the first thing alone. Tests
hold a step to give exactly when the evaluator does not block its source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from workspace.identity.v1.account_pb2 import AccountRole, AccountStatus, MemberStatus
from workspace.identity.v1.team_pb2 import TeamScopeType, TeamStatus
from workspace.identity.v1.user_pb2 import UserStatus
from workspace.project.v1.grant_pb2 import GrantStatus
from workspace.project.v1.permission_pb2 import PermissionSourceKind as Kind

from services.model.permissions import (
    OWNER,
    VIEW,
    AccountFacts,
    Facts,
    GrantFacts,
    Source,
    TeamFacts,
    allows,
    evaluate,
    permission_names,
)
from services.model.roles import team_mutes_member
from services.model.times import key_time

__all__ = ["Explanation", "Fact", "Step", "explain"]

_USER_ACTIVE: Final = int(UserStatus.USER_STATUS_ACTIVE)
_MEMBER_ACTIVE: Final = int(MemberStatus.MEMBER_STATUS_ACTIVE)
_INVITED: Final = int(MemberStatus.MEMBER_STATUS_INVITED)
_SUSPENDED: Final = int(MemberStatus.MEMBER_STATUS_SUSPENDED)
_IN_ACCOUNT: Final = int(TeamScopeType.TEAM_SCOPE_TYPE_ACCOUNT)
_TEAM_ACTIVE: Final = int(TeamStatus.TEAM_STATUS_ACTIVE)
_ACTIVE: Final = int(AccountStatus.ACCOUNT_STATUS_ACTIVE)
_ARCHIVED: Final = int(AccountStatus.ACCOUNT_STATUS_ARCHIVED)
_GRANT_ACTIVE: Final = int(GrantStatus.GRANT_STATUS_ACTIVE)
_RULES: Final = {
    int(Kind.PERMISSION_SOURCE_KIND_USER_GRANT): "user_grant",
    int(Kind.PERMISSION_SOURCE_KIND_OWNER_GRANT): "owner_grant",
    int(Kind.PERMISSION_SOURCE_KIND_TEAM_GRANT): "team_grant",
    int(Kind.PERMISSION_SOURCE_KIND_ACCOUNT_GRANT): "account_grant",
    int(Kind.PERMISSION_SOURCE_KIND_ACCOUNT_FALLBACK): "account_fallback",
}
_HIDDEN: Final = {
    "grants": "a grant",
    "teams": "a team",
    "accounts": "an account",
    "workspaces": "a workspace",
}

Shows = Callable[[str], bool]
"""Whether the asker may see this resource name."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact. `remedy` says what would change one that does not hold."""

    rule: str
    holds: bool
    text: str
    resource: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One source and the facts it rests on. `allows`: it gives the permission."""

    source: Source
    rule: str
    allows: bool
    text: str
    resource: str
    facts: tuple[Fact, ...]

    @property
    def gives(self) -> bool:
        """Whether the source gives anything at all."""
        return all(fact.holds for fact in self.facts)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision; `cuts` are the facts that bear on all sources together."""

    allowed: bool
    text: str
    cuts: tuple[Fact, ...]
    steps: tuple[Step, ...]
    remedies: tuple[str, ...]


def explain(facts: Facts, permission: int, now: datetime, *, shows: Shows) -> Explanation:
    """The decision of `allows` with everything it rests on. Names that `shows`
    refuses are described, not told; texts never hold anything but ids and times."""
    return _Writer(facts, permission, now, shows).explanation()


class _Writer:
    def __init__(self, facts: Facts, permission: int, now: datetime, shows: Shows) -> None:
        self._facts = facts
        self._permission = permission
        self._now = now
        self._shows = shows
        self._user = f"users/{facts.user_id}"
        self._project = f"projects/{facts.project.project_id}"
        (self._wanted,) = permission_names([permission])
        self._grants = {grant.grant_id: grant for grant in facts.grants}

    def explanation(self) -> Explanation:
        effective = evaluate(self._facts, self._now)
        steps = tuple(map(self._step, (*effective.sources, *effective.blocked)))
        cuts = (self._user_status(), self._home_status())
        allowed = allows(self._facts, self._permission, self._now)
        verb = "holds" if allowed else "does not hold"
        return Explanation(
            allowed,
            f"{self._user} {verb} '{self._wanted}' on {self._project}",
            cuts,
            steps,
            () if allowed else tuple(dict.fromkeys(self._remedies(cuts, steps))),
        )

    def _remedies(self, cuts: tuple[Fact, ...], steps: tuple[Step, ...]) -> Iterator[str]:
        for cut in cuts:
            if not cut.holds:
                yield cut.remedy
        if any(step.allows for step in steps):
            return
        for step in steps:
            missing = [fact.remedy for fact in step.facts if not fact.holds]
            if self._permission in step.source.permissions:
                yield "; and ".join(missing)
            elif not missing:
                yield self._too_little(step)
        holder = "an owner" if self._permission == OWNER else "somebody with 'manage_access'"
        yield (
            f"nobody gave {self._user} '{self._wanted}' on {self._project} in any other way: "
            f"{holder} who holds it must grant it"
        )

    def _too_little(self, step: Step) -> str:
        if step.rule == "account_fallback":
            account = self._name(f"accounts/{step.source.account_id}")
            return (
                f"the role '{_role(step.source.role)}' in {account} does not give "
                f"'{self._wanted}': somebody who manages {account} must give a higher role"
            )
        return (
            f"{self._grant_name(step.source)} does not give '{self._wanted}': somebody with "
            "'manage_access' who holds it must add it"
        )

    def _name(self, resource: str) -> str:
        kind = resource.rsplit("/", 2)[-2]
        return resource if self._shows(resource) else _HIDDEN[kind]

    def _resource(self, resource: str) -> str:
        return resource if self._shows(resource) else ""

    def _grant_path(self, source: Source) -> str:
        return f"{self._project}/grants/{source.grant_id}" if source.grant_id else ""

    def _grant_name(self, source: Source) -> str:
        return self._name(self._grant_path(source))

    def _fact(
        self, rule: str, resource: str, holds: bool, state: str, remedy: str
    ) -> Fact:
        text = f"{self._name(resource)} {state}"
        return Fact(rule, holds, text, self._resource(resource), "" if holds else remedy)

    def _user_status(self) -> Fact:
        status = self._facts.user_status
        holds = status == _USER_ACTIVE
        state = _word(UserStatus, status)
        text = f"{self._user} is {state}" if status else f"{self._user} does not exist"
        remedy = f"{self._user} is not active: a platform administrator must enable the user"
        return Fact("user_status", holds, text, self._user, "" if holds else remedy)

    def _home_status(self) -> Fact:
        project = self._facts.project
        kind = "accounts" if project.account_id else "workspaces"
        resource = f"{kind}/{project.home_id}"
        status = self._facts.accounts.get(project.home_id, AccountFacts()).status
        # An archived home leaves `view`; the evaluator's rule, asked of it alone.
        holds = status == _ACTIVE or (status == _ARCHIVED and self._permission == VIEW)
        name = self._name(resource)
        state = f"is {_word(AccountStatus, status)}" if status else "does not exist"
        if status == _ARCHIVED:
            state += ", which leaves 'view' alone"
        remedy = (
            f"{name} is not active: somebody who manages it, or a platform administrator if "
            "one suspended it, must make it active"
        )
        return self._fact("home_status", resource, holds, state, remedy)

    def _step(self, source: Source) -> Step:
        rule = _RULES[source.kind]
        facts = tuple(self._facts_of(source, rule))
        gives = all(fact.holds for fact in facts)
        names = ", ".join(permission_names(source.permissions)) or "nothing"
        verb = "gives" if gives else "would give"
        if rule == "account_fallback":
            account = self._name(f"accounts/{source.account_id}")
            resource = self._resource(f"accounts/{source.account_id}")
            text = f"the role '{_role(source.role)}' in {account} {verb} {names}"
        else:
            resource = self._resource(self._grant_path(source))
            text = f"{self._grant_name(source)} {verb} {names}"
        return Step(
            source, rule, gives and self._permission in source.permissions, text, resource, facts
        )

    def _facts_of(self, source: Source, rule: str) -> Iterator[Fact]:
        if rule == "account_fallback":
            yield self._restricted()
            yield from self._account_facts(source.account_id)
            yield self._role_fact(source)
            return
        yield from self._grant_facts(source, self._grants[source.grant_id])
        if rule == "team_grant":
            yield from self._team_facts(source.team_id, self._facts.teams[source.team_id])
        elif rule == "account_grant":
            yield from self._account_facts(source.account_id)

    def _restricted(self) -> Fact:
        restricted = self._facts.project.restricted
        state = "is restricted" if restricted else "is open to its account"
        remedy = (
            f"{self._project} is restricted, so that roles in its account give nothing: an owner "
            "must switch 'restricted' off, or somebody grant the permission"
        )
        return Fact(
            "project_restricted",
            not restricted,
            f"{self._project} {state}",
            self._project,
            remedy if restricted else "",
        )

    def _role_fact(self, source: Source) -> Fact:
        account = f"accounts/{source.account_id}"
        known = bool(source.permissions)
        remedy = f"somebody who manages {self._name(account)} must give {self._user} a role"
        state = f"gives {self._user} the role '{_role(source.role)}'"
        return self._fact("account_role", account, known, state, remedy)

    def _grant_facts(self, source: Source, grant: GrantFacts) -> Iterator[Fact]:
        path, name = self._grant_path(source), self._grant_name(source)
        active = grant.status == _GRANT_ACTIVE
        again = "somebody with 'manage_access' must give a new one"
        state = "is not revoked" if active else "was revoked"
        yield self._fact("grant_status", path, active, state, f"{name} was revoked: {again}")
        if grant.expires_at is not None:
            runs, end = self._now < grant.expires_at, key_time(grant.expires_at)
            state = f"ends at {end}" if runs else f"expired at {end}"
            remedy = f"{name} expired at {end}: somebody with 'manage_access' must extend it"
            yield self._fact("grant_expiry", path, runs, state, remedy)
        if not source.permissions:
            remedy = f"{name} is empty: {again}"
            yield self._fact("grant_permissions", path, False, "is empty", remedy)

    def _team_facts(self, team_id: str, team: TeamFacts) -> Iterator[Fact]:
        path = f"teams/{team_id}"
        name = self._name(path)
        yield self._fact(
            "team_status",
            path,
            team.status == _TEAM_ACTIVE,
            f"is {_word(TeamStatus, team.status)}",
            f"{name} is archived: the permission must be granted to an active team or to the user",
        )
        yield self._membership("team_membership", path, team.member_status)
        if team.scope_type == _IN_ACCOUNT:
            yield from self._team_account_facts(team)

    def _team_account_facts(self, team: TeamFacts) -> Iterator[Fact]:
        yield self._account_status(team.account_id, team.account_status)
        muted = team_mutes_member(
            scope_type=team.scope_type,
            guest=team.guest,
            account_status=_ACTIVE,
            account_member_status=team.account_member_status,
        )
        path = f"accounts/{team.account_id}"
        if muted or team.account_member_status == _MEMBER_ACTIVE:
            yield self._membership("account_membership", path, team.account_member_status)
        else:
            state = f"has {self._user} as a guest of the team"
            yield self._fact("team_guest", path, True, state, "")

    def _account_facts(self, account_id: str) -> Iterator[Fact]:
        account = self._facts.accounts.get(account_id, AccountFacts())
        yield self._account_status(account_id, account.status)
        yield self._membership(
            "account_membership", f"accounts/{account_id}", account.member_status
        )

    def _account_status(self, account_id: str, status: int) -> Fact:
        path = f"accounts/{account_id}"
        remedy = (
            f"{self._name(path)} is not active: somebody who manages it, or a platform "
            "administrator if one suspended it, must make it active"
        )
        state = f"is {_word(AccountStatus, status)}" if status else "does not exist"
        return self._fact("account_status", path, status in (_ACTIVE, _ARCHIVED), state, remedy)

    def _membership(self, rule: str, path: str, status: int) -> Fact:
        name = self._name(path)
        who = f"an administrator of {name}"
        if status == _SUSPENDED:
            remedy = f"{who} must reactivate the membership of {self._user}"
        elif status == _INVITED:
            remedy = f"{self._user} must accept the invitation to {name}"
        else:
            remedy = f"{who} must add {self._user} to it"
        state = _word(MemberStatus, status) if status else "no member"
        text = f"has {self._user} as {state}" + (" member" if status else "")
        return self._fact(rule, path, status == _MEMBER_ACTIVE, text, remedy)


class _Enum(Protocol):
    def Name(self, number: Any) -> str: ...  # noqa: N802 - as protobuf has it


def _word(enum: _Enum, number: int) -> str:
    """`suspended` of MEMBER_STATUS_SUSPENDED; a number nobody knows stays one."""
    try:
        return enum.Name(number).split("_STATUS_", 1)[1].lower()
    except ValueError:
        return f"in state {number}"


def _role(number: int) -> str:
    try:
        return AccountRole.Name(number).removeprefix("ACCOUNT_ROLE_").lower()  # type: ignore[arg-type]
    except ValueError:
        return str(number)
