"""Containers of Azure in manifests: their settings, their names, who may name them, and
whose tokens open them."""

from __future__ import annotations

from pathlib import Path

import pytest
from workspace.sync.v1.connection_pb2 import Connection

from services.model.errors import Reason, WorkspaceError
from services.settings import Settings
from sync_svc.connections.providers import normalise, place_of, places_of
from sync_svc.connections.reach import Reach
from sync_svc.connections.secrets import refuse_secrets_in
from sync_svc.connections.stores import own_stores, store_name
from sync_svc.surfaces import azure as surfaces
from sync_svc.surfaces.azure import secret_of
from sync_svc.surfaces.cloud import variable_of
from tests.unit.sync_svc.connections.judging import check, refused

AZURE = {
    "cosmos_account": "prod-cosmos", "cosmos_database": "workspace",
    "cosmos_container": "workspace_items", "storage_account": "proddocs",
    "storage_container": "workspace-documents",
}  # fmt: skip
RECORDS = "cosmos:prod-cosmos/workspace/workspace_items"
OBJECTS = "blob:proddocs/workspace-documents"
EMULATORS = {
    "cosmos_endpoint": "https://127.0.0.1:8081", "blob_endpoint": "https://localhost:10000",
    "ca_file": "/etc/emulators.pem",
}  # fmt: skip
EMULATED = [
    "cosmos:emulator/workspace/workspace_items@localhost:8081", f"{OBJECTS}@localhost:10000",
]  # fmt: skip


def azure(connection_id: str = "cloud", **settings: str) -> Connection:
    return Connection(
        connection_id=connection_id, provider="azure", settings={**AZURE, **settings}
    )


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"cloud": "public"}, {"cloud": "usgovernment"}, {"cloud": "china"}, EMULATORS,
        {**EMULATORS, "cosmos_endpoint": "https://[::1]:8081/"}, {"cosmos_container": "Items.v2"},
        {"ca_file": "", "cosmos_endpoint": "", "blob_endpoint": "", "cloud": ""},
    ],
)  # fmt: skip
def test_good_settings(tmp_path: Path, settings: dict[str, str]) -> None:
    check(azure(**settings), tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "") for name in AZURE),
        ("cosmos_account", "Prod"), ("cosmos_account", "-ab"), ("cosmos_account", "a.b.de"),
        ("cosmos_account", "ab"), ("cosmos_account", "x" * 45), ("cosmos_account", "a/b"),
        ("cosmos_account", "prod-cosmos\n"), ("cosmos_account", "prod#"),
        ("cosmos_database", "a/b"), ("cosmos_database", "a@b"), ("cosmos_database", "a b"),
        ("cosmos_container", "a#"), ("cosmos_container", "a?b"), ("cosmos_container", "x" * 256),
        ("storage_account", "prod-docs"), ("storage_account", "Prod"), ("storage_account", "ab"),
        ("storage_account", "a" * 25), ("storage_account", "docs.evil"),
        ("storage_container", "a--b"), ("storage_container", "-ab"), ("storage_container", "$root"),
        ("storage_container", "Docs"), ("storage_container", "a/b"), ("cloud", "germany"),
        ("cloud", "evil.example.org"), ("bucket", "docs"), ("tenant", "contoso"),
        ("endpoint", "https://127.0.0.1:8081"), ("profile", "ops"), ("folder", "/srv/o"),
    ],
)  # fmt: skip
def test_wrong_settings(tmp_path: Path, name: str, value: str) -> None:
    assert refused(azure(**{name: value}), tmp_path) == f"settings.{name}"


HOSTS = [
    "https://collector.example.org", "https://prod-cosmos.documents.azure.com.example.org",
    "https://prod-cosmos.documents.azure.com", "https://proddocs.blob.core.windows.net",
    "https://10.0.0.1:8081", "https://169.254.169.254", "http://127.0.0.1:8081", "127.0.0.1:8081",
    "https://127.0.0.1.example.org", "https://127.0.0.1@example.org", "https://localhost:0",
    "https://example.org\\@127.0.0.1", "https://127.0.0.1\t.example.org", "https://localhost:99999",
    "https://127.0.0.1:8081/x/y", "https://127.0.0.1:8081/..", "https://127.0.0.1:8081?x=1", "https://127.0.0.1:8081#@example.org",
    "https://user@127.0.0.1:8081", "https://0.0.0.0:8081", "https://127.1:8081",
    "https://[::ffff:10.0.0.1]", "https://localhost.:8081", "HTTPS://127.0.0.1:8081", "https://",
]  # fmt: skip


