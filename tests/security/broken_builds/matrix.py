"""Builds whose answers about own, foreign and missing things are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import project_svc.policy
from project_svc.access.gate import Access, ProjectAccess
from services.model.errors import Reason, WorkspaceError
from services.rpc.policy import PUBLIC
from tests.security.broken_builds import BrokenBuild

_GET = "/workspace.project.v1.ProjectService/GetProject"
_MATRIX = "tests/security/test_matrix.py"


def _everybody_holds_everything() -> None:
    Access._holds = lambda *_: True  # type: ignore[method-assign]


def _the_absent_is_told() -> None:
    admit = Access.admit

    def tell(self: Access, found: ProjectAccess | None, *args: Any, **more: Any) -> ProjectAccess:
        if found is None:
            raise WorkspaceError(Reason.ERROR_REASON_NOT_FOUND, "there is no such project")
        return admit(self, found, *args, **more)

    Access.admit = tell  # type: ignore[method-assign]


def _a_row_is_public() -> None:
    table: Any = project_svc.policy.POLICY
    table[_GET] = PUBLIC


BUILDS: Final[Mapping[str, BrokenBuild]] = {
    "everybody-holds-everything": BrokenBuild(
        "the check of permissions in a project",
        _everybody_holds_everything,
        (f"{_MATRIX}::test_foreign_and_missing_things[{_GET}]",),
    ),
    "the-absent-is-told": BrokenBuild(
        "one answer for the absent and the forbidden",
        _the_absent_is_told,
        (f"{_MATRIX}::test_foreign_and_missing_things[{_GET}]",),
    ),
    "a-row-is-public": BrokenBuild(
        "that a call needs somebody who is signed in",
        _a_row_is_public,
        (f"{_MATRIX}::test_own_things[{_GET}]",),
    ),
}
