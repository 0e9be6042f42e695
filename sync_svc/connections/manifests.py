"""Registering, reading, changing and forgetting connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from google.protobuf.message import Message
from workspace.sync.v1.connection_pb2 import (
    Connection,
    ConnectionStatus,
    SyncScope,
    SyncScopeType,
    Trust,
)
from workspace.sync.v1.connection_service_pb2 import (
    CreateConnectionRequest,
    CreateConnectionResponse,
    DeleteConnectionRequest,
    DeleteConnectionResponse,
    GetConnectionRequest,
    GetConnectionResponse,
    ListConnectionsRequest,
    ListConnectionsResponse,
    UpdateConnectionRequest,
    UpdateConnectionResponse,
)

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, invalid_field
from services.records.deciding import Still
from services.records.mutation import Mutation
from services.records.record import Activity
from services.rpc.context import current_call
from services.rpc.field_masks import apply_mask
from services.rpc.page_tokens import page_size
from sync_svc.connections.access import ConnectionAccess, denied
from sync_svc.connections.connections import ActiveRun, Connections, moment
from sync_svc.connections.forgetting import forget_state
from sync_svc.connections.providers import PROVIDERS, normalise, places_of
from sync_svc.connections.reach import Reach
from sync_svc.connections.registry import Change, ConnectionRegistry, Stored, connection_pk
from sync_svc.connections.secrets import refuse_secrets_in
from sync_svc.connections.stores import own_stores

__all__ = ["Manifests"]

M = TypeVar("M", bound=Message)
_SERVER_SET: Final = frozenset(
    {"connection_id", "provider", "instance", "last_reached_at", "created_by", "created_at",
     "updated_by", "updated_at"}
)  # fmt: skip
_OVERTAKEN = (Reason.ERROR_REASON_ALREADY_EXISTS, Reason.ERROR_REASON_ETAG_MISMATCH)
_METHOD = "ListConnections"
_WHOLE = SyncScope(type=SyncScopeType.SYNC_SCOPE_TYPE_ALL)


class Manifests:
    """See the module. `active_run` says which run holds a connection."""

    def __init__(
        self, *, kernel: Kernel, registry: ConnectionRegistry, access: ConnectionAccess,
        connections: Connections, active_run: ActiveRun,
    ) -> None:  # fmt: skip
        self._kernel = kernel
        self._registry = registry
        self._access = access
        self._connections = connections
        self._active_run = active_run
        self._reach = Reach.of(kernel.settings)
        self._own = own_stores(kernel.settings)
        # One decision at a time in this process: whether a surface is taken is
        # read from all connections. (Two processes at the same moment could both
        # register one: conditional writes keep the surface whole all the same.)
        self._deciding = asyncio.Lock()

    async def create(self, request: CreateConnectionRequest) -> CreateConnectionResponse:
        admin = await self._access.is_platform_admin()
        connection = _given(request.connection)
        await self._scope(connection, admin=admin)
        mutation = self._kernel.mutations.begin(request)
        connection.connection_id = connection.connection_id or _made_id(mutation, connection)
        pk = connection_pk(connection.connection_id)
        if done := await mutation.replay(pk, CreateConnectionResponse):
            return done
        self._check(connection, admin=admin)
        by, at = current_call().user_id, moment(self._kernel.now())
        connection.created_by = connection.updated_by = by
        connection.created_at.CopyFrom(at)
        connection.updated_at.CopyFrom(at)
        async with self._deciding:
            return await self._created(mutation, connection, admin=admin)

    async def get(self, request: GetConnectionRequest) -> GetConnectionResponse:
        return GetConnectionResponse(
            connection=await self._connections.allowed(request.connection_id)
        )

    async def list(self, request: ListConnectionsRequest) -> ListConnectionsResponse:
        """Everybody owns at least a personal workspace, so that nobody is refused."""
        tokens, caller = self._kernel.page_tokens, current_call().user_id
        after = tokens.open(_METHOD, caller, request, request.page_token)
        visible = await self._connections.visible()
        found = [each for each in visible if each.connection_id > after and _wanted(each, request)]
        limit = page_size(request)
        answer = ListConnectionsResponse(connections=found[:limit])
        if len(found) > limit:
            answer.next_page_token = tokens.issue(
                _METHOD, caller, request, found[limit - 1].connection_id
            )
        return answer

    async def update(self, request: UpdateConnectionRequest) -> UpdateConnectionResponse:
        connection_id = request.connection.connection_id
        found = await self._connections.found(connection_id)
        admin = await self._access.is_platform_admin()
        mutation = self._kernel.mutations.begin(request)
        if done := await mutation.replay(connection_pk(connection_id), UpdateConnectionResponse):
            return done
        _require_etag(found, request.connection.etag)
        after = found.edit()
        paths = apply_mask(after, request.connection, request.update_mask, server_set=_SERVER_SET)
        after = await self._updated(found, after, admin=admin)
        await self._require_free(connection_id)
        after.updated_by = current_call().user_id
        after.updated_at.CopyFrom(moment(self._kernel.now()))
        still = self._still(admin, connection_id, found.connection.scope, after.scope)
        change = Change(found, after, _activity("updated", after), still)
        async with self._deciding:
            if any(path.split(".")[0] == "settings" for path in paths):
                await self._require_unused(after)
            return await self._apply(
                mutation, change, UpdateConnectionResponse,
                lambda shown: UpdateConnectionResponse(connection=shown),
            )

    async def delete(self, request: DeleteConnectionRequest) -> DeleteConnectionResponse:
        """Forget the cursors first: a connection without them begins with a full
        reconcile, but cursors without their connection would meet a later one."""
        pk = connection_pk(request.connection_id)
        mutation = self._kernel.mutations.begin(request)
        found = await self._registry.get(request.connection_id)
        if found is None:
            # Who removed it may hear so again; it has no scope to ask about any more.
            if done := await mutation.replay(pk, DeleteConnectionResponse):
                return done
            await self._access.require(None, request.connection_id)
            raise denied(request.connection_id)
        await self._access.require(found.connection.scope, request.connection_id)
        if done := await mutation.replay(pk, DeleteConnectionResponse):
            return done
        _require_etag(found, request.etag)
        await self._require_free(request.connection_id)
        await forget_state(self._kernel.records, request.connection_id)
        still = self._still(False, request.connection_id, found.connection.scope)
        change = Change(found, None, _activity("deleted", found.connection), still)
        return await self._apply(
            mutation, change, DeleteConnectionResponse, lambda _: DeleteConnectionResponse()
        )

    async def _created(
        self, mutation: Mutation, connection: Connection, *, admin: bool
    ) -> CreateConnectionResponse:
        await self._require_unused(connection)
        still = self._still(admin, "", connection.scope)
        return await self._apply(
            mutation, Change(None, connection, _activity("created", connection), still),
            CreateConnectionResponse,
            lambda shown: CreateConnectionResponse(connection=shown),
        )

    def _still(self, admin: bool, connection_id: str, *scopes: SyncScope) -> Still:
        """What allowed the change, asked again: memberships and roles lie elsewhere."""

        async def decide() -> None:
            if admin:
                await self._access.require_platform_admin(connection_id)
            else:
                for scope in scopes:
                    await self._access.require(scope, connection_id)

        return decide

    async def _apply(
        self, mutation: Mutation, change: Change, kind: type[M],
        answer: Callable[[Connection | None], M],
    ) -> M:  # fmt: skip
        """Change, or give the answer of the very same call that was quicker."""
        try:
            return await self._registry.change(mutation, change, answer)
        except WorkspaceError as error:
            if error.reason not in _OVERTAKEN:
                raise
            done = await mutation.replay(connection_pk(change.connection_id), kind)
            if done is None:
                raise
            return done

    async def _updated(self, found: Stored, after: Connection, *, admin: bool) -> Connection:
        """The manifest with its new values, checked as far as they are new."""
        before = found.connection
        after = _given(after, keep=before)
        if after.scope != before.scope:
            await self._scope(after, admin=admin)
        same = dict(after.settings) == dict(before.settings) and after.trust == before.trust
        if after.trust == Trust.TRUST_FULL:  # that was given for what it covered
            same = same and after.scope == before.scope
        self._check(after, admin=admin or same)
        return after

    async def _scope(self, connection: Connection, *, admin: bool) -> None:
        """Fill in the default, and require that the caller may sync that much."""
        scope = connection.scope
        if scope.type == SyncScopeType.SYNC_SCOPE_TYPE_UNSPECIFIED:
            scope.CopyFrom(_WHOLE if admin else await self._owned())
        if not admin and not await self._access.owns(scope):
            raise denied()

    async def _owned(self) -> SyncScope:
        accounts = await self._access.owned_accounts()
        return SyncScope(type=SyncScopeType.SYNC_SCOPE_TYPE_ACCOUNTS, account_ids=accounts)

    def _check(self, connection: Connection, *, admin: bool) -> None:
        """Secrets first, so that nothing repeats one; then what the provider says."""
        refuse_secrets_in(connection)
        data_dir = self._kernel.settings.data_dir.absolute()
        normalise(connection, base=data_dir.parent, data_dir=data_dir, own=self._own)
        connection.name = connection.name or PROVIDERS[connection.provider].label
        if not admin:
            self._reach.check(connection)

    async def _require_unused(self, connection: Connection) -> None:
        places = places_of(connection)
        for each in await self._registry.everything():
            other = each.connection
            if other.connection_id != connection.connection_id and places & places_of(other):
                raise WorkspaceError(
                    Reason.ERROR_REASON_ALREADY_EXISTS,
                    "another connection opens the same surface; use that one, or name another "
                    "folder, database, table, bucket or container",
                    metadata={"resource": f"connections/{connection.connection_id}"},
                )

    async def _require_free(self, connection_id: str) -> None:
        run_id = await self._active_run(connection_id)
        if run_id:
            raise WorkspaceError(
                Reason.ERROR_REASON_RUN_ACTIVE,
                f"the run {run_id} holds this connection; wait for its end or cancel it",
                metadata={"resource": f"runs/{run_id}", "run_id": run_id},
            )


def _given(given: Connection, *, keep: Connection | None = None) -> Connection:
    """What a client may set, with defaults, and what `keep` has of the server's."""
    connection = Connection()
    connection.CopyFrom(given)
    connection.ClearField("etag")
    if keep is None:
        for name in _SERVER_SET - {"connection_id", "provider"}:
            connection.ClearField(name)  # type: ignore[arg-type]
    connection.trust = connection.trust or Trust.TRUST_CONTENT_ONLY
    connection.status = connection.status or ConnectionStatus.CONNECTION_STATUS_ACTIVE
    changed = ConnectionStatus.CONNECTION_STATUS_SURFACE_CHANGED
    if connection.status == changed and (keep is None or keep.status != changed):
        raise invalid_field("connection.status", "is ACTIVE or PAUSED; the rest is the server's")
    return connection


def _made_id(mutation: Mutation, connection: Connection) -> str:
    made = mutation.new_id("c")
    provider = PROVIDERS.get(connection.provider)
    return made.replace("_", "-") if provider is not None and provider.variables else made


def _wanted(connection: Connection, request: ListConnectionsRequest) -> bool:
    return request.provider in ("", connection.provider) and request.status in (
        ConnectionStatus.CONNECTION_STATUS_UNSPECIFIED, connection.status,
    )  # fmt: skip


def _require_etag(found: Stored, etag: str) -> None:
    if etag and etag != found.etag:
        resource = f"connections/{found.connection.connection_id}"
        raise WorkspaceError(
            Reason.ERROR_REASON_ETAG_MISMATCH,
            f"{resource} changed since it was read; read it again and repeat",
            metadata={"resource": resource},
        )


def _activity(verb: str, connection: Connection) -> Activity:
    """Told to the account when the connection covers that one alone."""
    accounts: Sequence[str] = connection.scope.account_ids
    account_id = accounts[0] if len(accounts) == 1 else ""
    resource = f"connections/{connection.connection_id}"
    return Activity(f"connection.{verb}", resource, account_id=account_id)
