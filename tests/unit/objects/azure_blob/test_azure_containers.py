"""Opening a container: what can be wrong, and what helps."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from services.azure.clients import AzureClients
from services.azure.place import AzurePlace
from services.model.errors import Reason, WorkspaceError
from services.objects.azure_blob import AzureBlobDriver
from services.objects.port import SignRequest, StoreUnavailable
from tests.servers import azure, containers
from tests.servers.marks import needs_azurite
from tests.servers.ports import free_port
from tests.unit.objects.azure_blob.azure_answers import Answer, answering, refused

pytestmark = pytest.mark.usefixtures("azure_environment")

KEY_XML = (
    "<?xml version='1.0'?><UserDelegationKey><SignedOid>o</SignedOid><SignedTid>t</SignedTid>"
    "<SignedStart>{start}</SignedStart><SignedExpiry>{end}</SignedExpiry>"
    "<SignedService>b</SignedService><SignedVersion>2026-10-06</SignedVersion>"
    "<Value>a2V5</Value></UserDelegationKey>"
)


def key_answer(life: float = 25 * 3600) -> Answer:
    start, end = (
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + each))
        for each in (-900, life)
    )
    body = KEY_XML.format(start=start, end=end).encode()
    return 200, {"content-type": "application/xml"}, body


SEAL_KEY: Answer = (206, {"content-range": "bytes 0-31/32", "etag": '"1"'}, b"k" * 32)


def saying(container: Answer, key: Answer | None = None, blob: Answer | None = None):  # type: ignore[no-untyped-def]
    def say(method: str, path: str) -> Answer:
        if "userdelegationkey" in path:
            return key or key_answer()
        if "restype=container" in path:
            return container
        return blob or refused(404, "BlobNotFound")

    return say


def good(more: Mapping[str, str] | None = None) -> Answer:
    moment = "Fri, 20 Nov 2026 10:00:00 GMT"
    return 200, {"etag": '"1"', "last-modified": moment, **(more or {})}, b""


async def opening(url: str, **options: object) -> AzureBlobDriver:
    clients = containers.local_clients(url, call_seconds=20.0)
    try:
        return await AzureBlobDriver.open(
            clients, azure.ACCOUNT, "docs", patience=0, **options  # type: ignore[arg-type]
        )
    except BaseException:
        await clients.close()
        raise


CASES = [
    (refused(404, "ContainerNotFound"), None, ["docs", "wm setup azure"], "missing"),
    (
        refused(403, "AuthorizationPermissionMismatch"), None,
        ["Storage Blob Data Contributor", "assign the role"], "denied",
    ),
    (
        refused(401, "InvalidAuthenticationInfo"), None, ["tenant", "az login"], "bad_credentials",
    ),
    (refused(403, "AuthenticationFailed"), None, ["az login"], "bad_credentials"),
    (refused(503, "ServerBusy"), None, ["repeat later"], "throttled"),
    (refused(500, "InternalError"), None, ["blob failed"], "unavailable"),
    (
        good(), refused(403, "AuthorizationPermissionMismatch"),
        ["Storage Blob Data Contributor", "on the storage account", "not enough"], "denied",
    ),
    (
        good(), refused(400, "AuthenticationSchemeNotSupported"),
        ["account keys alone", "general-purpose v2"], "invalid",
    ),
    (good(), refused(503, "ServerBusy"), ["delegation key", "repeat later"], "throttled"),
    (good(), (200, {}, b"<html/>"), ["delegation key"], "unavailable"),
    (good(), key_answer(life=-60), ["delegation key"], "unavailable"),
]  # fmt: skip


@pytest.mark.parametrize(("container", "key", "words", "kind"), CASES)
async def test_what_is_wrong_is_said_with_its_remedy(
    container: Answer, key: Answer | None, words: list[str], kind: str
) -> None:
    with answering(saying(container, key)) as server, pytest.raises(WorkspaceError) as caught:
        await opening(server.url)
    assert caught.value.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert caught.value.metadata["failure"] == kind
    for word in ("docs", azure.ACCOUNT, *words):
        assert word in str(caught.value)


async def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IDENTITY_ENDPOINT")
    monkeypatch.delenv("IDENTITY_HEADER")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    with answering(saying(good())) as server, pytest.raises(WorkspaceError) as caught:
        await opening(server.url)
    assert caught.value.metadata["failure"] in ("no_credentials", "bad_credentials")
    assert "az login" in str(caught.value)
    assert server.asked == []


async def test_nothing_answers() -> None:
    with pytest.raises(WorkspaceError, match="nothing answers"):
        await opening(f"https://127.0.0.1:{free_port()}")


async def test_an_authority_that_nobody_trusts() -> None:
    with answering(saying(good())) as server:
        clients = AzureClients(AzurePlace(endpoints={"blob": server.url}, call_seconds=2.0))
        with pytest.raises(WorkspaceError, match="container docs"):
            await AzureBlobDriver.open(clients, azure.ACCOUNT, "docs", patience=0)
        await clients.close()
    assert server.asked == []


async def test_no_more_than_one_key_is_asked_for() -> None:
    with answering(saying(good(), blob=SEAL_KEY)) as server:
        driver = await opening(server.url)
        for _ in range(100):
            driver.sign(SignRequest("GET", "a/b", 60))
        await driver.close()
        assert len([path for _, path in server.asked if "userdelegationkey" in path]) == 1


@pytest.mark.parametrize("options", [{"read_only": True}, {"signing": False}])
async def test_without_signing_no_key_is_asked_for(options: dict[str, bool]) -> None:
    with answering(saying(good(), refused(403, "AuthorizationFailure"))) as server:
        if options.get("signing") is False:
            server.say = saying(good(), refused(403, "AuthorizationFailure"), SEAL_KEY)
        driver = await opening(server.url, **options)
        with pytest.raises(StoreUnavailable, match="cannot be signed"):
            driver.sign(SignRequest("GET", "a/b", 60))
        await driver.close()
    assert not any("userdelegationkey" in path for _, path in server.asked)


async def test_a_public_container_is_refused() -> None:
    for level in ("container", "blob"):
        public = good({"x-ms-blob-public-access": level})
        with answering(saying(public, blob=SEAL_KEY)) as server:
            driver = await opening(server.url)
            with pytest.raises(WorkspaceError, match="is public") as caught:
                await driver.require_private()
            await driver.close()
        assert caught.value.reason == Reason.ERROR_REASON_INVALID_STATE
        assert caught.value.metadata["exposure"] == "public"


@needs_azurite
async def test_containers_of_azurite() -> None:
    for public in (None, "container"):
        name = containers.new_container(public=public)
        driver = await AzureBlobDriver.open(containers.local_clients(), azure.ACCOUNT, name)
        if public:
            with pytest.raises(WorkspaceError, match="is public"):
                await driver.require_private()
        else:
            await driver.require_private()
            await driver.probe()
        await driver.close()
        with pytest.raises(StoreUnavailable):
            await driver.head("a")
    clients = containers.local_clients()
    with pytest.raises(WorkspaceError, match="does not exist"):
        await AzureBlobDriver.open(clients, azure.ACCOUNT, azure.new_name())
    await clients.close()


@needs_azurite
async def test_for_reading_only() -> None:
    name = containers.new_container()
    driver = await AzureBlobDriver.open(
        containers.local_clients(), azure.ACCOUNT, name, read_only=True
    )
    for call in (driver.delete("a"), driver.copy("a", "b"), driver.multipart_create("a", "")):
        with pytest.raises(WorkspaceError, match="reading only"):
            await call
    await driver.close()
    with containers.client(name) as client:
        assert list(client.list_blob_names()) == []
