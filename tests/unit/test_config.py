"""A backend selection is followed or refused, never passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.config import load_settings
from services.model.errors import WorkspaceError

SELECTION = """
provider = "local"
[storage]
folder = "{folder}"
[database]
file = "{file}"
"""


@pytest.fixture
def selection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WM_DATA_DIR", raising=False)
    return tmp_path / "backend.toml"


def write(path: Path, folder: str, file: str) -> None:
    path.write_text(SELECTION.format(folder=folder, file=file), encoding="utf-8")


def test_the_data_folder_is_the_one_that_is_named(selection: Path) -> None:
    write(selection, "elsewhere/objects", "elsewhere/workspace.sqlite")
    assert load_settings().data_dir == Path("elsewhere")


def test_a_flag_and_the_environment_are_stronger(
    selection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(selection, "elsewhere/objects", "elsewhere/workspace.sqlite")
    assert load_settings(data_dir=Path("flag")).data_dir == Path("flag")
    monkeypatch.setenv("WM_DATA_DIR", "variable")
    assert load_settings().data_dir == Path("variable")


@pytest.mark.parametrize(
    ("folder", "file", "field"),
    [
        ("a/objects", "b/workspace.sqlite", "database.file"),
        ("a/files", "a/workspace.sqlite", "storage.folder"),
        ("a/objects", "a/ws.sqlite", "database.file"),
    ],
)
def test_places_that_cannot_be_followed_are_refused(
    selection: Path, folder: str, file: str, field: str
) -> None:
    write(selection, folder, file)
    with pytest.raises(WorkspaceError, match=field):
        load_settings()


def test_without_places_the_default_holds(selection: Path) -> None:
    selection.write_text('provider = "local"\n', encoding="utf-8")
    assert load_settings().data_dir == Path(".wm-data")


@pytest.mark.parametrize(
    ("given", "variable"),
    [
        ({"mail": "smtp"}, "WM_SMTP_HOST"),
        ({"mail": "smtp", "smtp_host": "mail.example.com", "smtp_security": "none"},
         "WM_SMTP_SECURITY"),
        ({"mail": "pigeon"}, "WM_MAIL"),
    ],
)
def test_a_mail_setting_that_cannot_work_is_refused(given: dict[str, str], variable: str) -> None:
    with pytest.raises(WorkspaceError, match=variable):
        load_settings(**given)


def test_mail_without_tls_is_for_this_machine_alone() -> None:
    settings = load_settings(mail="smtp", smtp_host="127.0.0.1", smtp_security="none")
    assert settings.smtp_host == "127.0.0.1"