@pytest.mark.case("S08")
@pytest.mark.parametrize("name", ["cosmos_endpoint", "blob_endpoint"])
@pytest.mark.parametrize("url", HOSTS)
def test_tokens_go_to_no_host_that_a_manifest_names(
    tmp_path: Path, name: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is registered, and when it is opened: the file may have been edited."""
    given = azure(**{**EMULATORS, name: url})
    monkeypatch.setattr(surfaces, "_require_authority", lambda _: None)
    with pytest.raises(WorkspaceError) as caught:
        normalise(given, base=tmp_path, data_dir=tmp_path / "wm-data")
    assert caught.value.metadata["field"] == f"connection.settings.{name}"
    with pytest.raises(WorkspaceError) as caught:
        surfaces.place_of(given)
    assert caught.value.metadata["field"] == f"connection.settings.{name}"
    surfaces.place_of(azure(**EMULATORS))


@pytest.mark.parametrize("missing", list(EMULATORS))
def test_an_emulator_has_both_endpoints_and_its_authority(tmp_path: Path, missing: str) -> None:
    """An authority of somebody's own never vouches for a host of Azure."""
    given = {name: value for name, value in EMULATORS.items() if name != missing}
    assert refused(azure(**given), tmp_path) == f"settings.{missing}"
    with pytest.raises(WorkspaceError):
        surfaces.place_of(azure(**given))
    alone = {missing: EMULATORS[missing]}
    assert refused(azure(**alone), tmp_path).startswith("settings.")


def test_an_authority_is_a_file_of_this_server(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no authority")
    for path in (tmp_path / "no.pem", tmp_path / "none.pem"):
        with pytest.raises(WorkspaceError, match="PEM file") as caught:
            surfaces.place_of(azure(**{**EMULATORS, "ca_file": str(path)}))
        assert caught.value.metadata["field"] == "connection.settings.ca_file"
    assert refused(azure(**{**EMULATORS, "ca_file": "system"}), tmp_path) == "settings.ca_file"


@pytest.mark.parametrize("connection_id", ["My-Az", "my_az", "my.az"])
def test_two_ids_never_share_the_variables_of_their_secrets(
    tmp_path: Path, connection_id: str
) -> None:
    assert refused(azure(connection_id), tmp_path) == "connection_id"
    assert variable_of("my-az", "CLIENT_SECRET") == "WM_CONNECTION_MY_AZ_CLIENT_SECRET"


KEY64 = "q7Zt0Kx3Lm9Vb2Nc8Ws4Ed6Rf1Tg5Yh7Uj8Ik9Ol" * 2 + "q7Zt0K" + "=="
SECRETS = [
    "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=" + "abc==",
    "AccountEndpoint=https://a.documents.azure.com:443/;AccountKey=" + "abc==;",
    "c?sv=2024-11-04&ss=b&srt=sco&sp=r&sig=" + "abc%3D", "sv=2024-11-04&sr=c&sig" + "=abc",
    "sv=2026-04-06&se=2030-01-01", "BlobEndpoint=https://a.blob.core.windows.net/;"
    "SharedAccessSignature=" + "sv=2024-11-04&sig=x", "SharedAccessSignature sr=" + "x&sig=y",
    "Endpoint=sb://x/;SharedAccessKeyName=a;SharedAccessKey=" + "b", KEY64,
    "abc8Q~" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hJ", "client_secret=" + "hidden1x",
    "type=resource&ver=1&sig=" + "hidden1x", "https://a:hidden1x" + "@127.0.0.1:8081",
    "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0." + "c2lnbmF0dXJl",
]  # fmt: skip


@pytest.mark.case("S10")
@pytest.mark.parametrize("value", SECRETS)
@pytest.mark.parametrize("name", ["cosmos_account", "storage_container", "blob_endpoint", "cloud"])
def test_manifests_hold_no_secret(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        check(azure(**{name: value}), tmp_path)
    assert caught.value.reason == Reason.ERROR_REASON_SECRET_REFUSED
    assert caught.value.metadata["field"] == f"connection.settings.{name}"
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["account_key", "client_secret", "sas_token", "connection_string", "cosmos_master_key"]
)
def test_settings_with_the_name_of_a_secret_are_refused_as_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        check(azure(**{name: "short"}), tmp_path)
    assert caught.value.reason == Reason.ERROR_REASON_SECRET_REFUSED
    assert caught.value.metadata["field"] == f"connection.settings.{name}"


def test_names_of_resources_are_no_secrets() -> None:
    account = "workspace-management-dev-cosmos"
    names = {"cosmos_account": account, "storage_account": "a1b2c3d4e5f6g7h8docs"}
    refuse_secrets_in(azure(**names, ca_file="/usr/local/share/ca-certificates/emulator.pem"))


def test_stores_are_known_by_their_names() -> None:
    cloud = azure()
    assert places_of(cloud) == {RECORDS, OBJECTS}
    assert place_of(cloud) == RECORDS
    assert places_of(azure(cloud="public")) == {RECORDS, OBJECTS}
    assert places_of(cloud) & places_of(azure(cosmos_container="other")), "the same blobs"
    assert places_of(cloud) & places_of(azure(storage_container="other")), "the same records"
    for other in (azure(cloud="china"), azure(cloud="usgovernment"), azure(**EMULATORS)):
        assert not places_of(cloud) & places_of(other)
    assert places_of(azure(**EMULATORS)) == set(EMULATED)
    assert place_of(azure(cloud="china")) == f"{RECORDS}@documents.azure.cn:443"


def test_one_place_has_one_name() -> None:
    for written in (f"{RECORDS}@documents.azure.cn", f" {RECORDS}@https://Documents.azure.cn/ "):
        assert store_name(written) == place_of(azure(cloud="china"))
    assert store_name(f"{OBJECTS}@blob.core.windows.net") == OBJECTS == store_name(OBJECTS)
    assert store_name(f"{RECORDS}@documents.azure.com:443") == RECORDS
    assert store_name(f"{OBJECTS}@127.0.0.1:10000") == f"{OBJECTS}@localhost:10000"
    assert store_name("db.example.org") == ""
    same = [azure(**{**EMULATORS, "cosmos_account": name}) for name in ("one", "two")]
    assert place_of(same[0]) == place_of(same[1]), "an emulator knows no accounts"
    path = azure(**{**EMULATORS, "cosmos_endpoint": "https://127.0.0.1:8081/acct-1/"})
    assert place_of(path) == "cosmos:acct-1/workspace/workspace_items@localhost:8081"


def test_our_own_stores_are_no_surface(tmp_path: Path) -> None:
    settings = Settings(
        records="cosmos", objects="azure_blob", azure_cosmos_account="prod-cosmos",
        azure_cosmos_database="workspace", azure_cosmos_container="workspace_items",
        azure_storage_account="proddocs", azure_storage_container="workspace-documents",
    )  # fmt: skip
    own = own_stores(settings)
    assert own == {RECORDS, OBJECTS}
    for other, ours in (("cosmos", "storage"), ("storage", "cosmos")):
        connection = azure(**{f"{other}_container": "other"})
        assert refused(connection, tmp_path, own=own) == f"settings.{ours}_container"
    check(azure(cosmos_container="other", storage_container="other"), tmp_path, own=own)
    check(azure(cloud="china"), tmp_path, own=own)
    china = settings.model_copy(update={"azure_cloud": "china"})
    assert refused(azure(cloud="china"), tmp_path, own=own_stores(china)).startswith("settings.")
    hosts = {
        "azure_cosmos_endpoint": "https://prod-cosmos.documents.azure.com:443/",
        "azure_blob_endpoint": "https://proddocs.blob.core.windows.net",
    }  # of the account all the same
    assert own_stores(settings.model_copy(update=hosts)) == own
    assert own_stores(Settings(azure_storage_account="proddocs")) == frozenset()


def test_a_file_may_name_a_provider_that_is_none(tmp_path: Path) -> None:
    unknown = Connection(connection_id="cloud", provider="gcp", settings=AZURE)
    assert refused(unknown, tmp_path) == "provider"
    assert places_of(unknown) >= {RECORDS, OBJECTS}


LISTED = [RECORDS, OBJECTS]


def test_owners_reach_the_stores_that_the_operator_lists() -> None:
    Reach(LISTED, anywhere=False).check(azure())
    china = [f"{RECORDS}@documents.azure.cn", f"{OBJECTS}@blob.core.chinacloudapi.cn"]
    Reach(china, anywhere=False).check(azure(cloud="china"))


@pytest.mark.case("S08")
@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"cosmos_account": "payroll"}, "cosmos_container"),
        ({"cosmos_database": "payroll"}, "cosmos_container"),
        ({"cosmos_container": "payroll"}, "cosmos_container"),
        ({"storage_account": "payroll"}, "storage_container"),
        ({"storage_container": "payroll"}, "storage_container"),
        ({"cloud": "china"}, "cosmos_container"), (EMULATORS, "cosmos_container"),
    ],
)  # fmt: skip
def test_owners_reach_no_other_stores(settings: dict[str, str], field: str) -> None:
    for places in (LISTED, [*LISTED, "documents.azure.com", "localhost", "/", "blob:", "cosmos:"]):
        with pytest.raises(WorkspaceError) as caught:
            Reach(places, anywhere=False).check(azure(**settings))
        assert caught.value.metadata["field"] == f"connection.settings.{field}"
    Reach([], anywhere=True).check(azure(**settings))


