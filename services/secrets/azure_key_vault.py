"""Secrets of Azure Key Vault (REST reference: Get Secret, Set Secret, Get Secret Versions).

Key Vault has no conditional write: a second "first" value becomes a newer version. So first
values are marked by a tag, and while the newest version has it, everybody takes the oldest
one with it (unless somebody replaced the value since). Versions know their second only: none
is taken before its second has passed at the service, and all of that second can be seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from azure.keyvault.secrets import KeyVaultSecret, SecretProperties
from azure.keyvault.secrets.aio import SecretClient

from services.azure.clients import AzureClients
from services.azure.one_resource import OneResource
from services.secrets.azure_calls import ask
from services.secrets.key_files import is_unset
from services.secrets.port import SecretMissing, SecretProblem, SecretValue
from services.secrets.reference import Reference

__all__ = ["MOST_BYTES", "KeyVault"]

MOST_BYTES: Final = 25 * 1024
"""Of a secret ("Azure Key Vault service limits")."""
_FIRST: Final = {"workspace-management": "first"}
_SETTLE_SECONDS: Final = 3.0


class KeyVault:
    """Reads and writes with one client for each vault. `settle_seconds` (more than one) is
    how old a first value must be to be taken; clocks of the service differ by less."""

    def __init__(self, clients: AzureClients, *, settle_seconds: float = _SETTLE_SECONDS) -> None:
        self._clients = clients
        self._settle_seconds = settle_seconds
        self._vaults: dict[str, SecretClient] = {}

    async def read(self, reference: Reference) -> SecretValue:
        found, at = await self._get(reference, reference.version)
        if not reference.version and _is_first(found.properties):
            await self._settle(found.properties, at)
            version = _current(await self._versions(reference))
            if version not in ("", found.properties.version):
                found, _ = await self._get(reference, version)
        return SecretValue(found.value or "", found.properties.version or "")

    async def create(self, reference: Reference, text: str) -> bool:
        """Where a template made the secret with a placeholder, too."""
        try:
            if not is_unset((await self.read(reference)).text):
                return False
        except SecretMissing:
            pass
        await self._set(reference, text, tags=_FIRST)
        return (await self.read(reference)).text == text

    async def replace(self, reference: Reference, text: str) -> None:
        await self._set(reference, text, tags={})

    async def close(self) -> None:
        """End the clients of the vaults; not what they were made of."""
        while self._vaults:
            _, client = self._vaults.popitem()
            await client.close()

    async def _get(self, reference: Reference, version: str) -> tuple[KeyVaultSecret, datetime]:
        """A version and the time of the service."""
        vault, times = self._vault(reference), [datetime.now(UTC)]

        def note(response: Any) -> None:
            if date := response.http_response.headers.get("Date"):
                times.append(parsedate_to_datetime(date))

        found = await ask(
            "vault", lambda: vault.get_secret(reference.name, version, raw_response_hook=note)
        )
        return found, times[-1]

    async def _set(self, reference: Reference, text: str, *, tags: dict[str, str]) -> None:
        if len(text.encode()) > MOST_BYTES:
            raise SecretProblem(f"would be too large for Key Vault ({MOST_BYTES} bytes)")
        vault = self._vault(reference)
        await ask("vault_write", lambda: vault.set_secret(reference.name, text, tags=tags))

    async def _versions(self, reference: Reference) -> Sequence[SecretProperties]:
        vault = self._vault(reference)

        async def listed() -> Sequence[SecretProperties]:
            found = vault.list_properties_of_secret_versions(reference.name)
            return [version async for version in found]

        return await ask("vault", listed)

    async def _settle(self, newest: SecretProperties, at: datetime) -> None:
        await asyncio.sleep(_rest(newest.created_on or at, at, self._settle_seconds))

    def _vault(self, reference: Reference) -> SecretClient:
        place = self._clients.place
        if reference.domain not in ("", place.names.vault):
            raise SecretProblem(f"is of another Azure ({reference.domain}): set WM_AZURE_CLOUD")
        url = place.vault_url(reference.place)
        if url not in self._vaults:
            self._vaults[url] = SecretClient(
                url,
                OneResource(self._clients.credential, f"https://{place.names.vault}"),
                # An emulator is on no host of Azure; a vault must be where its tokens are for.
                verify_challenge_resource="vault" not in place.endpoints,
                **self._clients.options(),
            )
        return self._vaults[url]


def _rest(created: datetime, at: datetime, settle_seconds: float) -> float:
    """Seconds until a version is old enough; not for long, if the clocks say nonsense."""
    age = (at - created).total_seconds()
    return min(max(settle_seconds - age, 0.0), settle_seconds + 1.0)


def _is_first(version: SecretProperties) -> bool:
    tags = version.tags or {}
    return all(tags.get(name) == value for name, value in _FIRST.items())


def _age(version: SecretProperties) -> tuple[float, str]:
    """Sorts versions, those of a second in an order that all agree on."""
    created = version.created_on.timestamp() if version.created_on else 0.0
    return created, version.version or ""


def _current(versions: Sequence[SecretProperties]) -> str:
    """The version that counts: the newest that replaced the first value, else this one;
    '' when there is no first value any more."""
    usable = [version for version in versions if version.enabled]
    firsts = sorted((each for each in usable if _is_first(each)), key=_age)
    if not firsts:
        return ""
    began = _age(firsts[0])[0]
    later = [each for each in usable if not _is_first(each) and _age(each)[0] > began]
    return max(later, key=_age, default=firsts[0]).version or ""
