"""Delivery of events to webhooks, signed, at least once.

The relay hands events over; each that a webhook wants becomes a row
(`WEBHOOK#{webhook_id}`, `DELIVERY#{event_id}`) and due work, and is tried at
once. What fails is tried again after 10 s to 15 h, eight times in about a day.
Then it is given up; a webhook of which nothing got through in that time is
switched off (FAILING, event `webhook.disabled`). 410 Gone switches it off at once,
and so does a move of its project to another home, whose events are not its own.

Bodies are CloudEvents 1.0 in JSON, signatures those of Standard Webhooks 1.0
(`webhook-id`, `webhook-timestamp`, `webhook-signature: v1,...`). The id is that of
the event, so receivers drop repeats. With retries the order is not kept:
`sequence` is the event's number in its partition (`partitionkey`). A new webhook
may get events of the moment before it was registered.

A webhook of a project gets events whole (it needed `manage_access`); one of an
account gets of its projects what happened and who did it, not what was written.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
import random
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from workspace.common.v1.activity_pb2 import ActivityEvent
from workspace.project.v1.history_pb2 import Webhook

from project_svc.access.facts import project_key, project_pk
from project_svc.history.event_types import is_wanted
from project_svc.history.webhook_rows import (
    ACTIVE,
    FAILING,
    WEBHOOK,
    account_pk,
    home_of_project,
    is_left_behind,
    live_webhooks,
    signing_key,
    webhook_activity,
)
from services.events.cloud_event import cloud_event
from services.events.egress import AddressRefused, Egress, PostFailed
from services.events.job_rows import finish_job, rewrite_job
from services.events.outbox import OutboxEvent
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.times import from_micros, to_timestamp
from services.records.codec import decode
from services.records.port import ABSENT, ConditionFailed, Item, Key, Match, Put
from services.records.record import Record, Write
from services.rpc.context import set_current_call

__all__ = ["PAUSES", "WEBHOOK_DELIVERY", "WebhookDelivery", "signature", "signed_request"]

WEBHOOK_DELIVERY = "webhook.delivery"
"""Kind of the due work."""
PAUSES = (10.0, 60.0, 300.0, 1800.0, 7200.0, 21_600.0, 54_000.0)
"""Seconds after the first, second, ... failed try; about 24 h together."""
_SAFETY_SECONDS = 30.0
_KEPT_SECONDS = 3 * 24 * 3600
_WORKERS = 8
_QUEUE = 1000
_CACHED_SCOPES = 10_000
_GONE = 410
_ROW = "webhook_delivery"
_log = logging.getLogger("workspace.webhooks")


class WebhookDelivery:
    """A consumer of the relay (`deliver`), a handler of due work (`attempt`), and
    workers that try at once (`run`)."""

    name = "webhooks"

    def __init__(self, *, kernel: Kernel, egress: Egress) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._egress = egress
        self._scopes: OrderedDict[str, list[Webhook]] = OrderedDict()
        self._failing: set[str] = set()
        self._soon: asyncio.Queue[str] = asyncio.Queue(_QUEUE)

    async def deliver(self, events: Sequence[OutboxEvent]) -> None:
        """Queue each event for each webhook that wants it, durably."""
        for each in events:
            scopes = _scopes(each)
            if each.type.startswith("webhook."):
                for pk in scopes:
                    self._scopes.pop(pk, None)
            for pk in scopes:
                for webhook in await self._of_home(pk):
                    if is_wanted(each.type, webhook.event_types):
                        await self._queue(pk, webhook, each)

    async def run(self) -> None:
        """Try what was just queued, a few at a time."""
        set_current_call(None)
        async with asyncio.TaskGroup() as group:
            for _ in range(_WORKERS):
                group.create_task(self._work())

    async def attempt(self, subject: str) -> float | None:
        """One try of a delivery; when to try again (unix seconds), or None."""
        webhook_id, event_id = subject.split("|")
        item = await self._records.get_row(_delivery_key(webhook_id, event_id))
        if item is None or item.deleted:
            return None
        row = json.loads(item.body)
        now = self._kernel.now()
        if row["not_before"] > now:
            return float(row["not_before"])
        # Claimed: whoever else finds it waits until this try must be over.
        waits = row | {"not_before": now + _SAFETY_SECONDS}
        claimed = await rewrite_job(self._records, item, waits)
        if claimed is None:
            return now + _SAFETY_SECONDS
        item = claimed
        key = Key(row["webhook_pk"], f"WEBHOOK#{webhook_id}")
        webhook: Record[Webhook] | None = await self._records.get(WEBHOOK, key)
        event = await self._records.get_row(Key(row["event_pk"], row["event_sk"]))
        if webhook is None or webhook.message.status != ACTIVE or event is None:
            await self._finish(item)
            return None
        if await self._is_left_behind(webhook.message):
            await self._disable(webhook)
            await self._finish(item)
            return None
        status = await self._post(webhook.message, event)
        if 200 <= status < 300:
            await self._note_failing(webhook_id, since=0.0)
            await self._finish(item)
            return None
        return await self._failed(webhook, item, row, gone=status == _GONE)

    async def _work(self) -> None:
        while True:
            subject = await self._soon.get()
            try:
                again = await self.attempt(subject)
                if again is not None:
                    await self._kernel.due.schedule(WEBHOOK_DELIVERY, subject, again)
            except Exception:  # the due work that was scheduled before tries it again
                _log.exception("a webhook delivery was interrupted")

    async def _queue(self, pk: str, webhook: Webhook, each: OutboxEvent) -> None:
        subject = f"{webhook.webhook_id}|{each.event_id}"
        key = _delivery_key(webhook.webhook_id, each.event_id)
        if await self._records.get_row(key) is not None:
            return  # queued, or delivered, before the relay was interrupted
        now = self._kernel.now()
        await self._kernel.due.schedule(WEBHOOK_DELIVERY, subject, now + _SAFETY_SECONDS)
        row = {
            "webhook_pk": pk, "event_pk": each.pk, "event_sk": each.item.key.sk,
            "tries": 0, "failed_at": 0.0, "not_before": 0.0,
        }  # fmt: skip
        put = Put(key, ABSENT, _ROW, json.dumps(row), expires_at=int(now) + _KEPT_SECONDS)
        try:
            await self._records.put_row(put)
        except ConditionFailed:
            return  # by another process
        if webhook.webhook_id not in self._failing and not self._soon.full():
            self._soon.put_nowait(subject)

    async def _of_home(self, pk: str) -> list[Webhook]:
        """Those of a partition that may get events; ends those whose project moved
        to another home, at the latest with the event of the move."""
        found = await self._webhooks(pk)
        left = [each for each in found if await self._is_left_behind(each)]
        for each in left:
            self._scopes.pop(pk, None)
            record = await self._records.get(WEBHOOK, Key(pk, f"WEBHOOK#{each.webhook_id}"))
            if record is not None and record.message.status == ACTIVE:
                await self._disable(record)
        return [each for each in found if each not in left]

    async def _is_left_behind(self, webhook: Webhook) -> bool:
        if not webhook.home_id:
            return False
        home_id = await home_of_project(self._records, webhook.project_id)
        return is_left_behind(webhook, home_id)

    async def _webhooks(self, pk: str) -> list[Webhook]:
        """The active webhooks of a partition. Every change of them is an event of
        that partition, which comes before what is committed later."""
        found = self._scopes.get(pk)
        if found is None:
            live = [record.message async for record in live_webhooks(self._records, pk)]
            found = self._scopes[pk] = [each for each in live if each.status == ACTIVE]
            if len(self._scopes) > _CACHED_SCOPES:
                self._scopes.popitem(last=False)
        return found

    async def _post(self, webhook: Webhook, item: Item) -> int:
        """The status code; 0 for none."""
        kernel = self._kernel
        headers, body = signed_request(
            webhook,
            decode(ActivityEvent, item.body),
            key=signing_key(kernel.instance_key, webhook.webhook_id),
            source=f"/workspaces/{kernel.instance_id}",
            partition=item.key.pk,
            now=int(kernel.now()),
        )
        try:
            return await self._egress.post(webhook.url, headers=headers, body=body)
        except (AddressRefused, PostFailed) as error:
            _log.info("webhook %s: no delivery: %s", webhook.webhook_id, type(error).__name__)
            return 0

    async def _failed(
        self, webhook: Record[Webhook], item: Item, row: dict[str, Any], *, gone: bool
    ) -> float | None:
        now, webhook_id = self._kernel.now(), webhook.message.webhook_id
        failing_since = await self._note_failing(webhook_id, since=now)
        row = row | {"tries": row["tries"] + 1, "failed_at": row["failed_at"] or now}
        if gone or row["tries"] > len(PAUSES):
            if gone or failing_since <= row["failed_at"]:
                await self._disable(webhook)
            await self._finish(item)
            return None
        pause = PAUSES[row["tries"] - 1] * random.uniform(0.9, 1.1)  # noqa: S311 - spreads retries
        await rewrite_job(self._records, item, row | {"not_before": now + pause})
        return float(now + pause)

    async def _note_failing(self, webhook_id: str, *, since: float) -> float:
        """Since when nothing gets through (0: it does). Answers what holds now."""
        if since:
            self._failing.add(webhook_id)
        else:
            self._failing.discard(webhook_id)
        key = Key(f"WEBHOOK#{webhook_id}", "STATE")
        item = await self._records.get_row(key)
        known = float(json.loads(item.body)["failing_since"]) if item else 0.0
        if bool(known) == bool(since):
            return known
        put = Put(
            key, Match(item.token) if item else ABSENT, _ROW, json.dumps({"failing_since": since})
        )
        try:
            await self._records.put_row(put)
        except ConditionFailed:
            return since  # another try says the same, or the next one does
        return since

    async def _disable(self, record: Record[Webhook]) -> None:
        webhook = record.edit()
        webhook.status = FAILING
        webhook.updated_at.CopyFrom(to_timestamp(from_micros(int(self._kernel.now() * 1e6))))
        account_id = webhook.account_id or await self._account_of(webhook.project_id)
        try:
            await self._records.commit(
                record.key.pk,
                [Write(WEBHOOK, webhook, base=record)],
                activity=webhook_activity("disabled", webhook, account_id=account_id),
            )
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_ETAG_MISMATCH:
                raise
            return  # changed meanwhile: deleted, or disabled by another try
        _log.warning("webhook %s is switched off", webhook.webhook_id)

    async def _account_of(self, project_id: str) -> str:
        project = await self._records.get(FAMILIES["project"], project_key(project_id))
        return project.message.account_id if project else ""

    async def _finish(self, item: Item) -> None:
        """No more tries."""
        await finish_job(self._records, item, kept_until=self._kernel.now() + _KEPT_SECONDS)


def signed_request(
    webhook: Webhook, event: ActivityEvent, *, key: bytes, source: str, partition: str, now: int
) -> tuple[dict[str, str], bytes]:
    """Headers and body of one delivery. `now` is unix seconds."""
    whole = bool(webhook.project_id or not event.project_id)
    document = cloud_event(event, source=source, partition=partition, whole=whole)
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    headers = {
        "content-type": "application/cloudevents+json; charset=utf-8",
        "user-agent": "workspace-management",
        "webhook-id": event.event_id,
        "webhook-timestamp": str(now),
        "webhook-signature": signature(key, event.event_id, now, body),
    }
    return headers, body


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and base64 of HMAC-SHA256 over `id.timestamp.body` (Standard Webhooks)."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _delivery_key(webhook_id: str, event_id: str) -> Key:
    return Key(f"WEBHOOK#{webhook_id}", f"DELIVERY#{event_id}")


def _scopes(event: OutboxEvent) -> list[str]:
    """Partitions of the webhooks that an event may concern."""
    scopes = [project_pk(event.project_id)] if event.project_id else []
    return scopes + ([account_pk(event.account_id)] if event.account_id else [])
