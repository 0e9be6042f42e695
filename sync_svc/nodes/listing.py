"""ListNodes: who syncs with our surfaces, from what the local store remembers."""

from __future__ import annotations

from workspace.sync.v1.node_pb2 import Node, NodeStatus
from workspace.sync.v1.sync_service_pb2 import ListNodesRequest, ListNodesResponse

from services.kernel import Kernel
from services.model.errors import permission_denied
from services.records.instance import read_instance
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size
from sync_svc.connections.access import ConnectionAccess
from sync_svc.nodes.rows import DAY_MS
from sync_svc.nodes.shape import known_nodes, message_of, own_message

__all__ = ["NodeListing"]


class NodeListing:
    """A node that is not seen for longer than the lease (settings) is SILENT."""

    def __init__(self, *, kernel: Kernel, access: ConnectionAccess) -> None:
        self._kernel = kernel
        self._access = access
        self._lease_ms = kernel.settings.sync_node_lease_days * DAY_MS

    async def list(self, request: ListNodesRequest) -> ListNodesResponse:
        """A page of nodes by id, this one included. Platform admins only."""
        if not await self._access.is_platform_admin():
            raise permission_denied("platform_admin", "nodes")
        call, tokens = current_call(), self._kernel.page_tokens
        after = tokens.open(call.method, call.user_id, request, request.page_token)
        nodes = [
            each
            for each in await _nodes(self._kernel, self._lease_ms)
            if each.node_id > after
            and request.status in (NodeStatus.NODE_STATUS_UNSPECIFIED, each.status)
        ]
        wanted = page_size(request)
        answer = ListNodesResponse(nodes=nodes[:wanted])
        if len(nodes) > wanted:
            answer.next_page_token = tokens.issue(
                call.method, call.user_id, request, nodes[wanted - 1].node_id
            )
        return answer


async def _nodes(kernel: Kernel, lease_ms: int) -> list[Node]:
    now = int(kernel.now() * 1000)
    own = await read_instance(kernel.records.driver)
    assert own is not None, "a store that serves has its instance row"
    known = {each.instance_id: each for each in await known_nodes(kernel.records)}
    seen = known.pop(own.instance_id, None)
    myself = own_message(own, seen, now_ms=now)
    others = [
        message_of(each, now_ms=now, own=seen, lease_ms=lease_ms) for each in known.values()
    ]
    return sorted([myself, *others], key=lambda node: node.node_id)
