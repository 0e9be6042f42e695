"""Why somebody holds a permission on a project, or does not, as a tree.

Root: the decision. Below it first what bears on all sources (user, home), then
one node for each source, with the facts it rests on. Revoked grants of the user
are shown too: they are why most people ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from workspace.identity.v1.account_pb2 import MemberStatus
from workspace.project.v1.grant_pb2 import Grant, GrantStatus, GrantTargetType
from workspace.project.v1.permission_pb2 import ExplainNode, ExplainOutcome
from workspace.project.v1.permission_service_pb2 import (
    ExplainPermissionRequest,
    ExplainPermissionResponse,
)

from project_svc.access.answers import source_message
from project_svc.access.candidate_users import at_least_now
from project_svc.access.facts import ProjectView, grant_facts, project_pk
from project_svc.access.gate import Access, ProjectAccess
from project_svc.policy import ASKING_SERVICES
from services.model.errors import invalid_field, permission_denied
from services.model.explanation import Explanation, Fact, Step, explain
from services.model.permissions import MANAGE_ACCESS, VIEW, Facts
from services.model.times import from_timestamp
from services.rpc.consistency import ConsistencyTokens, Demand
from services.rpc.context import current_call

__all__ = ["Explanations"]

_ALLOWS = ExplainOutcome.EXPLAIN_OUTCOME_ALLOWS
_NOTHING = ExplainOutcome.EXPLAIN_OUTCOME_GIVES_NOTHING
_BLOCKS = ExplainOutcome.EXPLAIN_OUTCOME_BLOCKS
_USER = GrantTargetType.GRANT_TARGET_TYPE_USER
_REVOKED = GrantStatus.GRANT_STATUS_REVOKED
_MOST_REVOKED = 20
"""The latest revoked grants that are shown; ListGrants has all."""
_MOST_NODES = 1_000


@dataclass(frozen=True, slots=True)
class _Question:
    """Who is asked about, on what, and whether the asker may see every name."""

    user_id: str
    view: ProjectView | None
    sees_all: bool
    sees_project: bool


class Explanations:
    """The use case of ExplainPermission."""

    def __init__(self, *, access: Access, consistency: ConsistencyTokens) -> None:
        self._access = access
        self._consistency = consistency

    async def explain(self, request: ExplainPermissionRequest) -> ExplainPermissionResponse:
        """The decision and its tree. Raises PERMISSION_DENIED for a question about
        others without `manage_access`, and to whom the project is unknown."""
        demand = at_least_now(self._consistency.demand(request.consistency))
        question = await self._question(request, demand)
        answer = ExplainPermissionResponse(consistency_token=self._token(request.project_id))
        if question.view is None:
            _nothing_there(answer, request.project_id)
            return answer
        user_id, view = question.user_id, question.view
        plain, _ = await self._access.facts.facts(view, user_id, demand)
        facts = _with_revoked(plain, view)
        shows = _shown(question, facts)
        found = explain(facts, request.permission, self._access.now(), shows=shows)
        answer.allowed = found.allowed
        answer.root.CopyFrom(_root(found, request.project_id, shows))
        answer.remedies.extend(found.remedies[:_MOST_NODES])
        return answer

    async def _question(self, request: ExplainPermissionRequest, demand: Demand) -> _Question:
        call, project_id = current_call(), request.project_id
        user_id = request.user_id or call.user_id
        if not user_id:
            raise invalid_field("user_id", "a service names the user it asks about")
        if call.service in ASKING_SERVICES:
            view = await self._access.facts.project(project_id, demand)
            return _Question(user_id, view, sees_all=True, sees_project=True)
        found = await self._access.of(call.user_id, project_id, demand)
        if user_id != call.user_id:
            self._access.admit(found, MANAGE_ACCESS, resource=f"projects/{project_id}")
        if found is None or not (found.permissions or _was_given(found)):
            raise permission_denied("view", f"projects/{project_id}")
        return _Question(
            user_id,
            found.view,
            sees_all=MANAGE_ACCESS in found.permissions,
            sees_project=VIEW in found.permissions,
        )

    def _token(self, project_id: str) -> str:
        now_ms = int(self._access.now().timestamp() * 1000)
        return self._consistency.issue(project_pk(project_id), 0, now_ms)


def _is_to(grant: Grant, user_id: str) -> bool:
    return grant.target_type == _USER and grant.target_id == user_id


def _was_given(found: ProjectAccess) -> bool:
    """Whether the user has or had a grant of his own: he knows the project."""
    return any(_is_to(grant.message, found.user_id) for grant in found.view.grants)


def _with_revoked(facts: Facts, view: ProjectView) -> Facts:
    """The facts with the user's latest revoked grants; they decide nothing."""
    revoked = [
        grant.message
        for grant in view.grants
        if grant.message.status == _REVOKED and _is_to(grant.message, facts.user_id)
    ]
    revoked.sort(key=lambda grant: from_timestamp(grant.revoked_at), reverse=True)
    return replace(facts, grants=(*facts.grants, *map(grant_facts, revoked[:_MOST_REVOKED])))