def test_the_authority_of_an_emulator_is_for_admins() -> None:
    with pytest.raises(WorkspaceError, match="platform admins") as caught:
        Reach(EMULATED, anywhere=False).check(azure(**EMULATORS))
    assert caught.value.metadata["field"] == "connection.settings.ca_file"


def test_a_refusal_names_the_entry_that_is_missing() -> None:
    with pytest.raises(WorkspaceError, match=r"`blob:proddocs/workspace-documents`"):
        Reach([RECORDS], anywhere=False).check(azure())


PARTS = {
    variable_of("cloud", "TENANT_ID"): "contoso.onmicrosoft.com",
    variable_of("cloud", "CLIENT_ID"): "app1",
    variable_of("cloud", "CLIENT_SECRET"): "hidden1",
}


def test_secrets_are_the_connections_own() -> None:
    everybody = {"AZURE_TENANT_ID": "all", "AZURE_CLIENT_ID": "all", "AZURE_CLIENT_SECRET": "all"}
    assert secret_of(azure(), everybody) is None, "the server's own chain"
    found = secret_of(azure(), {**PARTS, **everybody})
    assert found is not None
    assert (found.tenant_id, found.client_id) == ("contoso.onmicrosoft.com", "app1")
    assert found.client_secret == "hidden1"
    assert "hidden1" not in repr(found)
    assert secret_of(azure("other"), PARTS) is None


