"""Failures of a command: one line of what, one of what to do, an exit code."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from services.cli.exit_codes import ExitCode

__all__ = ["CliError", "Failure", "not_found", "print_failure", "usage"]


@dataclass(frozen=True, slots=True)
class Failure:
    """What is shown of a failure. `reason` is empty for failures of `wm` itself."""

    exit_code: ExitCode
    message: str
    remedy: str = ""
    reason: str = ""


class CliError(Exception):
    """A failure that `wm` found itself."""

    def __init__(
        self, message: str, *, remedy: str = "", exit_code: ExitCode = ExitCode.FAILED
    ) -> None:
        super().__init__(message)
        self.failure = Failure(exit_code, message, remedy)


def usage(message: str, *, remedy: str = "") -> CliError:
    """A bad argument."""
    return CliError(message, remedy=remedy, exit_code=ExitCode.USAGE)


def not_found(message: str, *, remedy: str = "") -> CliError:
    """A name that nothing visible to the caller has."""
    return CliError(message, remedy=remedy, exit_code=ExitCode.NOT_FOUND)


def print_failure(failure: Failure, *, as_json: bool) -> None:
    """To standard error, for people or for programs."""
    if as_json:
        shown: dict[str, Any] = {
            "exit_code": int(failure.exit_code),
            "reason": failure.reason,
            "message": failure.message,
            "remedy": failure.remedy,
        }
        sys.stderr.write(json.dumps({"error": shown}, ensure_ascii=False) + "\n")
        return
    reason = f" ({failure.reason})" if failure.reason else ""
    sys.stderr.write(f"wm: {failure.message}{reason}\n")
    if failure.remedy:
        sys.stderr.write(f"    {failure.remedy}\n")
