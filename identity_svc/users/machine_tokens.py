"""Machine tokens of a user: made once, listed without secrets, revoked for good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.duration_pb2 import Duration
from workspace.common.v1.consistency_pb2 import Consistency
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.identity_service_pb2 import (
    CreateMachineTokenRequest,
    CreateMachineTokenResponse,
    ListMachineTokensRequest,
    ListMachineTokensResponse,
    RevokeMachineTokenRequest,
    RevokeMachineTokenResponse,
)
from workspace.identity.v1.machine_token_pb2 import MachineToken, MachineTokenStatus
from workspace.project.v1.permission_service_pb2 import BatchCheckPermissionsRequest, CheckItem

from identity_svc.accounts.rules import is_active
from identity_svc.directory import Directory, not_found, timestamp, user_pk
from identity_svc.listing import Pager, every
from identity_svc.settling import settle
from identity_svc.users.users import require_self_or_admin
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, permission_denied
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.model.names import validate_name
from services.records.mutation import require_etag
from services.records.port import Key
from services.records.record import Activity, Page, Record, Write
from services.rpc.context import current_call
from services.tokens.machine import MachineSecret, owner_of

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceAsyncStub

__all__ = ["MachineTokens"]

MAX_ACTIVE: Final = 100
DEFAULT_SECONDS: Final = 90 * 24 * 3600
_AT_ONCE: Final = 50
_FAMILY = FAMILIES["machine_token"]
_STATUS = MachineTokenStatus
_ACTIVE = _STATUS.MACHINE_TOKEN_STATUS_ACTIVE
_REVOKED = _STATUS.MACHINE_TOKEN_STATUS_REVOKED
_EXPIRED = _STATUS.MACHINE_TOKEN_STATUS_EXPIRED


class MachineTokens:
    """See the module. `permissions` answers what the caller reaches."""

    def __init__(
        self, kernel: Kernel, directory: Directory, permissions: PermissionServiceAsyncStub
    ) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory
        self._permissions = permissions
        self._pager = Pager(kernel)

    async def create(self, request: CreateMachineTokenRequest) -> CreateMachineTokenResponse:
        """The request row keeps the record; the secret is derived for the answer."""
        call = current_call()
        if call.caller is None or call.caller.scope is not None:
            raise permission_denied("create_machine_token", f"users/{call.user_id}")
        user, pk = call.user_id, user_pk(call.user_id)
        mutation = self._kernel.mutations.begin(request)
        secret = MachineSecret.derive(self._kernel.instance_key, user, mutation.new_id("k"))

        async def attempt() -> CreateMachineTokenResponse:
            head = await self._records.head(pk)
            await self._require_room(user)
            await self._require_reached(request, user)
            return await mutation.commit(
                pk,
                [Write(_FAMILY, self._new(request, secret))],
                activity=Activity("machine_token.created", f"machineTokens/{secret.token_id}"),
                answer=lambda records: CreateMachineTokenResponse(
                    machine_token=self._shown(records[0])
                ),
                if_head=head,
            )

        answer = await settle(mutation, pk, CreateMachineTokenResponse, attempt)
        answer.machine_token.ClearField("secret_sha256")
        answer.secret = secret.text
        return answer

    async def list_of_user(self, request: ListMachineTokensRequest) -> ListMachineTokensResponse:
        user = request.user_id or current_call().user_id
        await require_self_or_admin(self._directory, user, "list_machine_tokens")

        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._records.query(
                _FAMILY, Index.BASE, user_pk(user), prefix="MACHINE#", limit=limit, after=after
            )

        async def keep(rows: Sequence[Record[MachineToken]]) -> list[MachineToken]:
            shown = [self._shown(row) for row in rows]
            return [each for each in shown if request.status in (0, each.status)]

        page = await self._pager.page(request, query, keep)
        return ListMachineTokensResponse(
            machine_tokens=page.items, next_page_token=page.next_page_token
        )

    async def revoke(self, request: RevokeMachineTokenRequest) -> RevokeMachineTokenResponse:
        resource = f"machineTokens/{request.token_id}"
        user = owner_of(request.token_id)
        if not await self._may_revoke(user):
            raise permission_denied("revoke_machine_token", resource)
        mutation, pk = self._kernel.mutations.begin(request), user_pk(user)

        async def attempt() -> RevokeMachineTokenResponse:
            head = await self._records.head(pk)
            base = await self._token(user, request.token_id, resource)
            require_etag(base, request.etag, resource)
            is_revoked = base.message.status == _REVOKED
            return await mutation.commit(
                pk,
                [] if is_revoked else [self._revoked(base)],
                activity=Activity("machine_token.revoked", resource),
                answer=lambda records: RevokeMachineTokenResponse(
                    machine_token=self._shown(records[0] if records else base)
                ),
                if_head=head,
            )

        answer = await settle(mutation, pk, RevokeMachineTokenResponse, attempt)
        answer.machine_token.ClearField("secret_sha256")
        return answer

    async def _may_revoke(self, user: str) -> bool:
        caller = current_call().user_id
        return user == caller or await self._directory.is_platform_admin(caller)

    async def _token(self, user: str, token_id: str, resource: str) -> Record[MachineToken]:
        found: Record[MachineToken] | None = None
        if user:
            found = await self._records.get(_FAMILY, Key(user_pk(user), f"MACHINE#{token_id}"))
        if found is not None:
            return found
        if user == current_call().user_id:
            raise permission_denied("revoke_machine_token", resource)
        raise not_found(resource)

    async def _require_room(self, user: str) -> None:
        """Under `if_head`: of two tokens at once, one finds the room taken."""

        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._records.query(
                _FAMILY, Index.BASE, user_pk(user), prefix="MACHINE#", limit=limit, after=after
            )

        rows = await every(query, at_most=100_000)
        if sum(self._status(row.message) == _ACTIVE for row in rows) >= MAX_ACTIVE:
            raise WorkspaceError(
                Reason.ERROR_REASON_LIMIT_EXCEEDED,
                f"you have {MAX_ACTIVE} active machine tokens; revoke one first",
                metadata={"limit": "machine_tokens", "maximum": str(MAX_ACTIVE)},
            )

    async def _require_reached(self, request: CreateMachineTokenRequest, user: str) -> None:
        for account_id in request.account_ids:
            place = await self._directory.account_place(account_id, user)
            if place.account is None or not is_active(place.member):
                raise _exceeds(f"accounts/{account_id}")
        ids = list(request.project_ids)
        for at in range(0, len(ids), _AT_ONCE):
            await self._require_projects(ids[at : at + _AT_ONCE])

    async def _require_projects(self, project_ids: list[str]) -> None:
        view = Permission.PERMISSION_VIEW
        items = [CheckItem(project_id=each, permission=view) for each in project_ids]
        answer = await self._permissions.BatchCheckPermissions(
            BatchCheckPermissionsRequest(
                items=items, consistency=Consistency(fully_consistent=True)
            )
        )
        for project_id, result in zip(project_ids, answer.results, strict=True):
            if not result.result.allowed:
                raise _exceeds(f"projects/{project_id}")

    def _new(self, request: CreateMachineTokenRequest, secret: MachineSecret) -> MachineToken:
        now = self._kernel.now()
        lifetime = request.lifetime if request.HasField("lifetime") else _default_lifetime()
        return MachineToken(
            token_id=secret.token_id,
            user_id=secret.user_id,
            name=validate_name("name", request.name),
            permissions=request.permissions,
            project_ids=request.project_ids,
            account_ids=request.account_ids,
            status=_ACTIVE,
            expires_at=timestamp(now + lifetime.ToTimedelta().total_seconds()),
            created_at=timestamp(now),
            created_by=secret.user_id,
            secret_sha256=secret.sha256,
        )

    def _revoked(self, base: Record[MachineToken]) -> Write[Any]:
        token = base.edit()
        token.status = _REVOKED
        token.revoked_at.CopyFrom(timestamp(self._kernel.now()))
        token.revoked_by = current_call().user_id
        return Write(_FAMILY, token, base)

    def _shown(self, record: Record[MachineToken]) -> MachineToken:
        shown = record.shown()
        shown.ClearField("secret_sha256")
        shown.status = self._status(record.message)
        return shown

    def _status(self, token: MachineToken) -> _STATUS.ValueType:
        if token.status == _ACTIVE and token.expires_at.ToNanoseconds() <= self._kernel.now() * 1e9:
            return _EXPIRED
        return token.status


def _default_lifetime() -> Duration:
    return Duration(seconds=DEFAULT_SECONDS)


def _exceeds(resource: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_EXCEEDS_OWN_RIGHTS,
        f"{resource} is not in your reach, so a token cannot be for it; leave it out",
        metadata={"permission": "view"},
    )
