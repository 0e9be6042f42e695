"""Grants: builds in which one may give too much, lose the last owner, or join unasked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from identity_svc.invitations.people import InvitationPeople
from project_svc.grants import grants, new_grants
from services.records.store import RecordStore
from tests.security.broken_builds import BrokenBuild

__all__ = ["BUILDS"]

_GRANTS = "tests/integration/project/test_grants.py"
_ACCEPTANCE = "tests/integration/identity/test_invitation_acceptance.py"


def _generous() -> None:
    for module in (grants, new_grants):
        module.require_within = lambda *_: None  # type: ignore[attr-defined]


def _no_heads() -> None:
    """A commit does not ask whether its partition moved since it was decided."""
    commit = RecordStore.commit

    async def headless(self: RecordStore, *args: Any, if_head: Any = None, **more: Any) -> Any:
        del if_head
        return await commit(self, *args, **more)

    RecordStore.commit = headless  # type: ignore[assignment]


def _for_anybody() -> None:
    async def is_addressee(*_: Any) -> bool:
        return True

    InvitationPeople.is_addressee = is_addressee  # type: ignore[method-assign]


BUILDS: Final[Mapping[str, BrokenBuild]] = {
    "generous": BrokenBuild(
        "a grant may give what its giver does not hold", _generous,
        (f"{_GRANTS}::TestCreate::test_nobody_gives_what_he_does_not_hold",),
    ),
    "no-heads": BrokenBuild(
        "two owners who remove each other do not meet", _no_heads,
        (f"{_GRANTS}::TestLastOwner::test_two_owners_remove_each_other_and_one_stays",),
    ),
    "for-anybody": BrokenBuild(
        "an invitation opens for whoever has its token", _for_anybody,
        (f"{_ACCEPTANCE}::TestVoid::test_i03_only_the_invited_verified_address",),
    ),
}
