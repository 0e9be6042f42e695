"""SearchDocuments: words in name, title, tags and summary.

Postings propose (`term_index.py`), the document itself decides. Of the words
the longest whole one is looked up; a query of one word, or of none but the last,
looks up all words that begin so, and takes a document at the least of its own.
While the index is being made, or has not caught up, documents are looked through
instead; a position belongs to the way that it was begun in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from workspace.project.v1.document_pb2 import Document
from workspace.project.v1.document_service_pb2 import (
    SearchDocumentsRequest,
    SearchDocumentsResponse,
)

from project_svc.documents.changes import DocumentChanges
from project_svc.documents.indexing import Indexing
from project_svc.documents.lists import Crossing, DocumentLists, Scope
from project_svc.documents.rows import DOCUMENT, document_key
from project_svc.documents.search_words import matches, words, words_of
from project_svc.documents.term_index import Posting, encoded, is_found
from project_svc.scans import MOST_EXAMINED, Scanned
from services.model.errors import invalid_field
from services.model.permissions import VIEW
from services.records.record import Record
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size

__all__ = ["Search"]

_CATCH_UP_SECONDS = 1.0
_FEWEST_POSTINGS, _MOST_POSTINGS = 50, 200
_MOST_PROJECTS = 500


@dataclass(frozen=True, slots=True)
class _Query:
    """All words, and the one that is looked up."""

    words: list[str]
    word: str
    whole: bool

    @classmethod
    def of(cls, text: str) -> _Query:
        """Raises INVALID_FIELD for a text without a word."""
        found = words(text)
        if not found:
            raise invalid_field("query", "holds no word; give letters or digits to look for")
        whole = max(found[:-1], key=len, default="")
        return cls(found, whole or found[-1], bool(whole))

    def finds(self, document: Document) -> bool:
        return is_found(document) and matches(self.words, words_of(document))

    def is_first(self, document: Document, posting: Posting) -> bool:
        """Whether the document is answered at this posting of it."""
        own = (encoded(word) for word in words_of(document) if word.startswith(self.word))
        return self.whole or min(own, default="") == posting.word


class Search:
    """The use case of SearchDocuments. A call looks at 2,000 documents or 500
    projects at most; what is left is reached through its `next_page_token`."""

    def __init__(
        self,
        *,
        changes: DocumentChanges,
        lists: DocumentLists,
        indexing: Indexing,
    ) -> None:
        self._changes = changes
        self._lists = lists
        self._terms = indexing.terms
        self._indexing = indexing

    async def search(self, request: SearchDocumentsRequest) -> SearchDocumentsResponse:
        """Documents by project. Raises INVALID_FIELD for a query without a word."""
        call, tokens = current_call(), self._changes.kernel.page_tokens
        opened = tokens.open(call.method, call.user_id, request, request.page_token)
        query, limit = _Query.of(request.query), page_size(request)
        if request.project_id:
            await self._changes.access.require(request.project_id, VIEW)
        indexed, position = json.loads(opened) if opened else (await self._by_index(), "")
        look = self._look_up if indexed else self._look_through
        found = await look(request, query, position, limit)
        answer = SearchDocumentsResponse(documents=map(self._changes.shown, found.records))
        if found.next:
            answer.next_page_token = tokens.issue(
                call.method, call.user_id, request, json.dumps([indexed, found.next])
            )
        return answer

    async def _by_index(self) -> bool:
        return await self._indexing.caught_up(_CATCH_UP_SECONDS)

    async def _look_through(
        self, request: SearchDocumentsRequest, query: _Query, position: str, limit: int
    ) -> Scanned | Crossing:
        def weigh(record: Record[Document]) -> int:
            return int(query.finds(record.message))

        if request.project_id:
            return await self._lists.of_project(request.project_id, position, limit, weigh)
        return await self._lists.across(_scope(request), position, limit, weigh)

    async def _look_up(
        self, request: SearchDocumentsRequest, query: _Query, position: str, limit: int
    ) -> Scanned | Crossing:
        """The position is (last project that is done, project in work, the
        posting after which it goes on)."""
        done, current, after = json.loads(position) if position else ("", "", "")
        out, examined, projects = Crossing(), 0, 0
        if request.project_id:
            found = await self._of_project(request.project_id, query, after, limit, MOST_EXAMINED)
            found.next = found.next and _position("", request.project_id, found.next)
            return found
        async for view in self._lists.projects(_scope(request), done):
            inside = after if view.project_id == current else ""
            left, budget = limit - len(out.records), MOST_EXAMINED - examined
            found = await self._of_project(view.project_id, query, inside, left, budget)
            out.records += found.records
            examined, projects = examined + found.examined, projects + 1
            if found.next:
                out.next = _position(done, view.project_id, found.next)
                return out
            done = view.project_id
            if (
                len(out.records) >= limit
                or examined >= MOST_EXAMINED
                or projects >= _MOST_PROJECTS
            ):
                out.next = _position(done)
                return out
        return out

    async def _of_project(
        self, project_id: str, query: _Query, after: str, limit: int, budget: int
    ) -> Scanned:
        out = Scanned()
        while True:
            size = min(_MOST_POSTINGS, max(_FEWEST_POSTINGS, limit - len(out.records)))
            postings, more = await self._terms.postings(
                project_id, query.word, whole=query.whole, after=after, limit=size
            )
            found = await self._verified(project_id, query, postings)
            for posting in postings:
                if len(out.records) >= limit or out.examined >= budget:
                    out.next = after
                    return out
                out.records += found.get(posting.sk, ())
                out.examined, after = out.examined + 1, posting.sk
            if not more:
                return out

    async def _verified(
        self, project_id: str, query: _Query, postings: Sequence[Posting]
    ) -> dict[str, list[Record[Document]]]:
        """Documents that are answered, by the sort key of their posting."""
        keys = list({document_key(posting.document_id): None for posting in postings})
        rows = await self._changes.records.batch_get(DOCUMENT, keys) if keys else []
        records = {row.message.document_id: row for row in rows if row is not None}
        return {
            posting.sk: [record]
            for posting in postings
            if (record := records.get(posting.document_id)) is not None
            and record.message.project_id == project_id
            and query.finds(record.message)
            and query.is_first(record.message, posting)
        }


def _scope(request: SearchDocumentsRequest) -> Scope:
    return Scope(request.account_id, request.team_id, request.workspace_id)


def _position(done: str, current: str = "", after: str = "") -> str:
    return json.dumps([done, current, after], separators=(",", ":"))
