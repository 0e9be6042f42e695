"""RevokeTransfers: outstanding URLs of a project, or of all, become useless.

Our data plane refuses URLs of an earlier epoch of their project, and URLs whose
signing key is gone. A provider's own data plane is told neither: there the
answer says honestly that URLs end at their expiry.
"""

from __future__ import annotations

import asyncio

from workspace.common.v1.permission_pb2 import Permission
from workspace.storage.v1.storage_service_pb2 import (
    RevocationMethod,
    RevocationResult,
    RevokeTransfersRequest,
    RevokeTransfersResponse,
)

from services.kernel import Kernel
from services.model.errors import permission_denied
from services.objects.keyring import Keyring, Purpose
from services.objects.tokens import max_seconds
from services.records.record import Activity
from services.rpc.context import current_call
from storage_svc.epochs import DEPLOYMENT, Epochs
from storage_svc.gate import ProjectGate
from storage_svc.people import People
from storage_svc.upload_rows import moment

__all__ = ["KEY_SECONDS", "Revoking"]

KEY_SECONDS = 5
"""Within this a rotation of keys is seen by every process of the folder."""


class Revoking:
    """See the module."""

    def __init__(
        self, *, kernel: Kernel, gate: ProjectGate, people: People, epochs: Epochs
    ) -> None:
        self._kernel = kernel
        self._gate = gate
        self._people = people
        self._epochs = epochs

    async def revoke(self, request: RevokeTransfersRequest) -> RevokeTransfersResponse:
        """Revoke, then note it: a call that is cut off is repeated, and revoking
        twice harms nobody."""
        await self._authorise(request.project_id)
        mutation = self._kernel.mutations.begin(request)
        pk = f"TRANSFERS#{request.project_id or DEPLOYMENT}"
        if done := await mutation.replay(pk, RevokeTransfersResponse):
            return done
        now = self._kernel.now()
        await self._epochs.advance(
            request.project_id or DEPLOYMENT, by=current_call().user_id, note=request.note
        )
        if not request.project_id and self._is_ours:
            await asyncio.to_thread(_rotate, self._kernel)
        answer = RevokeTransfersResponse(
            revoked_before=moment(now), results=[self._result(request, now)]
        )
        resource = f"projects/{request.project_id}" if request.project_id else "transfers"
        return await mutation.commit(
            pk,
            [],
            activity=Activity("transfers.revoked", resource, project_id=request.project_id),
            answer=lambda _: answer,
        )

    async def _authorise(self, project_id: str) -> None:
        if project_id:
            await self._gate.require(
                Permission.PERMISSION_OWNER, project_id, f"projects/{project_id}"
            )
        elif not await self._people.is_platform_admin(current_call().user_id):
            raise permission_denied("platform_admin", "transfers")

    @property
    def _is_ours(self) -> bool:
        return self._kernel.objects.capabilities.revocable_urls

    def _result(self, request: RevokeTransfersRequest, now: float) -> RevocationResult:
        result = RevocationResult(storage_provider=self._kernel.settings.provider)
        if not self._is_ours:
            longest = min(max_seconds("PUT"), self._kernel.objects.capabilities.max_url_seconds)
            result.method = RevocationMethod.REVOCATION_METHOD_EXPIRY_ONLY
            result.effective_at.CopyFrom(moment(now + longest))
        elif request.project_id:
            result.method = RevocationMethod.REVOCATION_METHOD_DATA_PLANE
            result.effective_at.CopyFrom(moment(now))
        else:
            result.method = RevocationMethod.REVOCATION_METHOD_KEY_REVOKED
            result.effective_at.CopyFrom(moment(now + KEY_SECONDS))
        return result


def _rotate(kernel: Kernel) -> None:
    """New keys for both purposes; no former one stays valid."""
    keyring = Keyring.open(kernel.keys_dir, create=False)
    for purpose in Purpose:
        keyring.rotate(purpose, keep_previous=False)
