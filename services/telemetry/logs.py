"""Log output: JSON lines for machines, one readable line for people at a terminal.

Whatever is logged, by us or by a library, passes `RedactionFilter` first: no
token, signature, signed URL, secret or e-mail address is written. Only the line of
each call (`ACCESS_LOGGER`) is written as it is: see there.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

from services.telemetry.redaction import redact, redact_value

__all__ = [
    "ACCESS_LOGGER",
    "HumanFormatter",
    "JsonFormatter",
    "RedactionFilter",
    "configure_logging",
]

ACCESS_LOGGER = "workspace.rpc.access"
"""Its lines hold nothing but values of our own (method, code, reason, duration,
ids that we made) and request ids that `request_id_of` let pass, so that they are
not searched for secrets. Log nothing else to it."""
_JSON = json.JSONEncoder(ensure_ascii=False, default=str, separators=(",", ":"))
_CARRIERS = ("botocore", "boto3", "s3transfer", "urllib3", "azure", "msal", "aiohttp")
"""At debug these write requests and answers as they are: key files read from a secret,
mails, sessions. No pattern of ours knows such a value. At info they tell of each client where
its keys came from, and of each request its URL and headers. So they never go below warning."""
_TALKERS = ("azure.identity",)
"""Their warnings are many lines about each credential that was tried, at each attempt; what
helps is in the one line of our refusal. At debug they are shown."""
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class RedactionFilter(logging.Filter):
    """Rewrites each record in place: text, extra fields, traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True: a record is cleaned, never dropped."""
        if record.name == ACCESS_LOGGER and not record.exc_info and not record.stack_info:
            return True
        record.msg, record.args = redact(_message(record)), ()
        for name, value in _extras(record).items():
            setattr(record, name, redact_value(name, value))
        if record.exc_info and record.exc_info[1] is not None:
            lines = traceback.format_exception(record.exc_info[1])
            record.exc_text = redact("".join(lines).rstrip())
            record.exc_info = None
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return True


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # a wrong format string must not lose the line
        return f"{record.msg!s} {record.args!r}"


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (RFC 3339, UTC), level, logger, message, extras."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline."""
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in _extras(record).items():
            line.setdefault(name, value)
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = record.stack_info
        return _JSON.encode(line)


class HumanFormatter(logging.Formatter):
    """`12:30:01.250 INFO  workspace.rpc message  key=value ...`"""

    def format(self, record: logging.LogRecord) -> str:
        """The line; a traceback follows on its own lines. Control characters
        in a message are escaped, so that nobody can write lines of their own."""
        clock = _time(record)[11:23]
        text = _one_line(record.getMessage())
        pairs = " ".join(f"{name}={_one_line(str(v))}" for name, v in _extras(record).items())
        line = f"{clock} {record.levelname:<7} {record.name} {text}"
        parts = [f"{line}  {pairs}" if pairs else line]
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        parts += [text for text in (record.exc_text, record.stack_info) if text]
        return "\n".join(parts)


def _one_line(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def configure_logging(
    *,
    level: str = "INFO",
    stream: TextIO | None = None,
    as_json: bool | None = None,
    levels: Mapping[str, str] | None = None,
) -> logging.Handler:
    """Send all logs to `stream` (standard error by default); answers the handler.

    `as_json` None means JSON when the stream is no terminal. `levels` sets
    loggers apart, for example `{"workspace.rpc.access": "WARNING"}`. An earlier
    handler of this function is replaced. Call it once, from `main`.
    """
    target = stream if stream is not None else sys.stderr
    structured = as_json if as_json is not None else not target.isatty()
    handler = _WorkspaceHandler(target)
    handler.setFormatter(JsonFormatter() if structured else HumanFormatter())
    handler.addFilter(RedactionFilter())
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _WorkspaceHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _CARRIERS:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    least = logging.WARNING if root.level <= logging.DEBUG else logging.ERROR
    for name in _TALKERS:
        logging.getLogger(name).setLevel(max(root.level, least))
    for name, value in (levels or {}).items():
        logging.getLogger(name).setLevel(value)
    return handler


class _WorkspaceHandler(logging.StreamHandler[TextIO]):
    """Told apart from handlers that others put on the root logger."""
