"""Words of documents and of queries: one way to cut text, the same everywhere.

Text is NFKC, case-folded and NFKC again (Unicode 3.13, toNFKC_Casefold but for
format characters); a word is a run of letters and digits. Scripts without
spaces are cut into single characters, so that a query finds any part of a run.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from workspace.project.v1.document_pb2 import Document

__all__ = ["LONGEST_WORD", "matches", "words", "words_of"]

LONGEST_WORD = 60
"""Characters of a word that count; the rest is not looked at."""

_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_SPACELESS}]|[^\W_{_SPACELESS}]+")


def words(text: str) -> list[str]:
    """The words in order, each at most 60 characters."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    joined = "".join(c for c in folded if unicodedata.category(c) != "Cf")
    return [word[:LONGEST_WORD] for word in _WORD.findall(joined)]


def words_of(document: Document) -> frozenset[str]:
    """What a document is found by: name, title, tags, summary."""
    texts: Iterable[str] = (
        document.name, document.title, *document.concept_tags, document.extraction_summary
    )  # fmt: skip
    return frozenset(word for text in texts for word in words(text))


def matches(query: list[str], found: frozenset[str]) -> bool:
    """Whether all words of the query occur; the last may be the start of one."""
    *whole, last = query
    if not all(word in found for word in whole):
        return False
    return last in found or any(word.startswith(last) for word in found)
