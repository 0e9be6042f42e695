"""The watch over logs finds what it is there for."""

from __future__ import annotations

import logging
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from services.telemetry.logs import ACCESS_LOGGER
from tests.hygiene import log_watch
from tests.hygiene.log_watch import LogWatch
from tests.hygiene.test_repository import planted

ROOT = Path(__file__).parents[2]
OURS = ("machine token", "webhook secret", "transfer token", "invitation token")
IN_A_LOG = {kind: planted()[kind].split()[-1].strip("'") for kind in OURS} | {
    "bearer token": f"eyJ{secrets.token_hex(12)}.eyJ{secrets.token_hex(9)}.{secrets.token_hex(32)}",
    "authorization": f"Bearer {secrets.token_urlsafe(32)}",
    "signed URL": f"https://b.invalid/k?x=1&X-Amz-Signature={secrets.token_hex(32)}",
    "private key": "-----BEGIN {} KEY-----".format("PRIVATE"),
    "e-mail address": "ann@example.com",
    "password in a URL": f"postgresql://ann:{secrets.token_hex(8)}@db/x",
}
TEST = """
import logging
import sys
import pytest

def test_quiet():
    logging.getLogger("workspace.x").info("nothing")

def test_loud():
    logging.getLogger("workspace.rpc.access").info("call by ann@example.com")

def test_a_server_is_loud():
    print("refused wmt_%s" % ("a2" * 55), file=sys.stderr)

def test_allowed(secrets_in_logs):
    print("refused wmt_%s" % ("a2" * 55), file=sys.stderr)
"""


def record(logger: str, message: str) -> logging.LogRecord:
    return logging.LogRecord(logger, logging.INFO, __file__, 1, message, (), None)


@pytest.mark.case("Y02")
@pytest.mark.parametrize("kind", sorted(IN_A_LOG))
def test_a_planted_secret_is_found_and_not_shown(kind: str) -> None:
    watch = LogWatch()
    watch.emit(record(ACCESS_LOGGER, f"call {IN_A_LOG[kind]} done"))  # written without redaction
    assert any(hit.startswith(f"{kind} in logger {ACCESS_LOGGER}") for hit in watch.hits)
    assert IN_A_LOG[kind] not in " ".join(watch.hits)


@pytest.mark.case("Y02")
@pytest.mark.parametrize("kind", sorted(IN_A_LOG))
def test_the_product_redacts_what_is_looked_for(kind: str) -> None:
    watch = LogWatch()
    watch.emit(record("workspace.any", f"refused {IN_A_LOG[kind]} at once"))
    assert watch.hits == []


@pytest.mark.case("Y02")
def test_files_of_servers_and_values_without_a_shape_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_watch, "_followed", {})
    monkeypatch.setattr(log_watch, "_planted", set())
    watch, log = LogWatch(), tmp_path / "serve.log"
    word = log_watch.plant(secrets.token_urlsafe(32))
    log_watch.follow(log)
    log.write_text("started\n")
    watch.search_files()
    assert watch.hits == []
    with log.open("a") as more:
        more.write(f"the secret is {word}\n")
    watch.search_files()
    watch.search_files()  # what was seen is not looked at again
    (hit,) = watch.hits
    assert hit == "planted secret in serve.log: the secret is ..."


@pytest.mark.case("Y02")
def test_a_test_that_logs_a_secret_fails_by_name(pytester_run: tuple[int, str]) -> None:
    code, shown = pytester_run
    assert code == pytest.ExitCode.TESTS_FAILED, shown
    for name, kind in (("test_loud", "e-mail address"), ("test_a_server_is_loud", "machine token")):
        assert f"ERROR test_it.py::{name} - secrets in logs" in shown or (
            f"_ ERROR at teardown of {name} _" in shown
        ), shown
        assert f"{kind} in " in shown
    assert "teardown of test_quiet" not in shown
    assert "teardown of test_allowed" not in shown
    assert "ann@example.com" not in shown.split("secrets in logs")[1].splitlines()[1]


@pytest.fixture
def pytester_run(tmp_path: Path) -> tuple[int, str]:
    """(exit code, output) of pytest for the file above, with the watch and nothing else."""
    (tmp_path / "test_it.py").write_text(TEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    command += ["-p", "tests.hygiene.log_watch", "--rootdir", str(tmp_path)]
    command += ["-c", str(tmp_path / "pytest.ini"), str(tmp_path / "test_it.py")]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    return done.returncode, done.stdout
