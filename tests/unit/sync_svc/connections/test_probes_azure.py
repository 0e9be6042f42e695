"""What a test says of the ways back: deleted objects, moments of the records."""

from __future__ import annotations

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.storage.blob import BlobServiceClient, RetentionPolicy
from workspace.sync.v1.connection_pb2 import Connection

from sync_svc.connections import probes_azure
from tests.servers import azure
from tests.servers.azure_stores import Stores, new_stores
from tests.servers.containers import Credential
from tests.servers.left_open import nothing_left_open
from tests.servers.marks import needs_azurite
from tests.unit.sync_svc.connections.judging import said_of_recovery

pytestmark = [pytest.mark.usefixtures("azure_environment"), needs_azurite]


def at(stores: Stores, **settings: str) -> Connection:
    there = {**stores.settings, **settings}
    return Connection(connection_id="cloud", provider="azure", settings=there)


def keep_deleted(policy: RetentionPolicy) -> None:
    url = f"{azure.azurite().url.rstrip('/')}/{azure.ACCOUNT}"
    with BlobServiceClient(
        url, Credential(), connection_verify=azure.ca_file()
    ) as service:
        service.set_service_properties(delete_retention_policy=policy)


async def test_what_is_off_is_named_until_it_is_on() -> None:
    stores = new_stores()
    keep_deleted(RetentionPolicy(enabled=False))
    text = await said_of_recovery(at(stores))
    assert "soft delete" in text
    assert "continuous backup" in text
    assert "wm setup azure" in text
    keep_deleted(RetentionPolicy(enabled=True, days=7))
    stores.account.settings(continuous_backup=True)
    assert await said_of_recovery(at(stores)) == ""
    keep_deleted(RetentionPolicy(enabled=False))


async def test_what_may_not_be_asked_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A role for data does not allow to ask for the settings of a storage account."""

    class Denied:
        async def get_service_properties(self) -> None:
            raise ClientAuthenticationError("AuthorizationPermissionMismatch")

    stores = new_stores()
    stores.account.settings(default_role="none")
    with monkeypatch.context() as patch:
        patch.setattr(probes_azure, "_blobs", _giving(Denied()))
        with nothing_left_open():
            assert await said_of_recovery(at(stores)) == ""


def _giving(service: object) -> object:
    from contextlib import nullcontext

    return lambda *_: nullcontext(service)
