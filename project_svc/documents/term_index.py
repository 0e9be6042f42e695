"""Postings: which documents of a project have a word.

`TERM#{project_id}` holds a row `WORD#{word}#{document_id}` per word, and per
document the row `DOC#{document_id}` that lists its words, so that a change is
the difference of two sets. Rows only propose; whoever reads one reads the
document. Words are kept in ASCII, character by character: the beginning of a
word is the beginning of its key.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from workspace.project.v1.document_pb2 import Document, DocumentStatus

from project_svc.documents.rows import DOCUMENT, document_key
from project_svc.documents.search_words import words_of
from services.model.errors import Reason, WorkspaceError
from services.model.indexes import Index
from services.records.port import ABSENT, ConditionFailed, Item, Key, Match, Put
from services.records.store import RecordStore

__all__ = ["Posting", "TermIndex", "encoded", "is_found"]

_GONE = (DocumentStatus.DOCUMENT_STATUS_TRASHED, DocumentStatus.DOCUMENT_STATUS_PURGED)
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_LIVE, _ENDED = '{"live": true}', "{}"
_ROWS_A_COMMIT = 80
# Above the end of an id, below every character that goes on with one.
_AFTER_ID = "!"
_ATTEMPTS = 10
_GONE_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Posting:
    """A word as it is kept, a document that may have it, and their sort key."""

    word: str
    document_id: str
    sk: str


def encoded(word: str) -> str:
    """A word in ASCII; a beginning stays a beginning."""
    return "".join(c if c in _PLAIN else f"~{ord(c):06x}" for c in word)


def is_found(document: Document) -> bool:
    """Whether searches find the document at all."""
    return document.status not in _GONE


class TermIndex:
    """See the module. `now` is unix seconds."""

    def __init__(self, records: RecordStore, *, now: Callable[[], float]) -> None:
        self._records = records
        self._now = now

    async def settled(self, document_ids: Sequence[str]) -> dict[str, Document]:
        """Those of the documents whose postings are as they should be, by id: most of
        what another replica wrote, for it heard of it first. Two reads for all."""
        records = await self._records.batch_get(DOCUMENT, [document_key(i) for i in document_ids])
        documents: list[Document] = [record.message for record in records if record is not None]
        states = await self._records.get_rows([_state_key(each) for each in documents])
        return {
            document.document_id: document
            for document, state in zip(documents, states, strict=True)
            if _words_in(state) == _words_for(document)
        }

    async def refresh(self, document_id: str) -> Document | None:
        """Bring the postings of a document up to date; idempotent, and safe
        beside other processes that do the same. Answers the document."""
        for attempt in range(_ATTEMPTS):
            record = await self._records.get(DOCUMENT, document_key(document_id))
            if record is None:
                return None
            try:
                await self._write(record.message, unknown=attempt > 0)
            except ConditionFailed:
                continue
            document: Document = record.message
            return document
        raise WorkspaceError(
            Reason.ERROR_REASON_CONFLICTING_WRITE,
            f"documents/{document_id} is changing faster than it can be indexed",
            retry_after=0.5,
        )

    async def postings(
        self, project_id: str, word: str, *, whole: bool, after: str, limit: int
    ) -> tuple[Sequence[Posting], bool]:
        """Postings of a word, or of all that begin so, after the sort key
        `after`; and whether there may be more."""
        begins = f"WORD#{encoded(word)}" + ("#" if whole else "")
        page = await self._records.run(
            Index.BASE,
            _pk(project_id),
            lower=after + _AFTER_ID if after else begins,
            upper=begins + "\x7f",
            limit=limit,
            after=None,
        )
        return [_read(item.key.sk) for item in page.items], page.next is not None

    async def _write(self, document: Document, *, unknown: bool) -> None:
        """`unknown`: rows may be there of which the state does not tell, because
        whoever wrote them was cut off before the last commit."""
        pk, state_key = _pk(document.project_id), _state_key(document)
        state = await self._records.get_row(state_key)
        old, new = _words_in(state), _words_for(document)
        if old == new:
            return
        added = [_posting(pk, word, document) for word in sorted(new - old)]
        ended = [_posting(pk, word, document) for word in sorted(old - new)]
        fresh = state is None and not unknown
        rows = [None] * len(added) if fresh else await self._known([*added, *ended])
        puts = [*self._added(added, rows), *self._ended(ended, rows[len(added) :])]
        body = json.dumps({"words": sorted(new)})
        condition = ABSENT if state is None else Match(state.token)
        puts.append(Put(state_key, condition, "search_document", body))
        for at in range(0, len(puts), _ROWS_A_COMMIT):
            await self._records.put_rows(puts[at : at + _ROWS_A_COMMIT])

    async def _known(self, keys: Sequence[Key]) -> Sequence[Item | None]:
        return await asyncio.gather(*map(self._records.get_row, keys))

    def _added(self, keys: Sequence[Key], rows: Sequence[Item | None]) -> Iterable[Put]:
        for key, row in zip(keys, rows, strict=False):
            if row is None or row.deleted:
                condition = ABSENT if row is None else Match(row.token)
                yield Put(key, condition, "search_term", _LIVE)

    def _ended(self, keys: Sequence[Key], rows: Sequence[Item | None]) -> Iterable[Put]:
        expires = int(self._now()) + _GONE_SECONDS
        for key, row in zip(keys, rows, strict=True):
            if row is not None and not row.deleted:
                yield Put(
                    key, Match(row.token), "search_term", _ENDED, deleted=True, expires_at=expires
                )


def _words_in(state: Item | None) -> set[str]:
    """What a document is found by, as its state row says."""
    return set(json.loads(state.body).get("words", ())) if state is not None else set()


def _words_for(document: Document) -> set[str]:
    """What it should be found by."""
    return {encoded(word) for word in words_of(document)} if is_found(document) else set()


def _read(sk: str) -> Posting:
    _, word, document_id = sk.split("#", 2)
    return Posting(word, document_id, sk)


def _pk(project_id: str) -> str:
    return f"TERM#{project_id}"


def _state_key(document: Document) -> Key:
    return Key(_pk(document.project_id), f"DOC#{document.document_id}")


def _posting(pk: str, word: str, document: Document) -> Key:
    return Key(pk, f"WORD#{word}#{document.document_id}")
