"""Names of exported files: two documents may live at one place, files may not.

Nodes that synced each gave the place to a document. The one created first keeps the
name, as in the workspace; the others get their id into it, in every export the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from workspace.project.v1.document_pb2 import Document

from services.model.names import MAX_NAME_BYTES, shorten, split_extension

__all__ = ["distinct_names"]


def distinct_names(documents: Iterable[Document]) -> list[Document]:
    """The documents in their order, copies with another name where a place is shared."""
    listed = list(documents)
    keeps: dict[tuple[str, str], Document] = {}
    for document in sorted(listed, key=_rank):
        keeps.setdefault((document.relative_path, document.name), document)
    return [
        each if keeps[each.relative_path, each.name] is each else _renamed(each)
        for each in listed
    ]


def _renamed(document: Document) -> Document:
    """`plan.pdf` -> `plan (d_1a2b).pdf`."""
    stem, extension = split_extension(document.name)
    mark = f" ({document.document_id}){extension}"
    copy = Document()
    copy.CopyFrom(document)
    copy.name = shorten(stem[:100], MAX_NAME_BYTES - len(mark.encode())) + mark
    return copy


def _rank(document: Document) -> tuple[int, str]:
    return document.created_at.ToNanoseconds(), document.document_id
