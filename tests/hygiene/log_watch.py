"""No test of the suite may log a secret: the logs of every one are searched.

`watch_logs` puts a handler on the root logger that sees each line as an operator would (after
the product's redaction), and looks through what server processes wrote: to standard error, and
to the files that `follow` was told of. A test fails by name in its teardown. A test that logs
a secret on purpose asks for the fixture `secrets_in_logs`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest

from services.telemetry.logs import JsonFormatter, RedactionFilter
from tests.hygiene.shapes import IN_LOGS, found, hidden

__all__ = ["LogWatch", "follow", "plant", "watch_logs"]

_NAME: Final = "log-watch"
_OURS: Final = ("workspace", "services", "identity_svc", "project_svc", "storage_svc", "sync_svc")
_WORD: Final = re.compile(r"[\w-]{16,}")
_MAX_SHOWN: Final = 300
_planted: Final[set[str]] = set()
_followed: Final[dict[Path, int]] = {}


def watch_logs(config: pytest.Config) -> None:
    """Watch from now on. Our loggers tell what they tell at INFO; the tests' own `caplog`
    and the report of a failed one still begin at WARNING."""
    if config.pluginmanager.has_plugin(_NAME):
        return
    config.option.log_level = config.option.log_level or "WARNING"
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    watch = LogWatch()
    logging.getLogger().addHandler(watch)
    config.pluginmanager.register(watch, _NAME)


def pytest_configure(config: pytest.Config) -> None:
    """For `-p tests.hygiene.log_watch`; our own suite calls `watch_logs`."""
    watch_logs(config)


def plant(secret: str) -> str:
    """A secret (16 characters or more of letters, digits, - and _) that no shape would tell."""
    _planted.add(secret)
    return secret


def follow(log: Path) -> None:
    """A file to which a server process of the test writes its log."""
    _followed.setdefault(log, 0)


class LogWatch(logging.Handler):
    """Gathers `hits`: kind, place, and the line with dots for the secret."""

    def __init__(self) -> None:
        super().__init__()
        self.hits: list[str] = []
        self._redaction = RedactionFilter()
        self._lines = JsonFormatter()

    def emit(self, record: logging.LogRecord) -> None:
        """Search one record of this process, as it would be written."""
        copy = logging.makeLogRecord(vars(record))
        self._redaction.filter(copy)
        self.search(f"logger {record.name}", self._lines.format(copy))

    def search(self, where: str, text: str) -> None:
        """Look through one line, or many."""
        for kind, place in found(IN_LOGS, text):
            self._hit(kind, where, _line(text, place))
        if _planted:
            for word in _planted.intersection(_WORD.findall(text)):
                self._hit("planted secret", where, _line(text, text.index(word)))

    def search_files(self) -> None:
        """Look through what the followed files have got since."""
        for path, done in list(_followed.items()):
            try:
                with path.open("rb") as log:
                    log.seek(done)
                    new = log.read()
            except FileNotFoundError:
                continue
            _followed[path] = done + len(new)
            self.search(path.name, new.decode("utf-8", "replace"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Fail a test at its end for what was logged while it ran."""
        report = yield
        if report.when != "teardown":
            return report
        self.search_files()
        for title, text in report.sections:
            if "stderr" in title:
                self.search(title, text)
        hits, self.hits = self.hits, []
        if hits and report.passed and "secrets_in_logs" not in item.fixturenames:  # type: ignore[attr-defined]
            report.outcome = "failed"
            report.longrepr = "secrets in logs:\n" + "\n".join(hits[:20])
        return report

    @pytest.fixture
    def secrets_in_logs(self) -> None:
        """Allows the test to log secrets (of its own), without redaction."""

    def _hit(self, kind: str, where: str, line: str) -> None:
        shown = hidden(IN_LOGS, line)
        for word in _planted.intersection(_WORD.findall(shown)):
            shown = shown.replace(word, "...")
        self.hits.append(f"{kind} in {where}: {shown[:_MAX_SHOWN]}")


def _line(text: str, place: int) -> str:
    """The line of `text` around a place."""
    start = text.rfind("\n", 0, place) + 1
    end = text.find("\n", place)
    return text[start : end if end >= 0 else len(text)]
