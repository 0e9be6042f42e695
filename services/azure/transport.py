"""The SDK's transport, with connections that are used again.

With authorities of one's own (`AzurePlace.ca_file`) the SDK makes a context of TLS for each
request, and aiohttp takes connections of another context for others' (azure-core 1.41,
`AioHttpTransport._build_ssl_config`).
"""

from __future__ import annotations

from typing import Any

from azure.core.pipeline.transport import AioHttpTransport

__all__ = ["SteadyTransport"]


class SteadyTransport(AioHttpTransport):  # type: ignore[misc]
    """One context for all requests."""

    _context: Any = None

    def _build_ssl_config(self, cert: Any, verify: Any) -> Any:
        if self._context is None:
            self._context = super()._build_ssl_config(cert, verify)
        return self._context
