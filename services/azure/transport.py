"""The SDK's transport, with connections that are used again, and no thread for a request.

With authorities of one's own (`AzurePlace.ca_file`) the SDK makes a context of TLS for each
request, and aiohttp takes connections of another context for others' (azure-core 1.41,
`AioHttpTransport._build_ssl_config`). With `trust_env` aiohttp looks for the proxy of the
environment, and for a netrc, anew for each request, and in threads (aiohttp 3.14,
`ClientSession._request`): that is a tenth of what a request takes of this machine, and more
of its time. Here the proxy is looked up once for each host, and a netrc never.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from azure.core.pipeline.transport import AioHttpTransport

__all__ = ["SteadyTransport"]


class SteadyTransport(AioHttpTransport):  # type: ignore[misc]
    """One context of TLS for all requests, one look at the environment for each host.
    A `session` that is given must not trust the environment itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__(use_env_settings=False, **options)
        self._context: Any = None
        self._proxies: dict[tuple[str, str | None], str | None] = {}

    async def send(self, request: Any, **config: Any) -> Any:
        if not config.get("proxy") and not config.get("proxies"):
            config["proxy"] = self._proxy(request.url)
        return await super().send(request, **config)

    def _proxy(self, url: str) -> str | None:
        """Of HTTPS_PROXY and the like, but for hosts of NO_PROXY."""
        parts = urlsplit(url)
        asked = parts.scheme, parts.hostname
        if asked not in self._proxies:
            excepted = proxy_bypass(parts.hostname or "")
            self._proxies[asked] = None if excepted else getproxies().get(parts.scheme)
        return self._proxies[asked]

    def _build_ssl_config(self, cert: Any, verify: Any) -> Any:
        if self._context is None:
            self._context = super()._build_ssl_config(cert, verify)
        return self._context
