"""How Azure is chosen: by variables, by `backend.toml`, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.azure.selected import azure_place
from services.cli.init import render_toml
from services.config import load_settings
from services.model.errors import WorkspaceError
from services.model.selection import backend_selection
from services.settings import Settings

GOOD = {
    "records": "cosmos", "objects": "azure_blob", "azure_location": "westeurope",
    "azure_cosmos_account": "wm-cosmos", "azure_cosmos_database": "workspace",
    "azure_cosmos_container": "workspace_items", "azure_storage_account": "wmdocs",
    "azure_storage_container": "files",
}  # fmt: skip
VARIABLES = (
    "LOCATION", "COSMOS_ACCOUNT", "COSMOS_DATABASE", "COSMOS_CONTAINER", "STORAGE_ACCOUNT",
    "STORAGE_CONTAINER",
)  # fmt: skip
URLS = (
    "azure_cosmos_endpoint", "azure_blob_endpoint", "azure_vault_endpoint",
    "azure_configuration_endpoint", "azure_event_topic", "azure_communication_endpoint",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"AZURE_{name}", raising=False)


def selected(tmp_path: Path, **more: str) -> Settings:
    file = tmp_path / "backend.toml"
    file.write_text(render_toml(backend_selection(provider="azure", location="westeurope")))
    return load_settings(data_dir=tmp_path, backend_file=file, **more)


def refused_field(tmp_path: Path, **settings: object) -> tuple[str, str]:
    """The variable that is named, and the message."""
    with pytest.raises(WorkspaceError) as caught:
        load_settings(data_dir=tmp_path, **{**GOOD, **settings})
    return caught.value.metadata["field"], caught.value.message


def test_the_selection_of_init_selects_azure(tmp_path: Path) -> None:
    settings = selected(tmp_path)
    assert (settings.records, settings.objects) == ("cosmos", "azure_blob")
    assert settings.provider == "azure"
    assert settings.azure_location == "westeurope"
    assert settings.azure_storage_account == "workspacemanagedevdocs"
    assert settings.azure_storage_container == "workspace-documents"
    assert settings.azure_cosmos_account == "workspace-management-dev-cosmos"
    assert settings.azure_cosmos_database == "workspace"
    assert settings.azure_cosmos_container == "workspace_items"


def test_what_is_set_wins_over_the_selection(tmp_path: Path) -> None:
    settings = selected(tmp_path, azure_location="uksouth", objects="filesystem")
    assert (settings.azure_location, settings.objects) == ("uksouth", "filesystem")


def test_the_variables_of_the_seeds_fill_what_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(f"AZURE_{name}", f"other{name.replace('_', '').lower()}")
    settings = load_settings(data_dir=tmp_path, records="cosmos", objects="azure_blob")
    assert settings.azure_cosmos_account == "othercosmosaccount"
    assert settings.azure_storage_container == "otherstoragecontainer"
    assert selected(tmp_path).azure_location == "westeurope"  # backend.toml is stronger
    assert load_settings(data_dir=tmp_path).azure_location == ""  # a local workspace: not asked


@pytest.mark.parametrize("field", sorted(set(GOOD) - {"records", "objects", "azure_location"}))
@pytest.mark.parametrize("value", ["", "Über/uns"])
def test_a_missing_or_wrong_name_is_named_with_its_remedy(
    tmp_path: Path, field: str, value: str
) -> None:
    named, message = refused_field(tmp_path, **{field: value})
    assert named == f"WM_{field.upper()}"
    assert message.count("must be" if value else "wm init --provider azure") == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("azure_cosmos_account", "ab"), ("azure_cosmos_account", "-abc"),
        ("azure_cosmos_account", "a" * 45), ("azure_storage_account", "with-dash"),
        ("azure_storage_account", "a" * 25), ("azure_storage_container", "two--dashes"),
        ("azure_storage_container", "$web"), ("azure_storage_container", "ends-"),
        ("azure_cosmos_database", "what?"), ("azure_cosmos_container", "a" * 256),
    ],
)  # fmt: skip
def test_a_name_that_azure_would_not_take_is_refused(
    tmp_path: Path, field: str, value: str
) -> None:
    assert refused_field(tmp_path, **{field: value})[0] == f"WM_{field.upper()}"


@pytest.mark.parametrize(
    "url",
    ["h.example.com", "http://h.example.com", "https://u:p@h", "https://h?sig=x", "https://h#x",
     "https://", "https://[", "https://h:99999", "https://h:0"],
)  # fmt: skip
@pytest.mark.parametrize("field", URLS)
def test_an_endpoint_is_a_plain_url_with_tls(tmp_path: Path, field: str, url: str) -> None:
    named, message = refused_field(tmp_path, **{field: url})
    assert named == f"WM_{field.upper()}"
    assert "sig=x" not in message


def test_authorities_that_are_not_there_are_named(tmp_path: Path) -> None:
    named, message = refused_field(tmp_path, azure_ca_file=tmp_path / "none.pem")
    assert named == "WM_AZURE_CA_FILE"
    assert "leave it out" in message


def test_events_and_mail_need_their_endpoints(tmp_path: Path) -> None:
    assert refused_field(tmp_path, events="eventgrid")[0] == "WM_AZURE_EVENT_TOPIC"
    assert refused_field(tmp_path, mail="communication")[0] == "WM_AZURE_COMMUNICATION_ENDPOINT"
    there = {"mail": "communication", "azure_communication_endpoint": "https://c.example.com"}
    assert refused_field(tmp_path, **there)[0] == "WM_MAIL_FROM"
    good = load_settings(data_dir=tmp_path, **GOOD, **there, mail_from="w@example.com")
    assert good.mail == "communication"


def test_the_place_has_the_cloud_the_endpoints_and_the_authorities(tmp_path: Path) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.write_text("")
    settings = load_settings(
        data_dir=tmp_path, **GOOD, azure_cloud="china", azure_ca_file=authorities,
        azure_blob_endpoint="https://127.0.0.1:1",
    )  # fmt: skip
    place = azure_place(settings)
    assert place.blob_url("a") == "https://127.0.0.1:1/a"
    assert place.cosmos_url("a") == "https://a.documents.azure.cn:443"
    assert place.ca_file == str(authorities)


def test_postgresql_with_blobs_is_hosted_by_its_users(tmp_path: Path) -> None:
    given = {**GOOD, "records": "postgresql", "records_dsn": "host=/run"}
    assert load_settings(data_dir=tmp_path, **given).provider == "local"