@pytest.mark.parametrize("missing", list(PARTS))
def test_a_part_of_a_secret_is_refused(missing: str) -> None:
    with pytest.raises(WorkspaceError, match="go together") as caught:
        secret_of(azure(), {**PARTS, missing: ""})
    assert f"{missing} is not set" in caught.value.message
    assert "hidden1" not in str(caught.value)


@pytest.mark.parametrize("tenant", ["../common", "a/b", "x?y", "contoso\n"])
def test_a_tenant_is_a_name(tenant: str) -> None:
    with pytest.raises(WorkspaceError, match="TENANT_ID") as caught:
        secret_of(azure(), {**PARTS, variable_of("cloud", "TENANT_ID"): tenant})
    assert "hidden1" not in str(caught.value)


async def test_the_connections_own_application_signs_in(monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.identity.aio import ClientSecretCredential

    for name, value in PARTS.items():
        monkeypatch.setenv(name, value)
    async with surfaces.clients_of(azure()) as clients:
        assert isinstance(clients.credential, ClientSecretCredential)
        assert clients.place.blob_url("proddocs") == "https://proddocs.blob.core.windows.net"
    for name in PARTS:
        monkeypatch.delenv(name)
    async with surfaces.clients_of(azure(cloud="china")) as clients:
        assert not isinstance(clients.credential, ClientSecretCredential)
        assert clients.place.cosmos_url("a") == "https://a.documents.azure.cn:443"
