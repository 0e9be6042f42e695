"""Data of a user or an account as NDJSON: to a file or to standard output."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from services.cli.client import Session
from services.cli.exit_codes import ExitCode
from services.cli.failures import CliError
from services.cli.options import Options
from services.cli.output import as_json, counted, print_json_line

__all__ = ["export_records"]

_SECONDS = 120.0
_PAGE = 500


async def export_records(
    session: Session, options: Options, method: Any, request: Any, output: Path | None, *,
    force: bool,
) -> None:
    """All pages of `records`; a page may be empty and still have a next one.

    A file gets its name when it is complete, and only its owner may read it.
    """
    if output is None:
        async for record in _records(session, method, request):
            print_json_line(as_json(record))
        return
    if not force:
        _refuse_existing(output)
    temp = output.with_name(f".{output.name[:60]}.{os.getpid()}.part")
    count = 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temp, flags, 0o600), "w", encoding="utf-8") as file:
            async for record in _records(session, method, request):
                file.write(json.dumps(as_json(record), ensure_ascii=False) + "\n")
                count += 1
        temp.replace(output)
    finally:
        temp.unlink(missing_ok=True)
    if options.json:
        print_json_line({"path": str(output), "records": count})
    else:
        sys.stdout.write(f"{output}: {counted(count, 'record')}\n")


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise CliError(
            f"{path} is there already", remedy="replace it with --force, or name another",
            exit_code=ExitCode.CONFLICT,
        )


async def _records(session: Session, method: Any, request: Any) -> Any:
    request.page_size = _PAGE
    while True:
        answer = await session.call(method, request, timeout=_SECONDS)
        for record in answer.records:
            yield record
        request.page_token = answer.next_page_token
        if not answer.next_page_token:
            return
