"""Builds that tell what they should keep to themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services import private_files
from services.model.errors import Reason, WorkspaceError
from services.objects import keyring
from services.rpc import errors
from services.telemetry import logs
from services.tokens import local_secret
from tests.security.broken_builds import BrokenBuild

__all__ = ["BUILDS"]


def _no_redaction() -> None:
    logs.redact = lambda text: text


def _any_key() -> None:
    for module in (private_files, keyring, local_secret):
        module.is_known_to_all = lambda secret: False  # type: ignore[attr-defined]


def _errors_as_they_come() -> None:
    def told(exc: BaseException, request_id: str) -> WorkspaceError:
        known = isinstance(exc, WorkspaceError)
        return exc if known else WorkspaceError(Reason.ERROR_REASON_INTERNAL, str(exc))

    errors._as_workspace_error = told


BUILDS: Final[Mapping[str, BrokenBuild]] = {
    "logs-are-written-as-they-are": BrokenBuild(
        "the redaction of messages and tracebacks",
        _no_redaction,
        ("tests/hygiene/test_log_watch.py::test_the_product_redacts_what_is_looked_for",),
    ),
    "errors-have-the-words-of-drivers": BrokenBuild(
        "our words in place of those of an exception",
        _errors_as_they_come,
        ("tests/hygiene/test_error_texts.py::test_the_words_of_a_driver_stay_inside",),
    ),
    "known-keys-are-taken": BrokenBuild(
        "the look at the keys of a key file",
        _any_key,
        (
            "tests/unit/objects/test_object_keyring.py::test_bad_keys_are_refused",
            "tests/unit/tokens/test_local_files.py::test_a_key_that_everybody_knows_stops_the_start",
        ),
    ),
}
