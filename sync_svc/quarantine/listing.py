"""ListQuarantine: what could not be applied, newest first."""

from __future__ import annotations

import json

from workspace.sync.v1.quarantine_pb2 import QuarantineReason
from workspace.sync.v1.sync_service_pb2 import ListQuarantineRequest, ListQuarantineResponse

from services.kernel import Kernel
from services.records.port import Index, Item
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size
from sync_svc.quarantine.messages import message_of
from sync_svc.quarantine.rows import ALL, QUARANTINE, by_connection
from sync_svc.runs.ports import Connections

__all__ = ["QuarantineList"]

_METHOD = "workspace.sync.v1.SyncService/ListQuarantine"
_LOOKED_AT = 2000
_RUN = 200


class QuarantineList:
    """What is in quarantine, as far as the caller may see its connections."""

    def __init__(self, *, kernel: Kernel, connections: Connections) -> None:
        self._kernel = kernel
        self._connections = connections

    async def list(self, request: ListQuarantineRequest) -> ListQuarantineResponse:
        """One page. Raises PERMISSION_DENIED for a named connection that the caller
        may not use, INVALID_PAGE_TOKEN."""
        caller, tokens = current_call().user_id, self._kernel.page_tokens
        position = tokens.open(_METHOD, caller, request, request.page_token)
        visible = await self._visible(request)
        wanted, answer, looked = page_size(request), ListQuarantineResponse(), 0
        while looked < _LOOKED_AT and len(answer.records) < wanted:
            page = await self._kernel.records.run(
                *_where(request), lower="", upper="~", after=position or None,
                limit=min(_RUN, wanted - len(answer.records)),
            )
            looked += len(page.items)
            shown = [item for item in page.items if _fits(item, request, visible)]
            answer.records.extend(map(message_of, shown))
            position = page.next or ""
            if not position:
                return answer
        answer.next_page_token = tokens.issue(_METHOD, caller, request, position)
        return answer

    async def _visible(self, request: ListQuarantineRequest) -> frozenset[str] | None:
        """Connections whose rows may be shown; None: all of them."""
        if request.connection_id:
            await self._connections.allowed(request.connection_id)
            return None
        if await self._connections.sees_all():
            return None
        return frozenset(each.connection_id for each in await self._connections.visible())


def _where(request: ListQuarantineRequest) -> tuple[Index, str]:
    if request.connection_id:
        return Index.TEAM, by_connection(request.connection_id)
    return Index.USER, ALL


def _fits(item: Item, request: ListQuarantineRequest, visible: frozenset[str] | None) -> bool:
    if item.deleted or item.family != QUARANTINE:
        return False
    row = json.loads(item.body)
    if request.reason and QuarantineReason.Value(row["reason"]) != request.reason:
        return False
    return visible is None or row["connection_id"] in visible
