"""`wm setup azure` on the command line: what it prints, asks, writes and ends with."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.azure.setup.api import ArmApi
from services.cli.exit_codes import ExitCode
from services.cli.main import run
from services.config import load_settings
from services.records.cosmos.schema import check_container
from tests.fakes.arm import SUBSCRIPTION, Arm
from tests.fakes.sign_in import OBJECT_ID
from tests.integration.azure.rigs import running_arm
from tests.servers import azure

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def server() -> Iterator[Arm]:
    with running_arm() as made:
        yield made


@pytest.fixture
def arm(
    server: Arm, azure_environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Arm:
    """As new; the command finds it, in an empty folder, and does not wait between looks."""
    server.reset()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WM_AZURE_MANAGEMENT_ENDPOINT", server.url)
    monkeypatch.setenv("WM_AZURE_CA_FILE", azure.ca_file())
    made = ArmApi.__init__

    def at_once(self: ArmApi, *args: object, **more: object) -> None:
        made(self, *args, polling_seconds=0.0, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(ArmApi, "__init__", at_once)
    return server


SETUP = ["setup", "azure", "--prefix", "plan", "--environment", "test"]


def test_plan_make_write_check(arm: Arm, capsys: Capture, tmp_path: Path) -> None:
    assert run([*SETUP, "--dry-run"]) == ExitCode.OK
    said = capsys.readouterr().out
    assert f"({SUBSCRIPTION}), resource group plan-test in eastus" in said
    assert "create  account" in said
    assert "Cost: Cosmos DB about USD 9 a month idle" in said
    assert arm.wrote == []
    assert run([*SETUP, "--check"]) == ExitCode.FAILED
    assert not (tmp_path / "backend.toml").exists()
    assert run([*SETUP, "--yes", "--write"]) == ExitCode.OK
    said = capsys.readouterr().out
    assert "Wrote backend.toml. Next: wm serve" in said
    selection = tomllib.loads((tmp_path / "backend.toml").read_text())
    assert selection["storage"]["account"] == "plantestdocs"
    arm.requests.clear()
    assert run(["setup", "azure", "--check"]) == ExitCode.OK, "the file names the same"
    assert "Nothing to change" in capsys.readouterr().out
    assert arm.wrote == []


def test_what_is_printed_is_what_serve_takes(arm: Arm, capsys: Capture, tmp_path: Path) -> None:
    """End to end: the selection names what is there, in the form that the drivers want."""
    assert run([*SETUP, "--yes"]) == ExitCode.OK
    said = capsys.readouterr().out
    (tmp_path / "backend.toml").write_text(said[said.index("# The backend selection") :])
    settings = load_settings()
    assert (settings.records, settings.objects) == ("cosmos", "azure_blob")
    account = f"/databaseAccounts/{settings.azure_cosmos_account}"
    container = arm.of(
        f"{account}/sqlDatabases/{settings.azure_cosmos_database}"
        f"/containers/{settings.azure_cosmos_container}"
    )
    check_container(container["properties"]["resource"])
    files = arm.of(
        f"/storageAccounts/{settings.azure_storage_account}/blobServices/default"
        f"/containers/{settings.azure_storage_container}"
    )
    assert files["properties"]["publicAccess"] == "None"


def test_json_has_the_plan_and_what_was_done(arm: Arm, capsys: Capture) -> None:
    assert run([*SETUP, "--dry-run", "--json"]) == ExitCode.OK
    plan = json.loads(capsys.readouterr().out)
    assert (plan["made"], plan["dry_run"]) == (0, True)
    assert plan["changes"] == sum(step["action"] == "create" for step in plan["steps"])
    assert plan["subscription"] == SUBSCRIPTION
    assert run([*SETUP, "--yes", "--json", "--serverless"]) == ExitCode.OK
    done = json.loads(capsys.readouterr().out)
    assert done["made"] == plan["changes"]
    assert done["selection"]["provider"] == "azure"


def test_without_a_yes_nothing_is_made(
    arm: Arm, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("no\n"))
    assert run(SETUP) == ExitCode.USAGE
    assert "not confirmed" in capsys.readouterr().err
    assert arm.wrote == []


@pytest.mark.parametrize("as_json", [False, True])
def test_what_was_done_before_a_failure_is_said_and_the_next_run_goes_on(
    arm: Arm, capsys: Capture, as_json: bool
) -> None:
    arm.denied = {"Microsoft.DocumentDB/databaseAccounts/write"}
    command = [*SETUP, "--yes", *(["--json"] if as_json else [])]
    assert run(command) == ExitCode.DENIED
    said = capsys.readouterr()
    assert "'Contributor'" in said.err
    if as_json:
        told = json.loads(said.out)
        assert 0 < told["made"] < told["changes"]
    else:
        assert "`wm setup azure` again to go on" in said.out
    arm.denied = set()
    assert run(command) == ExitCode.OK
    assert run([*SETUP, "--check"]) == ExitCode.OK


def test_roles_that_somebody_else_assigns(arm: Arm, capsys: Capture) -> None:
    arm.denied = {"Microsoft.Authorization/roleAssignments/write"}
    assert run([*SETUP, "--yes"]) == ExitCode.PARTLY_FAILED
    said = capsys.readouterr().out
    assert "; 1 left." in said
    assert f"az role assignment create --assignee-object-id {OBJECT_ID}" in said
    assert run([*SETUP, "--yes", "--json"]) == ExitCode.PARTLY_FAILED
    (left,) = [step for step in json.loads(capsys.readouterr().out)["steps"] if "instead" in step]
    assert left["property"] == "Storage Blob Data Contributor"
    assert run([*SETUP, "--check"]) == ExitCode.FAILED
    arm.denied = set()
    assert run([*SETUP, "--yes"]) == ExitCode.OK


def test_a_selection_of_other_resources_is_not_replaced_unless_asked(
    arm: Arm, capsys: Capture, tmp_path: Path
) -> None:
    run(["init", "--provider", "azure", "--prefix", "other"])
    before = (tmp_path / "backend.toml").read_text()
    assert run([*SETUP, "--yes", "--write"]) == ExitCode.CONFLICT
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "backend.toml").read_text() == before
    assert arm.wrote == []
    assert run([*SETUP, "--yes", "--write", "--force"]) == ExitCode.OK
    assert "plantestdocs" in (tmp_path / "backend.toml").read_text()


def test_init_says_the_next_step(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "other.toml"
    assert run(["init", "--provider", "azure", "--write", str(path)]) == ExitCode.OK
    assert f"wm setup azure --backend {path} --dry-run" in capsys.readouterr().out
