"""docs/guides/azure.md works when pasted, from nothing to a served workspace: setup on the
fake of Resource Manager, records on that of Cosmos DB, files on Azurite."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.cli.lazy import COMMANDS
from tests.e2e.guides import GUIDES, blocks, commands, pasted, shell
from tests.e2e.serving import ROOT
from tests.fakes.arm import Arm
from tests.servers import azure, containers
from tests.servers.marks import needs_azurite

GUIDE = "azure.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("azure")


@pytest.fixture(scope="module")
def arm() -> Iterator[Arm]:
    made = Arm(azure.certificate()).start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def env(folder: Path, arm: Arm) -> dict[str, str]:
    return shell(folder, without=("WM_", "AZURE_")) | azure.environment() | {
        "PREFIX": f"wm-{secrets.token_hex(4)}", "WM_AZURE_MANAGEMENT_ENDPOINT": arm.url,
        "WM_AZURE_CA_FILE": azure.ca_file(),
    }  # fmt: skip


def served_there(arm: Arm) -> dict[str, str]:
    """What the setup made, on the servers of this process: accounts of Azurite have one name."""
    account, made = arm.of("-cosmos"), arm.of("/containers/workspace_items")
    consistency = account["properties"]["consistencyPolicy"]["defaultConsistencyLevel"]
    cosmos = azure.cosmos_account(consistency=consistency)
    definition: dict[str, Any] = made["properties"]["resource"]
    cosmos.make_container("workspace", definition)
    return {
        "WM_AZURE_COSMOS_ENDPOINT": cosmos.url, "WM_AZURE_STORAGE_ACCOUNT": azure.ACCOUNT,
        "WM_AZURE_BLOB_ENDPOINT": azure.azurite().url.rstrip("/"),
        "WM_AZURE_STORAGE_CONTAINER": containers.new_container(),
    }  # fmt: skip


@needs_azurite
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["setup", "serve"])
def test_the_examples_work_when_pasted(
    folder: Path, env: dict[str, str], arm: Arm, name: str
) -> None:
    if name == "setup":
        said = pasted(blocks(GUIDE)[name], folder, env, seconds=280)
        assert "Nothing was changed" in said
        assert "Nothing to change" in said
    else:
        said = pasted(blocks(GUIDE)[name], folder, env | served_there(arm), seconds=280)
        assert "Healthy" in said
        assert " is serving" in said  # its own process is no fault of the ports


def test_every_block_of_the_guide_that_runs_is_run() -> None:
    assert list(blocks(GUIDE)) == ["setup", "serve"]


def test_every_command_that_the_guide_names_exists() -> None:
    named = commands(GUIDE)
    assert len(named) > 8
    for command in named:
        assert command.split()[1] in COMMANDS, command


def test_every_variable_that_the_guide_names_is_a_setting() -> None:
    """Or one that setup, connections and tests have."""
    from services.settings import Settings

    text = (GUIDES / GUIDE).read_text(encoding="utf-8")
    named = set(re.findall(r"`(WM_[A-Z_]+[A-Z])[`=]", text))
    settings = {f"WM_{name.upper()}" for name in Settings.model_fields}
    others = {"WM_AZURE_MANAGEMENT_ENDPOINT", "WM_LIVE_AZURE"}
    connections = {name for name in named if name.startswith("WM_CONNECTION_CLOUD_")}
    assert named - settings - connections <= others


def test_parameters_of_templates_that_the_guide_names_exist() -> None:
    parameters = {
        name
        for path in (ROOT / "deploy/azure").glob("*.bicep")
        for name in re.findall(r"^(?:param|output) (\w+) ", path.read_text(), re.MULTILINE)
    }
    text = (GUIDES / GUIDE).read_text(encoding="utf-8")
    text = text[text.index("## Containers") : text.index("## Permissions")]
    given = re.findall(r"(?:^|\s)([a-z]+[A-Z]\w+)=", text)
    quoted = re.findall(r"`([a-z]+[A-Z]\w+)(?:=\w+)?`", text)
    assert len(set(given)) > 5
    assert set(given) | set(quoted) <= parameters | {"peerTrafficConfiguration"}
