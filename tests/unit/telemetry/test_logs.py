from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from services.telemetry.logs import ACCESS_LOGGER, configure_logging

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl-c2ln"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def _log(stream: io.StringIO, **options: Any) -> logging.Logger:
    configure_logging(stream=stream, **options)
    return logging.getLogger("workspace.test")


def test_json_when_nobody_watches() -> None:
    stream = io.StringIO()
    _log(stream).info("call %s", "done", extra={"request_id": "r-1", "duration_ms": 1.5})
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "info",
        "logger": "workspace.test",
        "message": "call done",
        "request_id": "r-1",
        "duration_ms": 1.5,
    }


def test_one_line_for_people() -> None:
    stream = Terminal()
    _log(stream).warning("two\nlines\x1b[31m", extra={"code": "OK\n"})
    (line,) = stream.getvalue().splitlines()
    assert "WARNING workspace.test two\\nlines\\x1b[31m  code=OK\\n" in line
    assert not line.startswith("{")


@pytest.mark.parametrize("make", [io.StringIO, Terminal])
def test_secrets_are_redacted_wherever_they_stand(make: type[io.StringIO]) -> None:
    stream = make()
    log = _log(stream)
    try:
        raise ValueError(f"bad token {JWT} of person@example.com")
    except ValueError:
        log.exception("from %s", "person@example.com", extra={"note": JWT, "password": "abc"})
    text = stream.getvalue()
    assert "ValueError: bad token" in text
    assert "Traceback" in text
    for secret in (JWT, "person@example.com", "abc"):
        assert secret not in text
    assert text.count("[redacted]") >= 4


def test_an_exception_is_redacted_even_on_the_line_of_a_call() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    try:
        raise ValueError(f"bad token {JWT}")
    except ValueError:
        logging.getLogger(ACCESS_LOGGER).exception("failed with %s", JWT)
    assert JWT not in stream.getvalue()


def test_a_chained_traceback_is_redacted_too() -> None:
    stream = io.StringIO()
    log = _log(stream)
    try:
        try:
            raise ValueError(f"Bearer {JWT}")
        except ValueError as error:
            raise RuntimeError("outer") from error
    except RuntimeError:
        log.exception("failed")
    text = stream.getvalue()
    assert JWT not in text
    assert "RuntimeError: outer" in text


def test_a_wrong_format_does_not_lose_the_line() -> None:
    stream = io.StringIO()
    handler = configure_logging(stream=stream)
    handler.handle(logging.makeLogRecord({"msg": "%d items", "args": ("many",)}))
    assert "many" in json.loads(stream.getvalue())["message"]


def test_an_extra_field_cannot_replace_a_standard_one() -> None:
    stream = io.StringIO()
    _log(stream).info("true", extra={"level": "fake", "logger": "fake", "time": "fake"})
    entry = json.loads(stream.getvalue())
    assert (entry["level"], entry["logger"]) == ("info", "workspace.test")
    assert entry["time"] != "fake"


def test_configuring_twice_logs_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logging(stream=first)
    _log(second, level="WARNING", levels={"workspace.test": "ERROR"}).warning("no")
    logging.getLogger("workspace.other").warning("yes")
    assert first.getvalue() == ""
    assert [json.loads(line)["message"] for line in second.getvalue().splitlines()] == ["yes"]


@pytest.fixture
def level_of_nobody() -> Iterator[None]:
    """The watch over the logs of all tests holds ours at INFO."""
    ours = logging.getLogger("workspace")
    level = ours.level
    ours.setLevel(logging.NOTSET)
    yield
    ours.setLevel(level)


@pytest.mark.parametrize(
    "name",
    [
        "botocore.parsers", "botocore.endpoint", "urllib3.util.retry", "azure.identity",
        "azure.core.pipeline.policies.http_logging_policy",
        "azure.cosmos._cosmos_http_logging_policy",
    ],
)
@pytest.mark.usefixtures("level_of_nobody")
def test_debug_shows_no_bodies_of_libraries(name: str) -> None:
    """An SDK at debug writes answers as they are: key files, for one."""
    stream = io.StringIO()
    configure_logging(stream=stream, level="DEBUG")
    logging.getLogger("workspace.other").debug("ours")
    logging.getLogger(name).debug("Response body: c2VjcmV0")
    logging.getLogger(name).warning("it retries")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == [
        "ours", "it retries"
    ]  # fmt: skip


def test_sign_in_that_fails_is_not_told_at_length() -> None:
    """The SDK lists every credential that it tried; the refusal is one line of ours."""
    stream = io.StringIO()
    configure_logging(stream=stream, level="INFO")
    logging.getLogger("azure.identity.aio._credentials.chained").warning("tried:\n\tall")
    assert stream.getvalue() == ""
