"""What every client of the SDK is made with."""

from __future__ import annotations

import pytest

from services.azure.clients import AzureClients, AzureSecret
from services.azure.place import AzurePlace

SECRET = AzureSecret("11111111-2222-3333-4444-555555555555", "client", "hush")


async def test_the_sdk_repeats_nothing_follows_nothing_and_logs_nothing() -> None:
    found = AzureClients(AzurePlace(ca_file="/ca.pem", call_seconds=2.0)).options()
    assert (found["retry_total"], found["permit_redirects"]) == (0, False)
    assert found["logging_enable"] is False
    assert found["connection_verify"] == "/ca.pem"
    assert (found["connection_timeout"], found["read_timeout"]) == (2.0, 2.0)
    assert AzureClients(AzurePlace()).options()["connection_verify"] is True


async def test_there_is_one_credential() -> None:
    clients = AzureClients(AzurePlace(), secret=SECRET)
    assert clients.credential is clients.credential
    await clients.close()
    await clients.close()


@pytest.mark.parametrize(
    ("cloud", "host"),
    [("public", "login.microsoftonline.com"), ("usgovernment", "login.microsoftonline.us"),
     ("china", "login.partner.microsoftonline.cn")],
)  # fmt: skip
async def test_sign_in_is_that_of_the_cloud(cloud: str, host: str) -> None:
    clients = AzureClients(AzurePlace(cloud), secret=SECRET)
    assert host in str(vars(vars(clients.credential)["_client"]))
    await clients.close()


def test_a_secret_is_not_shown() -> None:
    assert "hush" not in repr(SECRET)
    assert "hush" not in repr(AzureClients(AzurePlace(), secret=SECRET))
