"""EvictNode: collection waits for a node no longer.

    decided here (rows of the node, all in one partition)
      -> carried out in each surface by the next run that speaks with it (mirror.py)

The rows are written before the event and the request row: a call that is cut off
between is repeated. Evicting a node that is evicted changes nothing, and its event is
written if it is not there yet.
"""

from __future__ import annotations

from dataclasses import replace

from workspace.sync.v1.node_pb2 import Node, NodeStatus
from workspace.sync.v1.sync_service_pb2 import EvictNodeRequest, EvictNodeResponse

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, permission_denied
from services.model.families import FAMILIES
from services.records.deciding import deciding
from services.records.port import ConditionFailed, Index, Put
from services.records.record import Activity
from services.rpc.context import current_call
from sync_svc.connections.access import ConnectionAccess
from sync_svc.nodes.rows import DAY_MS, NodeRow, node_key, node_put, seen_key
from sync_svc.nodes.shape import KnownNode, known_nodes, message_of

__all__ = ["Evicting"]

_EVICTED = "node.evicted"


class Evicting:
    """A node that was seen within the lease (settings) is LIVE."""

    def __init__(self, *, kernel: Kernel, access: ConnectionAccess) -> None:
        self._kernel = kernel
        self._access = access
        self._lease_ms = kernel.settings.sync_node_lease_days * DAY_MS

    async def evict(self, request: EvictNodeRequest) -> EvictNodeResponse:
        """Evict, audited. Raises PERMISSION_DENIED, NOT_FOUND, INVALID_STATE for this
        node and for a LIVE one without `force`, ETAG_MISMATCH."""
        if not await self._access.is_platform_admin():
            raise permission_denied("platform_admin", f"nodes/{request.node_id}")
        mutation = self._kernel.mutations.begin(request)
        pk = f"NODE#{request.node_id}"
        if done := await mutation.replay(pk, EvictNodeResponse):
            return done
        node = await deciding(lambda: self._decided(request))
        if await self._is_audited(pk, node):
            return await self._unchanged(pk, node)
        return await mutation.commit(
            pk,
            [],
            activity=Activity(_EVICTED, f"nodes/{request.node_id}"),
            answer=lambda _: EvictNodeResponse(node=node),
        )

    async def _unchanged(self, pk: str, node: Node) -> EvictNodeResponse:
        head, now = await self._kernel.records.head(pk), int(self._kernel.now() * 1000)
        token = self._kernel.mutations.consistency.issue(pk, head.pseq, now)
        return EvictNodeResponse(node=node, consistency_token=token)

    async def _is_audited(self, pk: str, node: Node) -> bool:
        family, since = FAMILIES["activity_event"], node.evicted_at.ToMilliseconds()
        after: str | None = None
        while True:
            page = await self._kernel.records.query(
                family, Index.BASE, pk, prefix="EVENT#", lower=f"EVENT#{since:013d}", after=after
            )
            if any(each.message.type == _EVICTED for each in page.records):
                return True
            if page.next is None:
                return False
            after = page.next

    async def _decided(self, request: EvictNodeRequest) -> Node:
        now = int(self._kernel.now() * 1000)
        known = await self._known(request.node_id)
        if not known.is_evicted:
            self._check(request, known, now)
            await self._write(known, request.note, now)
            known = await self._known(request.node_id)
        own = await known_nodes(self._kernel.records, self._kernel.instance_id)
        return message_of(
            known, now_ms=now, own=own[0] if own else None, lease_ms=self._lease_ms
        )

    async def _known(self, node_id: str) -> KnownNode:
        if node_id == self._kernel.instance_id:
            raise _invalid(node_id, "is this node itself: it cannot evict itself")
        found = await known_nodes(self._kernel.records, node_id)
        if not found:
            raise WorkspaceError(
                Reason.ERROR_REASON_NOT_FOUND,
                f"nodes/{node_id} is not known here; nodes are seen when a run speaks with "
                "their surface",
                metadata={"resource": f"nodes/{node_id}"},
            )
        return found[0]

    def _check(self, request: EvictNodeRequest, known: KnownNode, now: int) -> None:
        if request.etag and request.etag != known.etag:
            raise WorkspaceError(
                Reason.ERROR_REASON_ETAG_MISMATCH,
                f"nodes/{request.node_id} changed since it was read; read it again and repeat",
                metadata={"resource": f"nodes/{request.node_id}"},
            )
        live = known.status(now, self._lease_ms) == NodeStatus.NODE_STATUS_LIVE
        if live and not request.force:
            raise _invalid(
                request.node_id,
                "was seen lately; set force to evict it all the same. It rejoins by a full "
                "reconcile when it comes back",
            )

    async def _write(self, known: KnownNode, note: str, now: int) -> None:
        """Raises CONFLICTING_WRITE when a row changed meanwhile."""
        puts: list[Put] = []
        for connection, row in known.rows:
            key = seen_key(row.instance_id, connection) if connection else node_key(row.instance_id)
            there = await self._kernel.records.get_row(key)
            if there is None or (now_row := NodeRow.of(there)) != row:
                raise _meanwhile()
            evicted = now_row.evict(current_call().user_id, now, note)
            puts.append(node_put(key, replace(evicted, pending=bool(connection)), there))
        try:
            await self._kernel.records.put_rows(puts)
        except ConditionFailed:
            raise _meanwhile() from None


def _meanwhile() -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_CONFLICTING_WRITE,
        "the node was seen at this very moment; repeat the call",
        retry_after=0.05,
    )


def _invalid(node_id: str, why: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE, f"nodes/{node_id} {why}",
        metadata={"resource": f"nodes/{node_id}"},
    )
