"""The roles are those that the code needs, and the guide has the table."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.azure.permissions import (
    GRANTS,
    SERVICES,
    SETUP,
    SURFACE,
    Grant,
    assignment_commands,
    grants_of,
)
from services.azure.roles import ROLES
from services.cli.exit_codes import ExitCode
from services.cli.main import run

ROOT = Path(__file__).parents[3]
GROUP = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/wm"
NAMES = {
    "cosmosAccountName": "wm-cosmos", "storageAccountName": "wmdocs",
    "storageContainerName": "files",
}  # fmt: skip
NEVER_DENIED_BY_NAME = {
    "blob_sign",  # part of `blob`, which the refusal names
    "registry",  # the platform pulls
    "assignments",  # the setup says it in words
}


def texts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_role_is_needed_by_somebody() -> None:
    granted = {grant.role for grant in (*GRANTS, *SETUP, *SURFACE)}
    assert granted | {"vault"} == set(ROLES)  # part of `vault_write`; enough for readers


def test_every_role_that_a_refusal_names_is_named_by_code() -> None:
    """`failure_of(error, service)`: services are keys of `ROLES`."""
    places = ("records/cosmos", "objects/azure_blob", "events/event_grid", "mail", "secrets",
              "azure")  # fmt: skip
    found = {
        text
        for place in places
        for path in (ROOT / "services" / place).rglob("*.py")
        if path.name not in ("roles.py", "permissions.py")
        for text in texts(path)
    }
    assert set(ROLES) - found <= NEVER_DENIED_BY_NAME


def test_identifiers_are_those_of_azure_and_one_each() -> None:
    found = [role.identifier for role in ROLES.values()]
    assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", each) for each in found)
    assert [name for name, role in ROLES.items() if role.data] == ["cosmos"]


def test_every_grant_belongs_to_a_service() -> None:
    assert {name for names in SERVICES.values() for name in names} == {g.name for g in GRANTS}
    assert [grant.name for grant in grants_of("workspace")] == list(SERVICES["workspace"])


def test_a_surface_needs_less_than_a_service() -> None:
    assert [grant.name for grant in SURFACE] == ["Records", "Objects", "Signing"]


def test_what_runs_cannot_change_resources() -> None:
    too_much = {"management", "assignments"}
    assert not too_much & {grant.role for grant in (*GRANTS, *SURFACE)}
    assert {grant.role for grant in SETUP} == too_much


def test_commands_assign_each_role_on_its_resource() -> None:
    found = assignment_commands(SURFACE, group=GROUP, principal="p", names=NAMES)
    storage = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/wmdocs"
    assert found[0::2] == [f"# {grant.definition.label}: {grant.why}" for grant in SURFACE]
    assert found[1::2] == [
        "az cosmosdb sql role assignment create --account-name wm-cosmos --resource-group wm "
        "--role-definition-id 00000000-0000-0000-0000-000000000002 --principal-id p --scope /",
        "az role assignment create --assignee-object-id p --role "
        f"{ROLES['blob'].identifier} --scope {storage}/blobServices/default/containers/files",
        "az role assignment create --assignee-object-id p --role "
        f"{ROLES['blob_sign'].identifier} --scope {storage}",
    ]


def test_commands_name_only_what_there_is() -> None:
    found = assignment_commands(GRANTS, group=GROUP, principal="p", names=NAMES)
    assert found == assignment_commands(SURFACE, group=GROUP, principal="p", names=NAMES)
    setup = assignment_commands(SETUP, group=GROUP, principal="p", names={})
    assert [each.rpartition(" ")[2] for each in setup[1::2]] == [GROUP, GROUP]


def test_the_guide_has_the_table_of_permissions() -> None:
    guide = (ROOT / "docs/guides/azure.md").read_text(encoding="utf-8")
    for grant in (*GRANTS, *SETUP):
        assert f"| {grant.name} | {grant.why} | {grant.definition.label} | {on(grant)} |" in guide


def on(grant: Grant) -> str:
    """The resource in words: `the storage account` for `storageAccount`."""
    words = re.sub(r"([A-Z])", lambda found: f" {found[1].lower()}", grant.resource)
    return f"the {words or 'resource group'}"


@pytest.mark.parametrize(("which", "count"), [("setup", 2), ("workspace", 3), ("surface", 3)])
def test_wm_prints_the_commands(
    which: str, count: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    setup = ["setup", "azure", "--location", "westeurope", "--policy"]
    assert run([*setup, which]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * count
    labels = {role.label for role in ROLES.values()}
    for said, command in zip(lines[0::2], lines[1::2], strict=True):
        assert said.removeprefix("# ").partition(":")[0] in labels
        assert command.startswith("az ")
        assert "PRINCIPAL" in command
    assert run([*setup, "all"]) == ExitCode.USAGE