def _shown(question: _Question, facts: Facts) -> Callable[[str], bool]:
    """Which names the asker may see: all with `manage_access`; else those of his
    own grants, of the teams and accounts he is active in, and the project's home
    if he may view the project."""
    if question.sees_all:
        return lambda _: True
    project = facts.project
    own = {f"accounts/{a}" for a, each in facts.accounts.items() if _active(each.member_status)}
    own |= {f"teams/{t}" for t, each in facts.teams.items() if _active(each.member_status)}
    own |= {
        f"accounts/{each.account_id}"
        for each in facts.teams.values()
        if _active(each.member_status)
    }
    if question.sees_project:
        own |= {f"accounts/{project.home_id}"}
    own |= {name.replace("accounts/", "workspaces/") for name in own}
    scopes = {name.partition("/")[2] for name in own}
    own |= {
        f"projects/{project.project_id}/grants/{grant.grant_id}"
        for grant in facts.grants
        if grant.target_id == facts.user_id or grant.target_id in scopes
    }
    return own.__contains__


def _active(status: int) -> bool:
    return status == MemberStatus.MEMBER_STATUS_ACTIVE


def _nothing_there(answer: ExplainPermissionResponse, project_id: str) -> None:
    """For services, which are told what exists."""
    text = f"projects/{project_id} does not exist"
    answer.root.CopyFrom(ExplainNode(outcome=_NOTHING, rule="project", text=text))
    answer.remedies.append(f"{text}: check the id")


def _root(found: Explanation, project_id: str, shows: Callable[[str], bool]) -> ExplainNode:
    nodes = _fact_nodes(found.cuts)
    nodes += [_step_node(step, shows) for step in found.steps]
    return ExplainNode(
        outcome=_ALLOWS if found.allowed else _NOTHING,
        rule="permission",
        text=found.text,
        resource=f"projects/{project_id}",
        children=nodes[:_MOST_NODES],
    )


def _step_node(step: Step, shows: Callable[[str], bool]) -> ExplainNode:
    source = source_message(step.source)
    for field, kind in (("team_id", "teams"), ("account_id", "accounts")):
        if not shows(f"{kind}/{getattr(source, field)}"):
            source.ClearField(field)  # type: ignore[arg-type]
    if not step.resource:
        source.ClearField("grant_id")
    return ExplainNode(
        outcome=_ALLOWS if step.allows else _NOTHING,
        rule=step.rule,
        text=step.text,
        resource=step.resource,
        source=source,
        children=_fact_nodes(step.facts),
    )


def _fact_nodes(facts: Iterable[Fact]) -> list[ExplainNode]:
    return [_fact_node(fact) for fact in facts]


def _fact_node(fact: Fact) -> ExplainNode:
    return ExplainNode(
        outcome=_ALLOWS if fact.holds else _BLOCKS,
        rule=fact.rule,
        text=fact.text,
        resource=fact.resource,
        remedy=fact.remedy,
    )
