"""Builds that let signed URLs do what they were not signed for, or live longer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import project_svc.access.permissions
import project_svc.documents.transfers
from services.http import while_allowed
from services.objects import tokens
from storage_svc import epochs
from tests.security.broken_builds import BrokenBuild

_TESTS = "tests/security"


def _any_mac_is_right() -> None:
    class Hmac:
        new = staticmethod(tokens.hmac.new)

        @staticmethod
        def compare_digest(*_: object) -> bool:
            return True

    tokens.hmac = Hmac  # type: ignore[misc, assignment]


def _nobody_looks_again() -> None:
    async def never(*_: Any) -> None:
        await asyncio.Event().wait()

    while_allowed._watch = never


def _the_trash_of_projects_is_open() -> None:
    for module in (project_svc.access.permissions, project_svc.documents.transfers):
        module.is_gone = lambda _: False  # type: ignore[attr-defined]


def _the_drill_is_the_keys_alone() -> None:
    epochs.DEPLOYMENT = "none"


BUILDS: Final[Mapping[str, BrokenBuild]] = {
    "any-mac-is-right": BrokenBuild(
        "the comparison of MACs",
        _any_mac_is_right,
        (f"{_TESTS}/test_url_verifier.py::test_no_flipped_bit_of_any_url_is_accepted",),
    ),
    "nobody-looks-again": BrokenBuild(
        "the look at transfers under way",
        _nobody_looks_again,
        (f"{_TESTS}/test_transfers_under_way.py::test_a_part_is_cut_and_leaves_nothing",),
    ),
    "the-trash-of-projects-is-open": BrokenBuild(
        "that a document is in the trash with its project",
        _the_trash_of_projects_is_open,
        (f"{_TESTS}/test_url_revocation.py::test_urls_end_with_the_right[ProjectTrashed]",),
    ),
    "the-drill-is-the-keys-alone": BrokenBuild(
        "the epoch of the deployment",
        _the_drill_is_the_keys_alone,
        ("tests/integration/storage/test_revoking.py::test_the_drill_outlives_the_keys",),
    ),
}
