"""What every client of the SDK is made with: credentials, authorities, limits of time.

The SDK's own retries are off: what may be repeated is for the drivers, which know what
a lost answer may have done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.azure.place import AzurePlace
from services.model.errors import Reason, WorkspaceError, invalid_field

try:
    import aiohttp  # noqa: F401 - what the SDK's asynchronous clients stand on
    from azure.identity.aio import ClientSecretCredential, DefaultAzureCredential
except ImportError as error:  # an extra; this module is imported on first use only
    raise WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        "Azure needs its SDK: pip install 'workspace-management[azure]'",
        metadata={"extra": "azure"},
    ) from error

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

__all__ = ["AzureClients", "AzureSecret"]

_CONNECT_SECONDS = 3.0


class AzureSecret:
    """Credentials of an application that somebody named, instead of the chain of the SDK.
    Never shown."""

    def __init__(self, tenant_id: str, client_id: str, client_secret: str) -> None:
        self.tenant_id = tenant_id
        self.client_id = client_id
        self.client_secret = client_secret


class AzureClients:
    """One place and one credential, whose tokens its clients share.

    Without `secret` it is the chain of the SDK: environment, workload identity, managed
    identity, `az login`. Clients are made by the drivers with `credential` and `options`,
    and closed by them before `close`.
    """

    def __init__(self, place: AzurePlace, *, secret: AzureSecret | None = None) -> None:
        self.place = place
        self._secret = secret
        self._credential: AsyncTokenCredential | None = None

    @property
    def credential(self) -> AsyncTokenCredential:
        """The one credential, made on first use."""
        if self._credential is None:
            self._credential = self._made()
        return self._credential

    def options(self) -> dict[str, Any]:
        """Keywords for every client of azure-core: authorities, limits of time, no retries
        and no redirects of its own, no logging of requests."""
        seconds = self.place.call_seconds
        return {
            "connection_verify": self.place.ca_file or True,
            "connection_timeout": min(_CONNECT_SECONDS, seconds),
            "read_timeout": seconds,
            "retry_total": 0,
            "permit_redirects": False,
            "logging_enable": False,
            "user_agent": "workspace-management",
        }

    async def close(self) -> None:
        """End the credential and its connections."""
        if self._credential is not None:
            credential, self._credential = self._credential, None
            await credential.close()

    def _made(self) -> AsyncTokenCredential:
        authority = f"https://{self.place.names.login}"
        secret = self._secret
        try:
            if secret is None:
                return DefaultAzureCredential(
                    authority=authority, exclude_shared_token_cache_credential=True
                )
            return ClientSecretCredential(
                secret.tenant_id, secret.client_id, secret.client_secret, authority=authority
            )
        except ValueError as error:  # before anything is asked; its text may repeat values
            raise invalid_field(
                "AZURE_TENANT_ID",
                "tenant and client must be identifiers (GUIDs) of Entra: mend AZURE_TENANT_ID and "
                "AZURE_CLIENT_ID, or those of the connection",
            ) from error
