"""Services that believe what they are told, and go where they are sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from project_svc.access import facts
from services.events.egress import Egress
from storage_svc import gate
from sync_svc.connections import hosts
from tests.security.broken_builds import BrokenBuild

__all__ = ["BUILDS"]


def _believe_any_decision() -> None:
    gate.require_decided = lambda *_, **__: None  # type: ignore[attr-defined]


def _believe_any_memberships() -> None:
    facts.require_about = lambda *_: None  # type: ignore[attr-defined]


def _name_any_address() -> None:
    hosts._is_special = lambda _: False


def _call_any_address() -> None:
    Egress._may_reach = lambda *_: True  # type: ignore[method-assign]


_DEPUTIES = "tests/security/test_confused_deputies.py"

BUILDS: Final[Mapping[str, BrokenBuild]] = {
    "any_decision": BrokenBuild(
        "storage takes a decision about another file for an answer",
        _believe_any_decision,
        (f"{_DEPUTIES}::test_a_decision_about_another_file_is_none",),
    ),
    "any_memberships": BrokenBuild(
        "the project service takes memberships of somebody else for an answer",
        _believe_any_memberships,
        (f"{_DEPUTIES}::test_memberships_of_somebody_else_lend_no_rights",),
    ),
    "metadata_address": BrokenBuild(
        "connections lead to the metadata of the machine",
        _name_any_address,
        (
            "tests/security/test_where_connections_lead.py"
            "::test_nobody_names_an_address_of_the_machine_itself",
        ),
    ),
    "inner_network": BrokenBuild(
        "webhooks are sent to addresses inside",
        _call_any_address,
        ("tests/unit/events/test_egress.py::test_addresses_inside_are_refused",),
    ),
}
