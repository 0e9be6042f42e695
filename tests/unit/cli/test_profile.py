"""Who is signed in where: kept for the user alone, never shown."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from services.cli.client import DEFAULT_SERVER, reach, server_of
from services.cli.endpoint import Endpoint, forget_endpoint, read_endpoint, write_endpoint
from services.cli.exit_codes import ExitCode
from services.cli.failures import CliError
from services.cli.options import Options
from services.cli.profile import Login, Profiles, config_dir
from services.cli.trust import Reached

ANN = Login("Ann@example.com", "u_ann", "secret-token", 2_000_000_000, data_dir="d")
BOB = Login("bob@example.com", "u_bob", "other-token", 2_000_000_000)
SERVER = "127.0.0.1:50051"


def test_the_last_one_signed_in_is_current_and_others_stay(tmp_path: Path) -> None:
    profiles = Profiles(tmp_path / "wm")
    assert profiles.find(SERVER) is None
    profiles.save(SERVER, ANN)
    profiles.save(SERVER, BOB)
    assert profiles.find(SERVER) == BOB
    assert profiles.find(SERVER, "ANN@example.com") == ANN
    assert profiles.find("elsewhere:1") is None
    assert profiles.last_server == SERVER


def test_a_renewed_token_does_not_change_who_is_current(tmp_path: Path) -> None:
    profiles = Profiles(tmp_path)
    profiles.save(SERVER, ANN)
    profiles.save(SERVER, BOB)
    profiles.save(SERVER, replace(ANN, token="newer"), current=False)
    assert profiles.find(SERVER) == BOB
    renewed = profiles.find(SERVER, ANN.email)
    assert renewed is not None
    assert renewed.token == "newer"


def test_only_the_user_can_read_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "wm"
    Profiles(folder).save(SERVER, ANN)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "credentials.json").stat().st_mode) == 0o600
    assert sorted(path.name for path in folder.iterdir()) == ["credentials.json", "lock"]


def test_a_login_does_not_print_its_token() -> None:
    assert "secret" not in repr(ANN)
    assert "@" not in repr(ANN)


def test_signing_out(tmp_path: Path) -> None:
    profiles = Profiles(tmp_path)
    profiles.save(SERVER, ANN)
    profiles.save(SERVER, BOB)
    assert profiles.forget(SERVER) == "bob@example.com"
    assert profiles.find(SERVER) is None, "nobody is current: no script goes on as another"
    assert profiles.find(SERVER, "ann@example.com") == ANN
    profiles.save(SERVER, ANN, current=False)
    assert profiles.find(SERVER) is None, "a renewed token does not make its owner current"
    assert profiles.forget(SERVER, "nobody@example.com") == ""
    assert profiles.forget(SERVER) == ""
    assert profiles.forget(SERVER, "ann@example.com") == "ann@example.com"
    assert "token" not in (tmp_path / "credentials.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", ["{", "[]", "not json"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "credentials.json").write_text(content, encoding="utf-8")
    with pytest.raises(CliError) as refused:
        Profiles(tmp_path).find(SERVER)
    assert refused.value.failure.exit_code == ExitCode.NOT_SIGNED_IN
    assert "credentials.json" in refused.value.failure.message


def test_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WM_CONFIG_DIR", str(tmp_path / "a"))
    assert config_dir() == tmp_path / "a"
    monkeypatch.delenv("WM_CONFIG_DIR")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "b"))
    assert config_dir() == tmp_path / "b" / "wm"


def test_which_server(tmp_path: Path) -> None:
    profiles = Profiles(tmp_path / "wm")
    data = tmp_path / "data"
    data.mkdir()
    assert server_of(Options(data=data), profiles) == DEFAULT_SERVER
    profiles.save("last:1", ANN)
    assert server_of(Options(data=data), profiles) == "last:1"
    write_endpoint(data, Endpoint("127.0.0.1:7", "http://127.0.0.1:8", 1))
    assert server_of(Options(data=data), profiles) == "127.0.0.1:7"
    assert server_of(Options(data=data, server="named:9"), profiles) == "named:9"


def test_an_endpoint_of_another_process_is_left_alone(tmp_path: Path) -> None:
    write_endpoint(tmp_path, Endpoint("a:1", "http://a:2", 1))
    forget_endpoint(tmp_path)
    assert read_endpoint(tmp_path) == Endpoint("a:1", "http://a:2", 1)


@pytest.mark.parametrize("content", ["", "{}", "[]", json.dumps({"grpc": "a"})])
def test_a_damaged_endpoint_is_no_endpoint(tmp_path: Path, content: str) -> None:
    (tmp_path / "endpoint.json").write_text(content, encoding="utf-8")
    assert read_endpoint(tmp_path) is None


def test_the_authority_of_a_server_is_kept_with_its_sign_in(tmp_path: Path) -> None:
    profiles = Profiles(tmp_path)
    assert profiles.authority(SERVER) == ""
    profiles.save(SERVER, ANN, ca_file=tmp_path / "ca.crt")
    profiles.save("other:1", BOB)
    profiles.save(SERVER, replace(ANN, token="newer"), current=False)
    assert profiles.authority(SERVER) == str(tmp_path / "ca.crt")
    assert profiles.authority("other:1") == ""
    named = Options(data=tmp_path, server=SERVER, ca=tmp_path / "another.crt")
    assert reach(named, profiles) == Reached(SERVER, tmp_path / "another.crt") == named.reached
    kept = Options(data=tmp_path, server=SERVER)
    assert reach(kept, profiles) == Reached(SERVER, tmp_path / "ca.crt")
    assert reach(Options(data=tmp_path), profiles) == Reached("other:1")


def test_a_data_folder_says_whether_its_process_speaks_tls(tmp_path: Path) -> None:
    write_endpoint(tmp_path, Endpoint("127.0.0.1:7", "https://127.0.0.1:8", 1))
    assert server_of(Options(data=tmp_path), Profiles(tmp_path)) == "https://127.0.0.1:7"
