"""What is shown of an exception that ends a command."""

from __future__ import annotations

from typing import Any

from services.cli.exit_codes import BY_BACKEND_FAILURE, BY_STATUS, ExitCode
from services.cli.failures import CliError, Failure
from services.cli.trust import certificate_failure_of

__all__ = ["describe"]

_REMEDIES = {
    "UNAUTHENTICATED": "sign in: wm login --as you@example.com",
    "UNAVAILABLE": "start the workspace with `wm serve`, or name another with --server",
    "DEADLINE_EXCEEDED": "repeat the command; it is safe to repeat",
    "UNIMPLEMENTED": "this server does not offer it; compare versions of client and server",
}
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


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
    if type(error).__module__.startswith("httpx"):
        return _of_transfer(error)
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


def _of_transfer(error: BaseException) -> Failure:
    """A file did not pass; the text of the error may be a signed URL, so it is not shown."""
    try:
        host = str(getattr(error, "request").url.host)  # noqa: B009 - raises without one
    except (RuntimeError, AttributeError):
        host = "the store of the files"
    absent = type(error).__name__.startswith("Connect")
    text = f"{host} does not answer" if absent else f"the transfer with {host} broke off"
    return certificate_failure_of(error, host) or Failure(
        ExitCode.UNAVAILABLE, text, "repeat the command; it is safe to repeat"
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
