"""What the surfaces of all clouds share: credentials by the id of a connection, opening
within a deadline, and refusals in the words of a connection.

A driver's refusal says what helps the server it is the backend of. Here the same failure
is a connection's, and other things help.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from services.model.errors import Reason, WorkspaceError
from services.objects.port import StoreFull, StoreUnavailable
from services.records.port import DriverUnavailable, StorageFull
from sync_svc.surfaces.unused import never_used

__all__ = ["Words", "opened", "variable_of"]


class _Clients(Protocol):
    async def close(self) -> None: ...


C = TypeVar("C", bound=_Clients)
T = TypeVar("T")


def variable_of(connection_id: str, part: str) -> str:
    """The environment variable with a part of a connection's own credentials."""
    return f"WM_CONNECTION_{connection_id.upper().replace('-', '_')}_{part}"


@dataclass(frozen=True, slots=True)
class Words:
    """How one connection's failures are said. `backend`: the provider. `where`: the store,
    for people. `remedies`: what drivers say, and what helps the connection instead; asked
    for when something failed, for the tables of a provider need its SDK."""

    backend: str
    where: str
    remedies: Callable[[], Mapping[str, str]]

    def refused(self, text: str) -> WorkspaceError:
        """INVALID_STATE."""
        metadata = {"backend": self.backend}
        return WorkspaceError(Reason.ERROR_REASON_INVALID_STATE, text, metadata=metadata)

    def refusal(self, error: BaseException) -> WorkspaceError | None:
        """The refusal in the words of a connection; None: as it is."""
        if isinstance(error, WorkspaceError):
            return self._said(error)
        if isinstance(error, StorageFull | StoreFull):
            text = f"{self.where} has no space left"
            return WorkspaceError(Reason.ERROR_REASON_STORAGE_FULL, text)
        if isinstance(error, DriverUnavailable | StoreUnavailable):
            return self._unavailable(f"does not answer: {error}")
        if isinstance(error, TimeoutError):
            return self._unavailable("does not answer in time; look at the endpoint")
        return None

    def _said(self, error: WorkspaceError) -> WorkspaceError | None:
        if error.metadata.get("store") == "unused":
            return never_used()
        text = error.message
        for said, remedy in self.remedies().items():
            text = text.replace(said, remedy)
        if text == error.message:
            return None
        return WorkspaceError(error.reason, text, metadata=dict(error.metadata))

    def _unavailable(self, text: str) -> WorkspaceError:
        metadata = {"backend": self.backend}  # not `surface`: plans take that for an empty one
        reason = Reason.ERROR_REASON_BACKEND_UNAVAILABLE
        return WorkspaceError(reason, f"{self.where} {text}", metadata=metadata)


async def opened(
    clients: C, opening: Callable[[C], Awaitable[T]], words: Words, *, seconds: float
) -> T:
    """What `opening` opens, within `seconds`. What is opened closes its clients; they are
    closed here when it was not."""
    try:
        async with asyncio.timeout(seconds):
            return await opening(clients)
    except BaseException as error:
        await clients.close()
        refusal = words.refusal(error)
        if refusal is None:
            raise
        raise refusal from error
