"""Key files in Key Vault, which has no conditional write: made once all the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.azure.clients import AzureClients
from services.model.errors import WorkspaceError
from services.objects.keyring import KEY_FILE, Keyring, Purpose
from services.secrets.azure_key_vault import MOST_BYTES, KeyVault, _rest
from services.secrets.key_files import KEY_FILES, dump_keys, install_keys, new_keys, read_keys
from services.secrets.keys import KeysInSecret
from services.secrets.port import SecretProblem
from services.secrets.reference import Reference, Service
from tests.fakes.https import CUT, CUT_AFTER, Answer
from tests.fakes.vault import Vault
from tests.servers import azure

pytestmark = pytest.mark.usefixtures("azure_environment")
KEYS = Reference(Service.KEY_VAULT, "keys", place="acme")
FIRST = {"workspace-management": "first"}
NOW = 1_790_000_000


@pytest.fixture
async def clients(azure_environment: None, vault: Vault) -> AsyncIterator[AzureClients]:
    opened = AzureClients(azure.place({"vault": vault.url}))
    yield opened
    await opened.close()


class Quick(KeyVault):
    """Waits for `barrier` before it writes, so that all have looked and found nothing, and
    where others would wait for the second to pass."""

    def __init__(self, clients: AzureClients, barrier: asyncio.Barrier | None = None) -> None:
        super().__init__(clients)
        self._barrier = barrier

    async def _set(self, *arguments: Any, **more: Any) -> None:
        await self._meet()
        await super()._set(*arguments, **more)

    async def _settle(self, *_: object) -> None:
        await self._meet()

    async def _meet(self) -> None:
        if self._barrier is not None:
            await self._barrier.wait()


@pytest.fixture
async def store(clients: AzureClients) -> AsyncIterator[KeyVault]:
    opened = Quick(clients)
    yield opened
    await opened.close()


def keys(store: KeyVault, folder: Path) -> KeysInSecret:
    return KeysInSecret(store, KEYS, folder=folder)


async def texts(store: KeyVault) -> str:
    return (await store.read(KEYS)).text


@pytest.mark.parametrize("placeholder", [False, True])
async def test_the_first_start_makes_them_and_the_next_takes_them(
    store: KeyVault, vault: Vault, tmp_path: Path, placeholder: bool
) -> None:
    if placeholder:
        vault.put("keys", "{}", created=NOW)
    for folder in ("one", "two"):
        await keys(store, tmp_path / folder).fetch()
    assert read_keys(tmp_path / "one") == read_keys(tmp_path / "two")
    assert len(read_keys(tmp_path / "one")) == len(KEY_FILES)
    assert len(vault.secrets["keys"]) == 1 + placeholder


@pytest.mark.parametrize("same_second", [True, False])
async def test_replicas_that_start_at_once_have_the_same_keys(
    clients: AzureClients, vault: Vault, tmp_path: Path, same_second: bool
) -> None:
    """All have found nothing, and all write: nobody looks before all have written."""
    times = iter([NOW] * 3 if same_second else [NOW + 2, NOW + 1, NOW])
    vault.clock = lambda: next(times)
    barrier = asyncio.Barrier(3)
    stores = [Quick(clients, barrier) for _ in range(3)]
    made = [await asyncio.to_thread(new_keys) for _ in range(3)]
    won = await asyncio.gather(
        *(each.create(KEYS, dump_keys(files)) for each, files in zip(stores, made, strict=True))
    )
    assert sorted(won) == [False, False, True]
    assert len(vault.secrets["keys"]) == 3
    last = Quick(clients)
    for number in range(2):
        await keys(last, tmp_path / str(number)).fetch()
    assert read_keys(tmp_path / "0") == read_keys(tmp_path / "1") == made[won.index(True)]
    for each in (*stores, last):
        await each.close()


async def test_a_first_value_is_not_taken_before_its_second_has_passed(
    clients: AzureClients, vault: Vault
) -> None:
    """Another one of the same second would count for those that come later."""

    class Meanwhile(KeyVault):
        async def _settle(self, *_: object) -> None:
            vault.put("keys", "other", tags=FIRST, created=NOW, name="0" * 32)

    vault.put("keys", "mine", tags=FIRST, created=NOW, name="1" * 32)
    store = Meanwhile(clients)
    assert await texts(store) == "other"
    await store.close()


def test_how_long_a_first_value_is_left_alone() -> None:
    created = datetime(2026, 11, 21, 10, tzinfo=UTC)
    for age, rest in ((0, 3.0), (1, 2.0), (3, 0.0), (900, 0.0), (-1, 4.0), (-900, 4.0)):
        assert _rest(created, created + timedelta(seconds=age), 3.0) == rest


async def test_it_waits_by_the_clock_of_the_service(clients: AzureClients, vault: Vault) -> None:
    """However wrong the clock of this machine is: what is old there is taken at once."""
    vault.put("keys", "old", tags=FIRST, created=int(time.time()) - 3600)
    store = KeyVault(clients, settle_seconds=1800.0)
    assert await texts(store) == "old"
    await store.close()


async def test_who_comes_too_late_changes_nothing(store: KeyVault, vault: Vault) -> None:
    vault.put("keys", "{}", created=NOW - 1)
    vault.put("keys", "first", tags=FIRST, created=NOW)
    vault.put("keys", "late", tags=FIRST, created=NOW + 5)
    assert await texts(store) == "first"
    vault.put("keys", "pushed", created=NOW + 10)
    assert await texts(store) == "pushed"
    vault.put("keys", "later", tags=FIRST, created=NOW + 20)
    assert await texts(store) == "pushed"
    vault.put("keys", "unused", created=NOW + 15, enabled=False)
    vault.put("keys", "last", tags=FIRST, created=NOW + 30)
    assert await texts(store) == "pushed"


async def test_all_versions_are_looked_at(store: KeyVault, vault: Vault) -> None:
    vault.put("keys", "first", tags=FIRST, created=NOW, name="f" * 32)
    for number in range(60):
        vault.put("keys", "late", tags=FIRST, created=NOW + 1, name=f"{number:032d}")
    assert await texts(store) == "first"


async def test_a_value_that_was_pushed_needs_one_call(store: KeyVault, vault: Vault) -> None:
    vault.put("keys", "pushed")
    await store.read(KEYS)
    assert len(vault.requests) == 1


@pytest.mark.parametrize(("fault", "versions"), [(CUT, 1), (CUT_AFTER, 2)])
async def test_an_answer_that_was_lost_makes_no_other_keys(
    clients: AzureClients, vault: Vault, tmp_path: Path, fault: Answer, versions: int
) -> None:
    class Broken(Quick):
        async def _set(self, reference: Reference, text: str, *, tags: dict[str, str]) -> None:
            vault.faults.append(fault)
            await super()._set(reference, text, tags=tags)

    store = Broken(clients)
    await keys(store, tmp_path / "one").fetch()
    await keys(store, tmp_path / "two").fetch()
    assert read_keys(tmp_path / "one") == read_keys(tmp_path / "two")
    assert len(vault.secrets["keys"]) == versions
    await store.close()


async def test_a_rotation_is_pushed_and_followed(store: KeyVault, tmp_path: Path) -> None:
    one, two = (keys(store, tmp_path / each) for each in ("one", "two"))
    await one.fetch()
    await two.fetch()
    kid = Keyring.open(tmp_path / "one", create=False).rotate(Purpose.DOWNLOAD)
    assert await one.push() is False
    assert await two.refresh() == [KEY_FILE]
    assert Keyring.open(tmp_path / "two").current(Purpose.DOWNLOAD).kid == kid


async def test_push_fills_an_empty_vault(store: KeyVault, tmp_path: Path) -> None:
    install_keys(tmp_path / "one", await asyncio.to_thread(new_keys))
    assert await keys(store, tmp_path / "one").push() is True
    assert await keys(store, tmp_path / "one").push() is False
    await keys(store, tmp_path / "two").fetch()
    assert read_keys(tmp_path / "one") == read_keys(tmp_path / "two")


async def test_keys_of_another_deployment_are_never_replaced(
    store: KeyVault, vault: Vault, tmp_path: Path
) -> None:
    await keys(store, tmp_path / "one").fetch()
    install_keys(tmp_path / "two", await asyncio.to_thread(new_keys))
    for attempt in (keys(store, tmp_path / "two").fetch, keys(store, tmp_path / "two").push):
        with pytest.raises(WorkspaceError, match=r"instance\.key"):
            await attempt()
    assert len(vault.secrets["keys"]) == 1


async def test_a_deleted_name_has_its_remedy(store: KeyVault, vault: Vault, tmp_path: Path) -> None:
    vault.put("keys", "x")
    vault.delete("keys")
    with pytest.raises(WorkspaceError, match="az keyvault secret recover") as caught:
        await keys(store, tmp_path / "keys").fetch()
    assert caught.value.metadata["field"] == "WM_KEYS_SECRET"
    assert "keyvault:acme/keys" in caught.value.message


@pytest.mark.parametrize(
    ("missing", "role"),
    [("get", "Key Vault Secrets User"), ("list", "Key Vault Secrets User"),
     ("set", "Key Vault Secrets Officer")],
)  # fmt: skip
async def test_who_may_not_is_told_the_role(
    store: KeyVault, vault: Vault, tmp_path: Path, missing: str, role: str
) -> None:
    vault.roles.discard(missing)
    with pytest.raises(WorkspaceError) as caught:
        await keys(store, tmp_path / "keys").fetch()
    assert f"'{role}'" in caught.value.message
    assert caught.value.metadata["role"] == role


async def test_what_is_too_large_is_told_before_the_call(store: KeyVault, vault: Vault) -> None:
    with pytest.raises(SecretProblem, match=str(MOST_BYTES)):
        await store.replace(KEYS, "ü" * (MOST_BYTES // 2 + 1))
    assert vault.requests == []


async def test_the_key_files_fit_into_a_secret() -> None:
    assert len(dump_keys(await asyncio.to_thread(new_keys))) < MOST_BYTES / 4
