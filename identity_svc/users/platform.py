"""The platform admin: an application record, made once by the local secret."""

from __future__ import annotations

from workspace.identity.v1.identity_service_pb2 import (
    BootstrapPlatformAdminRequest,
    BootstrapPlatformAdminResponse,
)
from workspace.identity.v1.user_pb2 import PlatformAdmin

from identity_svc.directory import PLATFORM_ADMIN, timestamp
from identity_svc.settling import settle
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, permission_denied
from services.model.indexes import Index
from services.records.record import Activity, Write
from services.rpc.context import current_call
from services.tokens.local_secret import LocalSecret

__all__ = ["PlatformAdmins"]

_PK = "PLATFORM"


class PlatformAdmins:
    """See the module."""

    def __init__(self, kernel: Kernel, secret: LocalSecret) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._secret = secret

    async def bootstrap(
        self, request: BootstrapPlatformAdminRequest
    ) -> BootstrapPlatformAdminResponse:
        """Under `if_head`: of two callers at once one becomes the admin."""
        if not self._secret.matches(request.bootstrap_secret):
            raise permission_denied("bootstrap", "platformAdmins")
        kept = BootstrapPlatformAdminRequest()
        kept.CopyFrom(request)
        kept.ClearField("bootstrap_secret")  # not even its hash is stored
        mutation = self._kernel.mutations.begin(kept)
        user = current_call().user_id

        async def attempt() -> BootstrapPlatformAdminResponse:
            head = await self._records.head(_PK)
            await self._require_none()
            admin = PlatformAdmin(
                user_id=user,
                source="bootstrap",
                created_at=timestamp(self._kernel.now()),
                created_by=user,
            )
            return await mutation.commit(
                _PK,
                [Write(PLATFORM_ADMIN, admin)],
                activity=Activity("platform_admin.created", f"platformAdmins/{user}"),
                answer=lambda records: BootstrapPlatformAdminResponse(
                    platform_admin=records[0].shown()
                ),
                if_head=head,
            )

        return await settle(mutation, _PK, BootstrapPlatformAdminResponse, attempt)

    async def _require_none(self) -> None:
        page = await self._records.query(
            PLATFORM_ADMIN, Index.BASE, _PK, prefix="ADMIN#", limit=1
        )
        if page.records:
            raise WorkspaceError(
                Reason.ERROR_REASON_ALREADY_EXISTS,
                "the deployment has a platform admin; ask that person",
                metadata={"resource": "platformAdmins"},
            )
