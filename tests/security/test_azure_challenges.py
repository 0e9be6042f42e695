"""Servers that ask, by a challenge, for tokens that are not for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.azure.clients import AzureClients
from services.azure.place import AzurePlace
from services.model.errors import WorkspaceError
from services.secrets.azure_key_vault import KeyVault
from services.secrets.port import SecretProblem
from services.secrets.reference import parse_reference
from tests.fakes.sign_in import TENANT_ID, claims_of
from tests.servers import azure
from tests.unit.objects.azure_blob.azure_answers import Answer, Handler, answering
from tests.unit.objects.azure_blob.test_azure_containers import SEAL_KEY, good, opening, saying

pytestmark = pytest.mark.usefixtures("azure_environment")

MANAGEMENT = "https://management.azure.com"
SIGN_IN = f"https://login.microsoftonline.com/{TENANT_ID}"
CHALLENGES = {
    "blob": f"Bearer authorization_uri={SIGN_IN}/oauth2/authorize resource_id={MANAGEMENT}",
    "vault": f'Bearer authorization="{SIGN_IN}", resource="{MANAGEMENT}"',
}


class Keeping(Handler):
    """Keeps the credentials that it is sent."""

    def do_GET(self) -> None:  # noqa: N802 - name of the library
        self.server.sent.append(self.headers.get("authorization") or "")
        super().do_GET()

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815 - names of the library


@pytest.fixture
def asked() -> Iterator[list[str]]:
    """The resources for which tokens were fetched meanwhile."""
    fetched = azure.sign_in().asked
    before = len(fetched)
    found: list[str] = []
    yield found
    found += fetched[before:]
    assert not any(MANAGEMENT in each for each in found)


def challenging(service: str) -> Answer:
    return 401, {"www-authenticate": CHALLENGES[service], "content-type": "text/plain"}, b""


async def test_a_store_is_given_no_token_of_resource_manager(asked: list[str]) -> None:
    with answering(lambda *_: challenging("blob"), Keeping) as server:
        server.sent = []
        with pytest.raises(WorkspaceError, match="does not take these credentials") as caught:
            await opening(server.url)
        assert caught.value.metadata["failure"] == "bad_credentials"
        assert server.sent
        for each in server.sent:
            assert claims_of(each, "https://storage.azure.com") is not None


async def test_a_challenge_for_its_own_resource_is_followed(asked: list[str]) -> None:
    own = CHALLENGES["blob"].replace(MANAGEMENT, "https://storage.azure.com")

    def say(method: str, path: str) -> Answer:
        if len(server.sent) == 1:
            return 401, {"www-authenticate": own}, b""
        answer: Answer = saying(good(), blob=SEAL_KEY)(method, path)
        return answer

    with answering(say, Keeping) as server:
        server.sent = []
        driver = await opening(server.url, read_only=True)
        await driver.close()
        assert len(server.sent) > 1


async def test_a_vault_is_given_no_token_of_resource_manager(asked: list[str]) -> None:
    reference = parse_reference("keyvault:wm-vault/secret")
    assert reference is not None
    with answering(lambda *_: challenging("vault"), Keeping) as server:
        server.sent = []
        place = AzurePlace(endpoints={"vault": server.url}, ca_file=azure.ca_file())
        clients = AzureClients(place)
        vault = KeyVault(clients)
        with pytest.raises(SecretProblem):
            await vault.read(reference)
        await vault.close()
        await clients.close()
        assert server.sent
        assert not any(server.sent)  # nothing but the question
