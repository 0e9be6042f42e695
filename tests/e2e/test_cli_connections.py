"""Every verb of `wm connections`, against one real `wm serve`."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.e2e.serving import ANN, Serving


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    served = Serving(tmp_path_factory.mktemp("connections"))
    served.start()
    served.wm("login", "--as", ANN, "--name", "Ann")
    yield served
    if served.process is not None:
        served.end(signal.SIGKILL)


def test_a_connection_from_its_registration_to_its_end(serving: Serving) -> None:
    added = serving.wm("connections", "add", "usb", "folder=disk", "--name", "Blue disk")
    assert "Registered" in added
    assert str(serving.folder / "disk") in added, "a folder is meant from here"
    listed = serving.wm("connections", "list")
    assert "CONNECTION_ID" in listed
    assert "Blue disk" in listed
    tested = serving.wm("connections", "test", "Blue disk")
    assert "records_write" in tested
    assert "Usable." in tested
    assert "2" in serving.wm("connections", "set", "usb", "--max-requests", "2")
    assert serving.json("connections", "pause", "usb")["status"] == "CONNECTION_STATUS_PAUSED"
    assert serving.json("connections", "resume", "usb")["status"] == "CONNECTION_STATUS_ACTIVE"
    shown = serving.wm("connections", "show", "usb")
    assert "max_requests_per_second" in shown
    assert "surface" in shown
    assert "Removed usb." in serving.wm("connections", "remove", "usb", "--yes")
    assert serving.json("connections", "list") == {"connections": []}
    assert (serving.folder / "disk" / "workspace.sqlite").exists()


def test_mistakes_say_what_to_do(serving: Serving) -> None:
    secret = serving.wm(
        "connections", "add", "bad", "folder=x", "--note", "password" + "=hunter22", code=2
    )
    assert "connection.note" in secret
    assert "environment" in secret
    assert "hunter22" not in secret
    assert "KEY=VALUE" in serving.wm("connections", "add", "bad", "folder", code=2)
    cloud = serving.wm("connections", "add", "bad", "bucket=b", "--provider", "gcp", code=2)
    assert "[local, aws, azure, postgres]" in cloud
    assert "no connection 'nowhere'" in serving.wm("connections", "test", "nowhere", code=5)
    assert "nothing to change" in _set_nothing(serving)


def test_a_failed_check_is_shown_and_told_by_the_exit_code(serving: Serving) -> None:
    serving.wm("connections", "add", "far", "folder=mnt/not/there")
    failed = serving.wm("connections", "test", "far", code=1)
    assert "FAILED" in failed
    assert "mount" in failed
    assert "Not usable" in failed
    serving.wm("connections", "set", "far", "folder=near")
    assert "Usable." in serving.wm("connections", "test", "far")
    assert serving.json("connections", "test", "far", "--read-only")["usable"] is True


def _set_nothing(serving: Serving) -> str:
    serving.wm("connections", "add", "same", "folder=same")
    return serving.wm("connections", "set", "same", code=2)
