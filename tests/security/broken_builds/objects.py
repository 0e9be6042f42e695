"""Objects and functions: builds that decide nothing, decide too early, or tell by the time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from project_svc.access.gate import Access
from services.records.store import RecordStore
from tests.security.broken_builds import BrokenBuild

__all__ = ["BUILDS"]


def _open_projects() -> None:
    Access._holds = lambda *_: True  # type: ignore[method-assign,assignment]


def _decided_once() -> None:
    """Nothing is looked at again right before a commit."""
    commit = RecordStore.commit

    async def early(self: RecordStore, *args: Any, still: Any = None, **more: Any) -> Any:
        del still
        return await commit(self, *args, **more)

    RecordStore.commit = early  # type: ignore[assignment]


def _quick_for_absent() -> None:
    """What is absent is refused at once, without the reads of what is there."""

    async def at_once(*_: Any) -> bool:
        return False

    Access._absent = at_once  # type: ignore[method-assign]


BUILDS: Final[Mapping[str, BrokenBuild]] = {
    "open-projects": BrokenBuild(
        "everybody holds every right on a project", _open_projects,
        ("tests/security/test_object_attacks.py::"
         "test_who_is_new_is_somebody_of_his_own_and_holds_nothing",),
    ),
    "decided-once": BrokenBuild(
        "a right that ends before the commit counts", _decided_once,
        ("tests/security/test_late_revocations.py", "-k", "document and fails_the_write"),
    ),
    "quick-for-absent": BrokenBuild(
        "what is absent is refused in less time", _quick_for_absent,
        ("tests/integration/project/test_documents.py::"
         "test_absent_and_forbidden_documents_take_the_same_calls",),
    ),
}
