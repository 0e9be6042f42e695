"""Webhooks as they are stored, and what is derived from them.

A webhook of a project lies in the project's partition, one of an account in the
account's: the limit is decided under that partition's HEAD. An index finds it by
its id. It is not synced: its secret is derived from the key of this instance.
"""

from __future__ import annotations

import base64
import hmac
from collections import OrderedDict
from collections.abc import AsyncIterator

from workspace.project.v1.history_pb2 import Webhook, WebhookStatus

from project_svc.access.facts import project_key, project_pk
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.records.record import Activity, Record
from services.records.store import RecordStore

__all__ = [
    "ACTIVE", "DELETED", "FAILING", "WEBHOOK", "UploadHolds", "account_pk", "find_webhook",
    "holds_uploads", "home_of_project", "is_left_behind", "live_webhooks", "scope_pk",
    "signing_key", "signing_secret",
    "webhook_activity",
]  # fmt: skip

WEBHOOK = FAMILIES["webhook"]
ACTIVE = WebhookStatus.WEBHOOK_STATUS_ACTIVE
FAILING = WebhookStatus.WEBHOOK_STATUS_FAILING
DELETED = WebhookStatus.WEBHOOK_STATUS_DELETED
_PAGE = 100
_PARTITIONS = 10_000


def account_pk(account_id: str) -> str:
    """Partition of an account."""
    return f"ACCOUNT#{account_id}"


def scope_pk(*, project_id: str, account_id: str) -> str:
    """Partition of the webhooks of a project, or else of an account."""
    return project_pk(project_id) if project_id else account_pk(account_id)


async def find_webhook(records: RecordStore, webhook_id: str) -> Record[Webhook] | None:
    """The webhook of an id, deleted ones included, by strong read."""
    page = await records.query(
        WEBHOOK, Index.PROJECT, f"WEBHOOK#{webhook_id}", prefix="WEBHOOK", limit=1
    )
    return await records.get(WEBHOOK, page.records[0].key) if page.records else None


async def live_webhooks(records: RecordStore, pk: str) -> AsyncIterator[Record[Webhook]]:
    """Those of a partition that are not deleted, failing ones included."""
    after: str | None = None
    while True:
        page = await records.query(
            WEBHOOK, Index.BASE, pk, prefix="WEBHOOK#", limit=_PAGE, after=after
        )
        for record in page.records:
            if record.message.status != DELETED:
                yield record
        after = page.next
        if after is None:
            return


async def home_of_project(records: RecordStore, project_id: str) -> str:
    """Account or private workspace that the project is in now, by strong read."""
    project = await records.get(FAMILIES["project"], project_key(project_id))
    return (project.message.account_id or project.message.workspace_id) if project else ""


def is_left_behind(webhook: Webhook, home_id: str) -> bool:
    """Whether its project, now in `home_id`, was in another home when it was made.
    One without a home is of an account, or older than the field."""
    return bool(webhook.home_id) and webhook.home_id != home_id


async def holds_uploads(records: RecordStore, project_id: str) -> bool:
    """Whether completed uploads of the project wait in `scanning` for a receiver:
    it, or its home account, has a webhook with `document_ready_hold`. One that is
    failing holds too: what nobody looked at is not released. Strong reads."""
    return await UploadHolds(records).of_project(project_id)


class UploadHolds:
    """`holds_uploads` for many uploads: what was found in a partition counts as
    long as its HEAD, which every change of a webhook moves, is the same."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records
        self._found: OrderedDict[str, tuple[tuple[str | None, str], bool]] = OrderedDict()

    async def of_project(self, project_id: str) -> bool:
        """See `holds_uploads`."""
        home = await home_of_project(self._records, project_id)
        if not home:
            return False
        for pk in (project_pk(project_id), account_pk(home)):
            if await self._in_partition(pk, home):
                return True
        return False

    async def _in_partition(self, pk: str, home: str) -> bool:
        token = (await self._records.head(pk)).token  # before the rows, so never too new
        head = (token, home)
        known = self._found.get(pk)
        if known is None or known[0] != head:
            known = (head, await self._reads(pk, home))
            self._found[pk] = known
            if len(self._found) > _PARTITIONS:
                self._found.popitem(last=False)
        return known[1]

    async def _reads(self, pk: str, home: str) -> bool:
        async for record in live_webhooks(self._records, pk):
            webhook = record.message
            if webhook.document_ready_hold and not is_left_behind(webhook, home):
                return True
        return False


def signing_key(instance_key: bytes, webhook_id: str) -> bytes:
    """The key of a webhook's signatures: derived, never stored."""
    return hmac.digest(instance_key, b"workspace.webhook.v1:" + webhook_id.encode(), "sha256")


def signing_secret(instance_key: bytes, webhook_id: str) -> str:
    """The key as its owner is shown it (Standard Webhooks: `whsec_` and base64)."""
    return "whsec_" + base64.b64encode(signing_key(instance_key, webhook_id)).decode()


def webhook_activity(event: str, webhook: Webhook, *, account_id: str) -> Activity:
    """What a commit to a webhook means; `account_id` is the account concerned."""
    return Activity(
        f"webhook.{event}",
        f"webhooks/{webhook.webhook_id}",
        account_id=account_id,
        project_id=webhook.project_id,
    )


