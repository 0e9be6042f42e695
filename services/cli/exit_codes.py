"""The exit codes of `wm`, a contract with scripts (docs/guides/cli.md)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

__all__ = ["BY_BACKEND_FAILURE", "BY_STATUS", "ExitCode"]


class ExitCode(IntEnum):
    """What the process ends with."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_SIGNED_IN = 3
    DENIED = 4
    NOT_FOUND = 5
    CONFLICT = 6
    PRECONDITION = 7
    UNAVAILABLE = 8
    PARTLY_FAILED = 9
    INTERRUPTED = 130  # 128 + SIGINT, as shells report it


BY_STATUS: Final[Mapping[str, ExitCode]] = {
    "INVALID_ARGUMENT": ExitCode.USAGE,
    "OUT_OF_RANGE": ExitCode.USAGE,
    "UNAUTHENTICATED": ExitCode.NOT_SIGNED_IN,
    "PERMISSION_DENIED": ExitCode.DENIED,
    "NOT_FOUND": ExitCode.NOT_FOUND,
    "ALREADY_EXISTS": ExitCode.CONFLICT,
    "ABORTED": ExitCode.CONFLICT,
    "FAILED_PRECONDITION": ExitCode.PRECONDITION,
    "RESOURCE_EXHAUSTED": ExitCode.PRECONDITION,
    "UNAVAILABLE": ExitCode.UNAVAILABLE,
    "DEADLINE_EXCEEDED": ExitCode.UNAVAILABLE,
}
"""gRPC status names to exit codes; every other status is FAILED."""

BY_BACKEND_FAILURE: Final[Mapping[str, ExitCode]] = {
    "no_credentials": ExitCode.NOT_SIGNED_IN,
    "expired": ExitCode.NOT_SIGNED_IN,
    "bad_credentials": ExitCode.NOT_SIGNED_IN,
    "denied": ExitCode.DENIED,
    "missing": ExitCode.PRECONDITION,
    "wrong_region": ExitCode.PRECONDITION,
    "skewed": ExitCode.PRECONDITION,
}
"""Failures of a provider that repeating does not mend (aws/failures.py) to exit codes."""
