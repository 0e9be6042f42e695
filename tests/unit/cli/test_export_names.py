"""Two documents at one place become two files."""

from __future__ import annotations

from workspace.project.v1.document_pb2 import Document

from services.cli.exporting.names import distinct_names
from services.model.names import validate_document_name


def _document(document_id: str, name: str, *, at: int = 0, folder: str = "") -> Document:
    made = Document(document_id=document_id, name=name, relative_path=folder)
    made.created_at.seconds = at
    return made


def test_the_first_created_keeps_the_name_and_the_others_get_their_ids() -> None:
    given = [
        _document("d_2", "plan.pdf", at=2), _document("d_1", "plan.pdf", at=1),
        _document("d_3", "plan.pdf", at=3), _document("d_4", "plan.pdf", folder="old"),
    ]  # fmt: skip
    named = [(each.document_id, each.name) for each in distinct_names(given)]
    assert named == [
        ("d_2", "plan (d_2).pdf"), ("d_1", "plan.pdf"), ("d_3", "plan (d_3).pdf"),
        ("d_4", "plan.pdf"),
    ]  # fmt: skip
    assert [each.name for each in given] == ["plan.pdf"] * 4


def test_names_stay_valid_however_long_they_are() -> None:
    name = "ä" * 123 + ".pdf"
    given = [_document("d_" + "1" * 62, name), _document("d_" + "2" * 62, name)]
    for each in distinct_names(given):
        assert validate_document_name("name", each.name) == each.name
