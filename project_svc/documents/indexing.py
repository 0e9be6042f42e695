"""Follows the change feed and keeps what is looked up by words and by links.

Both indexes can be made again from the records: without a stored cursor, or
with one that is lost, the feed is followed from its beginning. Everything is
idempotent, so replicas may follow side by side.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from contextlib import suppress

from workspace.project.v1.document_pb2 import Document

from project_svc.access.facts import project_key
from project_svc.documents.link_index import LinkIndex
from project_svc.documents.rows import DOCUMENT, document_key
from project_svc.documents.term_index import TermIndex
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.records.port import ABSENT, ConditionFailed, Item, Key, Match, Put
from services.rpc.context import set_current_call

__all__ = ["Indexing"]

_PROJECT = FAMILIES["project"]
_CURSOR = Key("INDEX#documents", "CURSOR")
_AT_ONCE = 8
_ROWS_A_CURSOR = 5_000
_GATHER_SECONDS = 0.5
_PAUSE_SECONDS = 1.0
_log = logging.getLogger("workspace.project.indexing")


class Indexing:
    """See the module. `ready`: everything that was there is indexed."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self.terms = TermIndex(kernel.records, now=kernel.now)
        self.links = LinkIndex(kernel.records, now=kernel.now)
        self._running = False
        self._waiting = 0
        self._asked = asyncio.Event()
        self._passed = 0
        self._sequence = 0
        self._pending: dict[str, int] = {}
        self._applied = asyncio.Event()
        self.ready = False
        kernel.records.on_commit(self._committed)

    async def run(self) -> None:
        """Follow until cancelled."""
        set_current_call(None)
        self._running = True
        while True:
            try:
                await self._follow()
            except WorkspaceError as error:
                if error.reason == Reason.ERROR_REASON_CURSOR_LOST:
                    await self._save(None)
                else:
                    _log.warning("indexing waits: %s", Reason.Name(error.reason))
                    await asyncio.sleep(_PAUSE_SECONDS)
            except Exception:
                _log.exception("indexing failed; it goes on from its last cursor")
                await asyncio.sleep(_PAUSE_SECONDS)

    async def caught_up(self, seconds: float) -> bool:
        """Whether the index has what this process committed before the call;
        waits at most `seconds` for it."""
        if not self.ready:
            return False
        wanted = dict(self._pending)
        self._waiting += 1
        self._asked.set()
        try:
            async with asyncio.timeout(seconds):
                while any(self._pending.get(key, seq + 1) <= seq for key, seq in wanted.items()):
                    await self._applied.wait()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._asked.clear()
        return True

    def _committed(self, pk: str, keys: Sequence[Key]) -> None:
        if self._running and pk.startswith("DOCUMENT#"):
            document_id = pk.removeprefix("DOCUMENT#")
            if document_key(document_id) in keys:
                self._sequence += 1
                self._pending[document_id] = self._sequence

    async def _follow(self) -> None:
        async for batch in self._kernel.feed.follow(await self._cursor()):
            found = await self._apply(batch.items)
            self._passed += len(batch.items)
            if found or self._passed >= _ROWS_A_CURSOR:
                await self._save(batch.cursor)
            if not batch.items:
                self.ready = self.ready or batch.complete
            elif found and self.ready:
                await self._gather()

    async def _gather(self) -> None:
        """Changes of one document that come soon after each other, as those of an
        upload do, are one. Whoever searches does not wait for it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_GATHER_SECONDS):
                await self._asked.wait()

    async def _apply(self, items: Sequence[Item]) -> bool:
        """Index what changed; whether anything of it concerns the indexes."""
        documents = {i.key.pk.removeprefix("DOCUMENT#") for i in items if i.family == DOCUMENT.name}
        projects = {i.key.pk.removeprefix("PROJECT#") for i in items if i.family == _PROJECT.name}
        sequences, gate = dict(self._pending), asyncio.Semaphore(_AT_ONCE)
        settled = await self._settled(documents - sequences.keys())
        await asyncio.gather(
            *(self._document(gate, each, settled.get(each)) for each in sorted(documents)),
            *(self._project(gate, project_id) for project_id in sorted(projects)),
        )
        for document_id in documents:  # a later commit comes by the feed, too
            if self._pending.get(document_id) == sequences.get(document_id):
                self._pending.pop(document_id, None)
        if documents:
            self._applied.set()
            self._applied = asyncio.Event()
        return bool(documents or projects)

    async def _settled(self, elsewhere: set[str]) -> dict[str, Document]:
        """What was written by another process may be indexed by it already."""
        return await self.terms.settled(sorted(elsewhere)) if elsewhere else {}

    async def _document(
        self, gate: asyncio.Semaphore, document_id: str, settled: Document | None
    ) -> None:
        async with gate:
            document = settled or await self.terms.refresh(document_id)
            if document is not None:
                await self.links.ensure(document)

    async def _project(self, gate: asyncio.Semaphore, project_id: str) -> None:
        async with gate:
            record = await self._records.get(_PROJECT, project_key(project_id))
            if record is not None:
                await self.links.ensure(record.message)

    async def _cursor(self) -> str | None:
        item = await self._records.get_row(_CURSOR)
        cursor: str | None = json.loads(item.body)["cursor"] if item is not None else None
        return cursor

    async def _save(self, cursor: str | None) -> None:
        """Another replica that is at work here wins."""
        item = await self._records.get_row(_CURSOR)
        condition = ABSENT if item is None else Match(item.token)
        try:
            await self._records.put_row(
                Put(_CURSOR, condition, "index_cursor", json.dumps({"cursor": cursor}))
            )
        except ConditionFailed:
            return
        self._passed = 0
