"""Builds whose audit chain is worth less than it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from project_svc.history import activity
from services.model.activity_chain import Chain
from tests.security.broken_builds import BrokenBuild

__all__ = ["BUILDS"]

_SUITE = "tests/conformance/records/test_activity_chain.py"


def _no_links() -> None:
    """Every event of the partition counts as linked, whatever its link says."""

    def followed(self: Chain, *_: Any) -> None:
        self._walked = {each.link: each for each in self.entries}

    Chain._walk = followed  # type: ignore[method-assign]


def _no_checkpoints() -> None:
    Chain.against = lambda self, checkpoint: []  # type: ignore[method-assign]


def _any_erasure() -> None:
    """What calls itself erased is believed."""
    Chain._check_erased = lambda self: None  # type: ignore[method-assign]


def _seals_for_all() -> None:
    """Who sees a part of an event sees all of its seal."""
    activity.take_off = lambda event: None  # type: ignore[attr-defined]


BUILDS: Final[Mapping[str, BrokenBuild]] = {
    "no-links": BrokenBuild(
        "events are not held against the link of the next", _no_links,
        (f"{_SUITE}::test_a_seal_that_was_taken_off_is_an_edit[sqlite]",),
    ),
    "no-checkpoints": BrokenBuild(
        "a checkpoint is read and not compared", _no_checkpoints,
        (f"{_SUITE}::test_a_chain_that_was_made_anew_is_shown_by_the_checkpoint[sqlite]",),
    ),
    "any-erasure": BrokenBuild(
        "an edit may call itself an erasure", _any_erasure,
        (f"{_SUITE}::test_an_edit_that_calls_itself_an_erasure_is_an_edit[sqlite]",),
    ),
    "seals-for-all": BrokenBuild(
        "a viewer is shown the seal of what is hidden from him", _seals_for_all,
        (
            "tests/integration/project/test_verify_activity.py"
            "::test_a_seal_is_shown_to_those_who_are_shown_everything",
        ),
    ),
}
