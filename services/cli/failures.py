"""Failures of a command: one line of what, one of what to do, an exit code."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from services.cli.exit_codes import BY_BACKEND_FAILURE, BY_STATUS, ExitCode

__all__ = ["CliError", "Failure", "describe", "not_found", "print_failure", "usage"]

_REMEDIES = {
    "UNAUTHENTICATED": "sign in: wm login --as you@example.com",
    "UNAVAILABLE": "start the workspace with `wm serve`, or name another with --server",
    "DEADLINE_EXCEEDED": "repeat the command; it is safe to repeat",
    "UNIMPLEMENTED": "this server does not offer it; compare versions of client and server",
}


_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


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


def describe(error: BaseException) -> Failure:
    """What to show of an exception, without secrets and without a traceback."""
    import grpc.aio

    from services.model.errors import Reason, WorkspaceError
    from services.records.port import DriverUnavailable

    if isinstance(error, CliError):
        return error.failure
    if isinstance(error, DriverUnavailable):
        return _of_store(error)
    if isinstance(error, grpc.aio.AioRpcError):
        return _of_call(error)
    if isinstance(error, WorkspaceError):
        from services.rpc.errors import code_of

        code = BY_STATUS.get(code_of(error).name, ExitCode.FAILED)
        code = BY_BACKEND_FAILURE.get(error.metadata.get("failure", ""), code)
        return Failure(code, error.message, reason=Reason.Name(error.reason))
    if isinstance(error, OSError):
        what = f"{error.filename}: " if error.filename else ""
        return Failure(ExitCode.FAILED, f"{what}{error.strerror or error}")
    if isinstance(error, BaseExceptionGroup) and error.exceptions:
        return describe(error.exceptions[0])
    return Failure(
        ExitCode.FAILED,
        f"unexpected {type(error).__name__}",
        "run it again with WM_DEBUG=1 and report what it prints",
    )


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


def _of_store(error: BaseException) -> Failure:
    """The record store could not be opened; its text never holds a secret."""
    if str(error).startswith(("DynamoDB table", "Cosmos DB")):  # it says what helps
        return Failure(ExitCode.UNAVAILABLE, str(error))
    damaged = getattr(error.__cause__, "sqlite_errorname", "").startswith(_DAMAGED)
    if damaged:
        return Failure(
            ExitCode.PRECONDITION,
            "the record store is damaged: workspace.sqlite in the data folder",
            "run `wm doctor`, and restore the data folder from a backup",
        )
    return Failure(
        ExitCode.UNAVAILABLE,
        f"the record store cannot be opened: {error}",
        "check WM_DATA_DIR, or WM_RECORDS_DSN and that PostgreSQL runs",
    )


def _of_call(error: Any) -> Failure:
    from services.rpc.errors import error_info, peer_status

    status = error.code().name
    code = BY_STATUS.get(status, ExitCode.FAILED)
    ours = peer_status(error)
    if ours is None:
        text = "the workspace does not answer" if status == "UNAVAILABLE" else error.details()
        return Failure(code, text or status, _REMEDIES.get(status, ""))
    info = error_info(ours)
    return Failure(code, ours.message, _REMEDIES.get(status, ""), info.reason if info else "")
