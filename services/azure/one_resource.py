"""A credential for one resource, whatever a server asks for.

Clients of Blob Storage and Key Vault follow challenges (`WWW-Authenticate`): they fetch a token
for the resource, and of the tenant, that the server names, and send it there (azure-storage-blob
12.31, `AsyncStorageBearerTokenCredentialPolicy.on_challenge`). A server that is none of
Azure's could so be given tokens for Resource Manager.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from azure.core.exceptions import ClientAuthenticationError

if TYPE_CHECKING:
    from types import TracebackType

    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential

__all__ = ["STORAGE", "OneResource", "OtherResource"]

STORAGE: Final = "https://storage.azure.com"
"""Of all clouds."""
_SUFFIX: Final = "/.default"


class OtherResource(ClientAuthenticationError):
    """A server asked for a token that is not for it."""


class OneResource:
    """Tokens of `credential` for `resource`, which is an URL; it is not closed with this."""

    def __init__(self, credential: AsyncTokenCredential, resource: str) -> None:
        self._credential = credential
        self._resource = resource

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Raises OtherResource."""
        for scope in scopes:
            if scope.removesuffix(_SUFFIX).rstrip("/") != self._resource:
                raise OtherResource("the server asks for a token of another service")
        return await self._credential.get_token(*scopes, **options)

    async def close(self) -> None:
        """The credential is shared."""

    async def __aenter__(self) -> OneResource:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        """As `close`."""
