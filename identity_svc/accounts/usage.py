"""GetUsage: what an account holds, as storage_svc counts it, against its quotas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from workspace.identity.v1.account_pb2 import AccountCapability, UsageRow
from workspace.identity.v1.account_service_pb2 import (
    GetUsageRequest,
    GetUsageResponse,
    UsageGrouping,
)
from workspace.project.v1.project_service_pb2 import BatchGetBillingScopesRequest
from workspace.storage.v1.storage_service_pb2 import GetHomeUsageRequest, HomeUsage

from identity_svc.accounts.rules import require_capability
from identity_svc.directory import Directory
from services.kernel import Kernel
from services.model.errors import permission_denied
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size

if TYPE_CHECKING:  # the generated classes exist for type checkers only
    from workspace.project.v1.project_service_pb2_grpc import ProjectServiceAsyncStub
    from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceAsyncStub

__all__ = ["Usage"]

_MANAGE = AccountCapability.ACCOUNT_CAPABILITY_MANAGE_ACCOUNT
_PAGE = 500


class Usage:
    """See the module."""

    def __init__(
        self,
        kernel: Kernel,
        directory: Directory,
        *,
        projects: ProjectServiceAsyncStub,
        storage: StorageServiceAsyncStub,
    ) -> None:
        self._tokens = kernel.page_tokens
        self._directory = directory
        self._projects = projects
        self._storage = storage

    async def get(self, request: GetUsageRequest) -> GetUsageResponse:
        """Rows by project id, or by billing scope; one row for the account."""
        await self._authorise(request.account_id)
        call = current_call()
        after = self._tokens.open(call.method, call.user_id, request, request.page_token)
        total, held = await self._held(request)
        rows = await self._rows(request, total, held)
        account = await self._directory.account(request.account_id)
        answer = GetUsageResponse(total=_row(total))
        if account is not None:
            answer.quota_bytes = account.message.quota_bytes
            answer.quota_documents = account.message.quota_documents
        left = [row for row in rows if not after or _id_of(row) > after]
        wanted = page_size(request)
        answer.rows.extend(left[:wanted])
        if len(left) > wanted:
            answer.next_page_token = self._tokens.issue(
                call.method, call.user_id, request, _id_of(left[wanted - 1])
            )
        return answer

    async def _authorise(self, account_id: str) -> None:
        caller = current_call().user_id
        if await self._directory.is_platform_admin(caller):
            if await self._directory.account(account_id) is None:
                raise permission_denied("manage_account", f"accounts/{account_id}")
            return
        place = await self._directory.account_place(account_id, caller)
        require_capability(place, _MANAGE, f"accounts/{account_id}")

    async def _held(self, request: GetUsageRequest) -> tuple[HomeUsage, list[HomeUsage]]:
        """The whole home and its projects. One row per project, far fewer than
        documents: they are read in full, so that scopes are summed exactly."""
        asked = GetHomeUsageRequest(
            home_id=request.account_id, project_id=request.project_id, page_size=_PAGE
        )
        held: list[HomeUsage] = []
        while True:
            answer = await self._storage.GetHomeUsage(asked)
            held.extend(answer.projects)
            if not answer.next_page_token:
                return answer.total, held
            asked.page_token = answer.next_page_token

    async def _rows(
        self, request: GetUsageRequest, total: HomeUsage, held: list[HomeUsage]
    ) -> list[UsageRow]:
        grouping = request.group_by
        if grouping in (
            UsageGrouping.USAGE_GROUPING_UNSPECIFIED,
            UsageGrouping.USAGE_GROUPING_ACCOUNT,
        ):
            whole = _sum(held) if request.project_id else total
            return [_row(whole)]
        scopes = await self._scopes([each.project_id for each in held])
        if grouping == UsageGrouping.USAGE_GROUPING_PROJECT:
            return [
                _row(each, project_id=each.project_id, scope=scopes.get(each.project_id, ""))
                for each in held
            ]
        by_scope: dict[str, list[HomeUsage]] = {}
        for each in held:
            by_scope.setdefault(scopes.get(each.project_id, ""), []).append(each)
        return [_row(_sum(parts), scope=scope) for scope, parts in sorted(by_scope.items())]

    async def _scopes(self, project_ids: list[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for at in range(0, len(project_ids), _PAGE):
            answer = await self._projects.BatchGetBillingScopes(
                BatchGetBillingScopesRequest(project_ids=project_ids[at : at + _PAGE])
            )
            found.update(answer.billing_scopes)
        return found


def _sum(parts: Iterable[HomeUsage]) -> HomeUsage:
    whole = HomeUsage()
    for part in parts:
        whole.documents += part.documents
        whole.bytes += part.bytes
        whole.reserved_documents += part.reserved_documents
        whole.reserved_bytes += part.reserved_bytes
    return whole


def _row(usage: HomeUsage, *, project_id: str = "", scope: str = "") -> UsageRow:
    return UsageRow(
        project_id=project_id,
        billing_scope=scope,
        documents=usage.documents,
        bytes=usage.bytes,
        reserved_documents=usage.reserved_documents,
        reserved_bytes=usage.reserved_bytes,
    )


def _id_of(row: UsageRow) -> str:
    """Where a row is in the order; the row of projects without scope is first."""
    return row.project_id or f"#{row.billing_scope}"
