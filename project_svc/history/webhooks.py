"""Webhooks: registering, listing and ending them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workspace.identity.v1.account_pb2 import AccountCapability, AccountRole, MemberStatus
from workspace.project.v1.history_pb2 import Webhook
from workspace.project.v1.history_service_pb2 import (
    CreateWebhookRequest,
    CreateWebhookResponse,
    DeleteWebhookRequest,
    DeleteWebhookResponse,
    ListWebhooksRequest,
    ListWebhooksResponse,
)

from project_svc.access.gate import Access, ProjectAccess
from project_svc.history.event_types import check_event_types
from project_svc.history.webhook_rows import (
    ACTIVE,
    DELETED,
    WEBHOOK,
    find_webhook,
    home_of_project,
    live_webhooks,
    scope_pk,
    signing_secret,
    webhook_activity,
)
from project_svc.history.webhook_rows import holds_uploads as _holds_uploads
from project_svc.projects.homes import home_of
from project_svc.scans import scan
from services.events.egress import AddressRefused, Egress, PostFailed
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, invalid_field, permission_denied
from services.model.ids import NO_PROJECT
from services.model.indexes import Index
from services.model.permissions import MANAGE_ACCESS
from services.model.times import to_timestamp
from services.records.deciding import Still, deciding
from services.records.mutation import Mutation, require_etag
from services.records.record import Record, Write
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size

__all__ = ["MOST_WEBHOOKS", "Webhooks"]

MOST_WEBHOOKS = 20
_MANAGE = AccountCapability.ACCOUNT_CAPABILITY_MANAGE_ACCOUNT
_OWNER = AccountRole.ACCOUNT_ROLE_OWNER
_MEMBER = MemberStatus.MEMBER_STATUS_ACTIVE


@dataclass(frozen=True, slots=True)
class _Scope:
    """A project or account whose webhooks the caller may manage. `account_id` is
    the account concerned, for the activity; `still` decides again for a commit."""

    pk: str
    account_id: str
    still: Still


class Webhooks:
    """The use cases of webhooks. `egress` judges addresses."""

    def __init__(self, *, kernel: Kernel, access: Access, egress: Egress) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._access = access
        self._egress = egress

    async def create(self, request: CreateWebhookRequest) -> CreateWebhookResponse:
        """Raises INVALID_FIELD for an address inside of a network, and
        LIMIT_EXCEEDED over 20 in one scope."""
        check_event_types(request.event_types)
        mutation = self._kernel.mutations.begin(request)
        scope = await self._scope(
            request.project_id, request.account_id, hold=request.document_ready_hold
        )
        done = await mutation.replay(scope.pk, CreateWebhookResponse)
        if done is None:
            await self._check_url(request.url)
            done = await deciding(lambda: self._add(request, mutation, scope))
        # Derived again, and set after the answer was stored without it.
        done.signing_secret = signing_secret(self._kernel.instance_key, done.webhook.webhook_id)
        return done

    async def list(self, request: ListWebhooksRequest) -> ListWebhooksResponse:
        """Those that are not deleted, by id."""
        call, tokens = current_call(), self._kernel.page_tokens
        scope = await self._scope(request.project_id, request.account_id)
        found = await scan(
            self._records, WEBHOOK, Index.BASE, scope.pk, prefix="WEBHOOK#",
            limit=page_size(request),
            position=tokens.open(call.method, call.user_id, request, request.page_token),
            weight=lambda record: int(record.message.status != DELETED),
        )  # fmt: skip
        answer = ListWebhooksResponse(webhooks=[record.shown() for record in found.records])
        if found.next:
            answer.next_page_token = tokens.issue(call.method, call.user_id, request, found.next)
        return answer

    async def delete(self, request: DeleteWebhookRequest) -> DeleteWebhookResponse:
        """Raises NOT_FOUND for one that was deleted before, told to who may know."""
        mutation = self._kernel.mutations.begin(request)

        async def attempt() -> DeleteWebhookResponse:
            record, scope = await self._managed(request.webhook_id)
            if done := await mutation.replay(scope.pk, DeleteWebhookResponse):
                return done
            if record.message.status == DELETED:
                raise WorkspaceError(
                    Reason.ERROR_REASON_NOT_FOUND,
                    f"webhooks/{request.webhook_id} was deleted",
                    metadata={"resource": f"webhooks/{request.webhook_id}"},
                )
            require_etag(record, request.etag, f"webhooks/{request.webhook_id}")
            return await self._end(record, mutation, scope)

        return await deciding(attempt)

    async def holds_uploads(self, project_id: str) -> bool:
        """See `webhook_rows.holds_uploads`."""
        return await _holds_uploads(self._records, project_id)

    async def _add(
        self, request: CreateWebhookRequest, mutation: Mutation, scope: _Scope
    ) -> CreateWebhookResponse:
        head = await self._records.head(scope.pk)
        if done := await mutation.replay(scope.pk, CreateWebhookResponse):
            return done
        live = [record async for record in live_webhooks(self._records, scope.pk)]
        if len(live) >= MOST_WEBHOOKS:
            raise WorkspaceError(
                Reason.ERROR_REASON_LIMIT_EXCEEDED,
                f"there are {MOST_WEBHOOKS} webhooks here, no more fit; delete one first",
                metadata={"limit": "webhooks", "maximum": str(MOST_WEBHOOKS)},
            )
        webhook = self._webhook(request, mutation.new_id("h"))
        if request.project_id:  # under the head: a move at the same time is seen
            webhook.home_id = await home_of_project(self._records, request.project_id)
        return await mutation.commit(
            scope.pk,
            [Write(WEBHOOK, webhook)],
            activity=webhook_activity("created", webhook, account_id=scope.account_id),
            answer=lambda records: CreateWebhookResponse(webhook=_shown(records)),
            if_head=head,
            still=scope.still,
        )

    def _webhook(self, request: CreateWebhookRequest, webhook_id: str) -> Webhook:
        now, user_id = to_timestamp(self._access.now()), current_call().user_id
        return Webhook(
            webhook_id=webhook_id,
            account_id=request.account_id,
            project_id=request.project_id,
            url=request.url,
            event_types=request.event_types,
            description=request.description,
            status=ACTIVE,
            created_by=user_id,
            created_at=now,
            updated_by=user_id,
            updated_at=now,
            document_ready_hold=request.document_ready_hold,
        )

    async def _end(
        self, record: Record[Webhook], mutation: Mutation, scope: _Scope
    ) -> DeleteWebhookResponse:
        webhook = record.edit()
        webhook.status = DELETED
        webhook.updated_by = current_call().user_id
        webhook.updated_at.CopyFrom(to_timestamp(self._access.now()))
        return await mutation.commit(
            scope.pk,
            [Write(WEBHOOK, webhook, base=record)],
            activity=webhook_activity("deleted", webhook, account_id=scope.account_id),
            answer=lambda records: DeleteWebhookResponse(webhook=_shown(records)),
            still=scope.still,
        )

    async def _managed(self, webhook_id: str) -> tuple[Record[Webhook], _Scope]:
        """The webhook, if the caller may manage it; absent is forbidden."""
        denied = permission_denied("manage_access", f"webhooks/{webhook_id}")
        record = await find_webhook(self._records, webhook_id)
        webhook = record.message if record else Webhook(project_id=NO_PROJECT)
        try:
            scope = await self._scope(webhook.project_id, webhook.account_id)
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_PERMISSION_DENIED:
                raise
            raise denied from None
        if record is None:
            raise denied
        return record, scope

    async def _scope(self, project_id: str, account_id: str, *, hold: bool = False) -> _Scope:
        """Raises PERMISSION_DENIED without `manage_access` or `manage_account`;
        a hold of a project's uploads needs the right of its home."""

        async def decide() -> str:
            if project_id:
                found = await self._access.require(project_id, MANAGE_ACCESS)
                if hold:
                    _require_home_right(found)
                return found.project.account_id
            user = await self._access.facts.user(current_call().user_id, accounts=[account_id])
            home_of(account_id, user.raw[account_id], personal=False).require(_MANAGE)
            return account_id

        pk = scope_pk(project_id=project_id, account_id=account_id)
        return _Scope(pk, await decide(), decide)

    async def _check_url(self, url: str) -> None:
        try:
            await self._egress.check(url)
        except (AddressRefused, PostFailed) as error:
            raise invalid_field("url", f"{error}; give a public https address") from None


def _require_home_right(found: ProjectAccess) -> None:
    """Raises PERMISSION_DENIED without `manage_account` of the home account, or,
    in a private workspace, without owning it."""
    project = found.project
    if project.account_id:
        fact = found.user.raw[project.account_id]
        home_of(project.account_id, fact, personal=False).require(_MANAGE)
        return
    fact = found.user.raw[project.workspace_id]
    if (fact.account_member_status, fact.account_role) != (_MEMBER, _OWNER):
        raise permission_denied("owner", f"workspaces/{project.workspace_id}")


def _shown(records: Sequence[Record[Any]]) -> Webhook:
    return records[0].shown()  # type: ignore[no-any-return]
