"""Host names of accounts: those of the cloud, or of the servers that settings name."""

from __future__ import annotations

import pytest

from services.azure.place import CLOUDS, AzurePlace


@pytest.mark.parametrize(
    ("cloud", "hosts"),
    [
        (
            "public",
            ("a.documents.azure.com:443", "a.blob.core.windows.net", "a.vault.azure.net",
             "a.azconfig.io", "management.azure.com"),
        ),
        (
            "usgovernment",
            ("a.documents.azure.us:443", "a.blob.core.usgovcloudapi.net",
             "a.vault.usgovcloudapi.net", "a.azconfig.azure.us",
             "management.usgovcloudapi.net"),
        ),
        (
            "china",
            ("a.documents.azure.cn:443", "a.blob.core.chinacloudapi.cn", "a.vault.azure.cn",
             "a.azconfig.azure.cn", "management.chinacloudapi.cn"),
        ),
    ],
)  # fmt: skip
def test_hosts_are_those_of_the_cloud(cloud: str, hosts: tuple[str, ...]) -> None:
    place = AzurePlace(cloud)
    found = (
        place.cosmos_url("a"), place.blob_url("a"), place.vault_url("a"),
        place.configuration_url("a"), place.management_url(),
    )  # fmt: skip
    assert found == tuple(f"https://{host}" for host in hosts)


def test_every_cloud_has_hosts_of_its_own() -> None:
    names = [name for cloud in CLOUDS.values() for name in
             (cloud.login, cloud.management, cloud.cosmos, cloud.blob, cloud.vault,
              cloud.configuration)]  # fmt: skip
    assert len(set(names)) == len(names)


def test_a_server_that_is_not_azure_takes_the_place_of_one_service_alone() -> None:
    place = AzurePlace(endpoints={"blob": "https://127.0.0.1:1/", "cosmos": "https://127.0.0.1:2"})
    assert place.blob_url("dev") == "https://127.0.0.1:1/dev"  # the account is in the path
    assert place.cosmos_url("dev") == "https://127.0.0.1:2"
    assert place.vault_url("dev") == "https://dev.vault.azure.net"
