"""The scope of the caller's machine token, on projects and homes: it only takes away.

The one place where what the *caller* holds is cut; what is decided about other
people is not.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from services.model.permissions import Effective, Facts, allows, evaluate, held
from services.rpc.context import scope_of

__all__ = ["allows_cut", "evaluate_cut", "leaves", "reaches"]

_NOTHING = Effective(frozenset(), (), (), ())


def reaches(user_id: str, home_id: str) -> bool:
    """Whether the scope leaves the account or personal workspace ('': none)."""
    scope = scope_of(user_id)
    return scope is None or scope.reaches_account(home_id)


def leaves(facts: Facts, permission: int) -> bool:
    """Whether the scope leaves the permission, if the user holds it."""
    scope = scope_of(facts.user_id)
    project = facts.project
    return scope is None or permission in scope.on_project(project.project_id, project.home_id)


def allows_cut(facts: Facts, permission: int, now: datetime) -> bool:
    """`allows`, for a user who may be the caller."""
    return leaves(facts, permission) and allows(facts, permission, now)


def evaluate_cut(facts: Facts, now: datetime, *, sources: bool = True) -> Effective:
    """`evaluate` (`held` without `sources`), for a user who may be the caller. A
    project beyond the scope is as one that gives nothing."""
    effective = evaluate(facts, now) if sources else held(facts, now)
    scope = scope_of(facts.user_id)
    if scope is None or scope.is_whole:
        return effective
    most = scope.on_project(facts.project.project_id, facts.project.home_id)
    if not most:
        return _NOTHING
    return replace(effective, permissions=effective.permissions & most)
