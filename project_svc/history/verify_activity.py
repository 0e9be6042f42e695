"""The audit chains for those who check them: VerifyActivity, ListActivityCheckpoints,
ListActivityProofs.

Who can write to the database and makes a whole chain anew is found out by a checkpoint
alone, one that was kept where he cannot write.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from workspace.identity.v1.account_pb2 import AccountCapability
from workspace.project.v1.history_service_pb2 import (
    ActivityCheckpoint,
    ActivityFault,
    ActivityFaultKind,
    ActivityProof,
    ListActivityCheckpointsRequest,
    ListActivityCheckpointsResponse,
    ListActivityProofsRequest,
    ListActivityProofsResponse,
    VerifyActivityRequest,
    VerifyActivityResponse,
)

from project_svc.access.facts import project_pk
from project_svc.documents.changes import DocumentChanges
from project_svc.documents.rows import DOCUMENT, document_pk
from project_svc.history.activity_audit import checkpoint_of, events_of, verify_partition
from project_svc.projects.homes import home_of
from project_svc.scans import scan
from services.events.outbox import instance_of
from services.model.errors import Reason, WorkspaceError, invalid_field
from services.model.indexes import Index
from services.model.permissions import MANAGE_ACCESS
from services.model.seals import Checkpoint
from services.model.stamp import Stamp
from services.model.times import from_micros
from services.records.record import Head
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size

__all__ = ["ActivityCheck"]

_MANAGE = AccountCapability.ACCOUNT_CAPABILITY_MANAGE_ACCOUNT
_MOST_BYTES = 2 * 1024 * 1024
"""Of events in one page: a message has at most 4 MiB."""


class _Scope(Protocol):
    @property
    def project_id(self) -> str: ...
    @property
    def document_id(self) -> str: ...
    @property
    def account_id(self) -> str: ...


class ActivityCheck:
    """The use cases."""

    def __init__(self, *, changes: DocumentChanges) -> None:
        self._changes = changes
        self._records = changes.records
        self._tokens = changes.kernel.page_tokens

    async def verify(self, request: VerifyActivityRequest) -> VerifyActivityResponse:
        """Raises PERMISSION_DENIED, INVALID_FIELD for a checkpoint of another chain, and
        NOT_FOUND if nothing was ever written and no checkpoint says otherwise."""
        pk = await self._partition(request)
        kept = self._kept(pk, request.checkpoint)
        head = await self._records.head(pk)
        if head.token is None and kept is not None:
            return _all_gone(kept)
        _require_written(head)
        return await verify_partition(self._records, head, kept=kept, now=self._now())

    async def checkpoints(
        self, request: ListActivityCheckpointsRequest
    ) -> ListActivityCheckpointsResponse:
        """Of what was written, the project itself in the first page. Raises
        PERMISSION_DENIED and INVALID_PAGE_TOKEN."""
        call, pks = current_call(), [await self._partition(request)]
        position = self._tokens.open(call.method, call.user_id, request, request.page_token)
        answer = ListActivityCheckpointsResponse()
        if request.project_id:
            found = await scan(
                self._records, DOCUMENT, Index.PROJECT, project_pk(request.project_id),
                prefix="ARTIFACT#", limit=page_size(request), position=position,
            )  # fmt: skip
            pks = [] if position else pks
            pks += [document_pk(each.message.document_id) for each in found.records]
            if found.next:
                answer.next_page_token = self._tokens.issue(
                    call.method, call.user_id, request, found.next
                )
        for head in await self._records.heads(pks):
            if head.token is not None:
                text = self._checkpoint(head)
                answer.checkpoints.append(ActivityCheckpoint(partition=head.pk, text=text))
        return answer

    async def proofs(self, request: ListActivityProofsRequest) -> ListActivityProofsResponse:
        """The events as they are sealed. Raises PERMISSION_DENIED, INVALID_PAGE_TOKEN and
        NOT_FOUND if nothing was ever written."""
        call, pk = current_call(), await self._partition(request)
        position = self._tokens.open(call.method, call.user_id, request, request.page_token)
        head = await self._records.head(pk)
        _require_written(head)
        answer = ListActivityProofsResponse(checkpoint=self._checkpoint(head))
        room = _MOST_BYTES
        async for item in events_of(self._records, pk, after=position):
            room -= len(item.body.encode())
            full = len(answer.proofs) == page_size(request) or room < 0
            if full and answer.proofs:
                answer.next_page_token = self._tokens.issue(
                    call.method, call.user_id, request, answer.proofs[-1].key
                )
                break
            joined = bool(Stamp.load(item.stamp).origin)
            answer.proofs.append(ActivityProof(key=item.key.sk, content=item.body, joined=joined))
        return answer

    async def _partition(self, scope: _Scope) -> str:
        """What the request names, if the caller may check it."""
        if scope.document_id:
            await self._changes.require(scope.document_id, MANAGE_ACCESS)
            return document_pk(scope.document_id)
        if scope.project_id:
            await self._changes.access.require(scope.project_id, MANAGE_ACCESS)
            return project_pk(scope.project_id)
        account_id = scope.account_id
        user = await self._changes.access.facts.user(
            current_call().user_id, accounts=[account_id]
        )
        home_of(account_id, user.raw[account_id], personal=False).require(_MANAGE)
        return f"ACCOUNT#{account_id}"

    def _kept(self, pk: str, text: str) -> Checkpoint | None:
        if not text:
            return None
        try:
            kept = Checkpoint.load(text)
        except ValueError:
            raise invalid_field("checkpoint", "is none; give the line as it was printed") from None
        if kept.pk != pk:
            raise invalid_field("checkpoint", f"is of {kept.pk}; this is {pk}")
        if kept.instance != instance_of(self._records.actor):
            raise invalid_field("checkpoint", "is of another store; verify it where it was taken")
        return kept

    def _checkpoint(self, head: Head) -> str:
        return checkpoint_of(head, instance_of(self._records.actor), self._now()).dump()

    def _now(self) -> datetime:
        return from_micros(int(self._changes.kernel.now() * 1_000_000))


def _require_written(head: Head) -> None:
    if head.token is None:
        raise WorkspaceError(
            Reason.ERROR_REASON_NOT_FOUND,
            "it has no activity; check the id",
            metadata={"resource": head.pk},
        )


def _all_gone(kept: Checkpoint) -> VerifyActivityResponse:
    fault = ActivityFault(
        partition_sequence=kept.sequence, text="The whole chain is gone.",
        kind=ActivityFaultKind.ACTIVITY_FAULT_KIND_CUT,
    )  # fmt: skip
    return VerifyActivityResponse(faults=[fault])
