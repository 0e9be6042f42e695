"""The SDK's transport with a limit to what one answer may hold: servers that a connection
names need not mean well.

Bytes of a blob come with their length, which aiohttp holds them to; lists come without.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from azure.core.exceptions import IncompleteReadError, ServiceResponseError

from services.azure.transport import SteadyTransport

__all__ = ["MOST_BYTES", "BoundedTransport"]

MOST_BYTES = 32 * 1024 * 1024
"""Of one answer: a list of 5,000 blobs has at most some 15 MB, a range 4 MiB."""
_CHUNK = 256 * 1024


class BoundedTransport(SteadyTransport):
    """Raises ServiceResponseError for an answer that is too long."""

    async def send(self, request: Any, **config: Any) -> Any:
        streamed = bool(config.pop("stream", False))
        request.headers["Accept-Encoding"] = "identity"
        response = await super().send(request, stream=True, **config)
        try:
            _check_length(response, streamed=streamed)
            if not streamed:
                await _load(response)
        except BaseException:
            response.internal_response.close()
            raise
        return response

    def _get_request_data(self, request: Any) -> Any:
        """aiohttp sends large bytes at one go, and nothing else happens meanwhile."""
        data = super()._get_request_data(request)
        return BytesIO(data) if isinstance(data, bytes) and len(data) > _CHUNK else data


def _check_length(response: Any, *, streamed: bool) -> None:
    length = int(response.headers.get("content-length", -1))
    if length > MOST_BYTES or (streamed and length < 0 and response.status_code < 300):
        raise ServiceResponseError("an answer without a length, or too long")
    if response.status_code >= 300 and _encoded(response):
        raise ServiceResponseError("an answer in an encoding that nobody asked for")


async def _load(response: Any) -> None:
    """As `load_body` does it, with a limit."""
    body = bytearray()
    try:
        async for chunk in response.internal_response.content.iter_chunked(_CHUNK):
            body += chunk
            if len(body) > MOST_BYTES:
                raise ServiceResponseError("an answer that has no end")
    except OSError as error:  # aiohttp's errors of the connection are of these
        raise IncompleteReadError(str(error), error=error) from error
    if body and _encoded(response):
        raise ServiceResponseError("an answer in an encoding that nobody asked for")
    response._content = bytes(body)  # what `load_body` sets
    await response.internal_response.release()


def _encoded(response: Any) -> bool:
    return str(response.headers.get("content-encoding", "identity")) != "identity"
