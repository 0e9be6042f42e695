"""Names that deceive, files that somebody planted, answers that a browser runs."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Final, cast

from services.cli.exporting import parts
from services.http import server
from services.model import names
from services.objects.filesystem.tree import Tree
from tests.security.broken_builds import BrokenBuild

__all__ = ["BUILDS"]


def _see_nothing() -> None:
    names._INVISIBLE = frozenset()  # type: ignore[misc]


def _take_hard_links() -> None:
    Tree._is_ours_alone = lambda *_: True  # type: ignore[method-assign]


def _foresee_parts() -> None:
    parts.secrets = cast("Any", SimpleNamespace(token_hex=lambda size: "0" * 2 * size))


def _soften() -> None:
    server.harden = lambda *_: None  # type: ignore[attr-defined]


BUILDS: Final[Mapping[str, BrokenBuild]] = {
    "ignorable": BrokenBuild(
        "names may hold what Unicode shows as nothing",
        _see_nothing,
        ("tests/security/test_every_code_point.py::test_what_is_unseen_is_refused_by_its_code_point",),
    ),
    "hard_links": BrokenBuild(
        "the local object store reads files that have a second name",
        _take_hard_links,
        ("tests/unit/objects/test_filesystem_driver.py::test_hard_links_are_refused_and_logged",),
    ),
    "foreseen_parts": BrokenBuild(
        "downloads are received under names that are known before",
        _foresee_parts,
        ("tests/unit/cli/test_export_tree.py::test_nobody_foresees_where_a_file_is_received",),
    ),
    "bare_answers": BrokenBuild(
        "answers have no header that restrains a browser",
        _soften,
        (
            "tests/security/test_names_on_the_wire.py"
            "::test_answers_outside_of_any_application_have_them_too",
        ),
    ),
}
