"""Where `wm setup azure` goes, the tags it gives, and what is wanted there."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from services.azure.setup.api import ArmApi
from services.azure.setup.desired import (
    CORS_HEADERS,
    STAGED_PREFIX,
    Baseline,
    assignment_name,
    container,
    cosmos_container,
    resources,
)
from services.azure.setup.names import Asked, Target, find_target
from services.azure.setup.remedies import explained
from services.azure.setup.tags import TAGS, merged, missing
from services.azure.setup.who import _claims, _kind
from services.cli.init import render_toml
from services.model.errors import Reason, WorkspaceError
from services.model.selection import backend_selection
from services.objects.azure_blob.staging import STAGED
from services.objects.azure_blob.transfers import _headers
from services.objects.port import SignRequest


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AZURE_", "WM_"))]:
        monkeypatch.delenv(name)


def found(folder: Path, asked: Asked | None = None, **environment: str) -> Target:
    return find_target(
        asked or Asked(), backend_file=folder / "backend.toml", environment=environment
    )


def target(
    folder: Path, asked: Asked | None = None, environment: Mapping[str, str] | None = None
) -> list[str]:
    wanted = found(folder, asked, **(environment or {})).baseline
    return [
        wanted.location, wanted.resource_group, wanted.storage_account, wanted.storage_container,
        wanted.cosmos_account, wanted.cosmos_database, wanted.cosmos_container,
    ]  # fmt: skip


def write(folder: Path) -> None:
    selection = backend_selection(
        provider="azure", environment="prod", prefix="plan", location="westeurope"
    )
    (folder / "backend.toml").write_text(render_toml(selection))


PLAN = [
    "westeurope", "plan-prod", "planproddocs", "workspace-documents", "plan-prod-cosmos",
    "workspace", "workspace_items",
]  # fmt: skip


def test_without_anything_it_is_what_init_would_write(tmp_path: Path) -> None:
    assert target(tmp_path) == [
        "eastus", "workspace-management-dev", "workspacemanagedevdocs", "workspace-documents",
        "workspace-management-dev-cosmos", "workspace", "workspace_items",
    ]  # fmt: skip


def test_variables_of_the_seeds_count_where_the_file_is_silent(tmp_path: Path) -> None:
    variables = {
        "AZURE_LOCATION": "North Europe", "AZURE_RESOURCE_GROUP": "rg",
        "AZURE_STORAGE_ACCOUNT": "ours", "AZURE_STORAGE_CONTAINER": "files",
        "AZURE_COSMOS_ACCOUNT": "rows", "AZURE_COSMOS_DATABASE": "db",
        "AZURE_COSMOS_CONTAINER": "items",
    }  # fmt: skip
    assert target(tmp_path, environment=variables) == [
        "northeurope", "rg", "ours", "files", "rows", "db", "items",
    ]  # fmt: skip
    write(tmp_path)
    assert target(tmp_path, environment=variables) == [PLAN[0], "rg", *PLAN[2:]]
    assert target(tmp_path) == PLAN


def test_settings_come_before_the_file_and_flags_before_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    monkeypatch.setenv("WM_AZURE_STORAGE_ACCOUNT", "other")
    assert target(tmp_path)[2] == "other"
    asked = Asked(prefix="new", environment="test", location="East US", resource_group="mine")
    assert target(tmp_path, asked)[:3] == ["eastus", "mine", "newtestdocs"]
    assert target(tmp_path, asked)[4] == "new-test-cosmos"


def test_the_selection_names_what_was_made_and_serve_takes_it(tmp_path: Path) -> None:
    from services.config import load_settings

    made = found(tmp_path, AZURE_COSMOS_ACCOUNT="rows", AZURE_STORAGE_ACCOUNT="ours").selection
    assert made["provider"] == "azure"
    (tmp_path / "backend.toml").write_text(render_toml(made))
    settings = load_settings(backend_file=tmp_path / "backend.toml")
    assert (settings.records, settings.azure_cosmos_account) == ("cosmos", "rows")
    assert (settings.objects, settings.azure_storage_account) == ("azure_blob", "ours")


def test_free_tier_tags_and_subscription_come_from_variables(tmp_path: Path) -> None:
    subscription = str(uuid.uuid4())
    made = found(
        tmp_path, AZURE_COSMOS_ENABLE_FREE_TIER="True", AZURE_TAGS="Team=Docs, CostCenter=4",
        AZURE_SUBSCRIPTION_ID=subscription,
    )  # fmt: skip
    assert made.baseline.free_tier
    assert made.subscription == subscription
    assert made.baseline.tags == {
        "Application": "workspace-management", "Environment": "dev", "Team": "Docs",
        "CostCenter": "4",
    }  # fmt: skip
    assert not found(
        tmp_path, Asked(free_tier=False), AZURE_COSMOS_ENABLE_FREE_TIER="1"
    ).baseline.free_tier


BAD: list[tuple[Asked, dict[str, str], str]] = [
    (Asked(location="no where!"), {}, "AZURE_LOCATION"),
    (Asked(prefix="UPPER"), {}, "prefix"),
    (Asked(resource_group="dot."), {}, "AZURE_RESOURCE_GROUP"),
    (Asked(subscription="mine"), {}, "AZURE_SUBSCRIPTION_ID"),
    (Asked(tags=("novalue",)), {}, "--tag"),
    (Asked(tags=("azure-x=1",)), {}, "reserved"),
    (Asked(tags=("a?b=1",)), {}, "takes no"),
    (Asked(allow_origins=("http://app.example.com",)), {}, "--allow-origin"),
    (Asked(serverless=True, free_tier=True), {}, "--free-tier"),
    (Asked(max_throughput=1500), {}, "--max-throughput"),
    (Asked(), {"AZURE_COSMOS_ENABLE_FREE_TIER": "maybe"}, "AZURE_COSMOS_ENABLE_FREE_TIER"),
    (Asked(), {"AZURE_STORAGE_ACCOUNT": "Not-Good"}, "AZURE_STORAGE_ACCOUNT"),
    (Asked(), {"WM_AZURE_MANAGEMENT_ENDPOINT": "http://here"}, "WM_AZURE_MANAGEMENT_ENDPOINT"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "variables", "said"), BAD, ids=range(len(BAD)))
def test_bad_flags_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Asked, variables: dict[str, str],
    said: str,
) -> None:
    for name, value in variables.items():  # the settings read those of WM_ themselves
        monkeypatch.setenv(name, value)
    with pytest.raises(WorkspaceError, match=said):
        target(tmp_path, asked, variables)


def test_a_selection_of_another_provider_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "backend.toml").write_text(render_toml(backend_selection(provider="aws")))
    with pytest.raises(WorkspaceError, match="wm init --provider azure"):
        target(tmp_path)


def test_names_of_tags_have_no_case() -> None:
    there = {"team": "docs", "application": "x", "Other": "1"}
    assert missing({"Team": "docs", "Application": "y"}, there) == {"Application": "y"}
    assert merged({"Team": "new"}, there) == {"application": "x", "Other": "1", "Team": "new"}
    assert TAGS.shown({"hidden": "1", "azure-own": "2"}) == "hidden=1"


def test_an_assignment_has_one_name() -> None:
    name = assignment_name("/Scope/A", "principal", "role")
    assert uuid.UUID(name).version == 5
    assert name == assignment_name("/scope/a", "principal", "role")
    assert name != assignment_name("/scope/a", "another", "role")


def wanted() -> Baseline:
    return Baseline("eastus", "g", "acc", "files", "cos", "db", "items")


def test_a_resource_has_the_identifier_that_azure_gives() -> None:
    group = "/subscriptions/s/resourceGroups/g"
    assert container(wanted()).path(group) == (
        f"{group}/providers/Microsoft.Storage/storageAccounts/acc/blobServices/default"
        "/containers/files"
    )
    assert cosmos_container(wanted()).path(group).endswith(
        "/databaseAccounts/cos/sqlDatabases/db/containers/items"
    )
    assert all(resource.api_version for resource in resources(wanted()))


def test_what_is_staged_is_what_goes() -> None:
    assert f"{STAGED}/" == STAGED_PREFIX


def test_browsers_may_send_what_upload_urls_want() -> None:
    request = SignRequest("PUT", "k", 60, size=3, content_type="text/plain", sha256="0" * 64)
    sent = {name.lower() for name in _headers(request)} - {"content-length"}
    assert sent <= set(CORS_HEADERS)
    assert "if-none-match" in sent


def test_who_a_token_is_of() -> None:
    assert _claims("no token") == {}
    assert _claims("a.!!.c") == {}
    assert _claims("a.W10.c") == {}
    assert _claims("a.eyJvaWQiOiAibWUifQ.c") == {"oid": "me"}
    assert _kind({"idtyp": "app"}) == "ServicePrincipal"
    assert _kind({"idtyp": "user"}) == _kind({"scp": "user_impersonation"}) == "User"
    assert _kind({}) == ""


def test_codes_without_a_remedy_stay_as_they_are() -> None:
    reason = Reason.ERROR_REASON_INVALID_STATE
    error = WorkspaceError(reason, "as it was", metadata={"code": "Something"})
    assert explained(error, "x") is error
    known = WorkspaceError(reason, "as it was", metadata={"code": "ScopeLocked"})
    assert "remove it" in explained(known, "x").message


def test_the_api_is_that_of_the_cloud() -> None:
    from services.azure.clients import AzureClients
    from services.azure.place import AzurePlace

    scopes = {
        cloud: ArmApi(AzureClients(AzurePlace(cloud))).scope
        for cloud in ("public", "usgovernment", "china")
    }
    assert scopes == {
        "public": "https://management.azure.com/.default",
        "usgovernment": "https://management.core.usgovcloudapi.net/.default",
        "china": "https://management.chinacloudapi.cn/.default",
    }
