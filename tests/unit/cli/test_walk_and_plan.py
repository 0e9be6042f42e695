"""What an import finds in a folder, and what it decides to do with it."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from workspace.project.v1.document_service_pb2 import CreateDocumentRequest

from services.cli.failures import CliError
from services.cli.importing.plan import Action, decide, place_of
from services.cli.importing.run import read_tree
from services.cli.importing.state import Known, request_id_of
from services.cli.importing.walk import Kind, load_ignore, walk
from services.model.errors import WorkspaceError


def make(root: Path, *paths: str) -> None:
    for path in paths:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.encode())


def kinds(root: Path, *exclude: str, ignore_file: str = "") -> dict[str, Kind]:
    ignore = load_ignore(root, ignore_file, exclude)
    return {entry.relative: entry.kind for entry in walk(root, ignore)}


def test_walk_finds_files_in_a_fixed_order_with_odd_names_and_sizes(tmp_path: Path) -> None:
    make(tmp_path, "b.txt", "a b/ü ñ.txt", ".hidden/.x", "Z", "a")
    (tmp_path / "empty").touch()
    entries = list(walk(tmp_path, load_ignore(tmp_path, "", [])))
    assert [entry.relative for entry in entries] == [
        ".hidden/.x", "Z", "a", "a b/ü ñ.txt", "b.txt", "empty",
    ]
    sizes = {entry.relative: entry.size for entry in entries}
    assert sizes["empty"] == 0
    assert sizes["Z"] == 1


@pytest.mark.case("K25")
def test_links_special_files_and_empty_folders_are_named_and_never_followed(tmp_path: Path) -> None:
    make(tmp_path, "real/inner.txt")
    (tmp_path / "link.txt").symlink_to("real/inner.txt")
    (tmp_path / "linked").symlink_to("real")
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "nothing").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert kinds(tmp_path) == {
        "link.txt": Kind.LINK,
        "linked": Kind.LINK,
        "loop": Kind.LINK,
        "nothing": Kind.EMPTY_FOLDER,
        "pipe": Kind.SPECIAL,
        "real/inner.txt": Kind.FILE,
    }


def test_ignore_patterns_have_the_meaning_of_gitignore(tmp_path: Path) -> None:
    make(tmp_path, "a.log", "keep.log", "src/a.log", "build/x", "src/build/y", "docs/z.txt")
    (tmp_path / ".wmignore").write_text("# logs\n*.log\n!keep.log\n/build/\n", encoding="utf-8")
    found = kinds(tmp_path, "docs", ignore_file=".wmignore")
    assert found == {
        ".wmignore": Kind.FILE,
        "a.log": Kind.IGNORED,
        "build": Kind.IGNORED,
        "docs": Kind.IGNORED,
        "keep.log": Kind.FILE,
        "src/a.log": Kind.IGNORED,
        "src/build/y": Kind.FILE,
    }


def test_only_the_named_ignore_file_counts(tmp_path: Path) -> None:
    make(tmp_path, "a.log")
    (tmp_path / ".gitignore").write_text("*.log\n", encoding="utf-8")
    assert kinds(tmp_path, ignore_file=".wmignore")["a.log"] is Kind.FILE
    assert kinds(tmp_path, ignore_file=".gitignore")["a.log"] is Kind.IGNORED


def test_an_ignore_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".wmignore").write_bytes(b"\xff\xfe")
    with pytest.raises(CliError, match="UTF-8"):
        load_ignore(tmp_path, ".wmignore", [])


def test_places_keep_names_and_put_them_under_the_folder() -> None:
    place = place_of("a b/.gitignore", "/imported/x/")
    assert (place.folder, place.name, place.path) == (
        "imported/x/a b", ".gitignore", "imported/x/a b/.gitignore",
    )
    assert place_of("plain.txt").path == "plain.txt"


def test_a_name_in_another_unicode_form_is_stored_as_nfc_and_reported() -> None:
    decomposed = unicodedata.normalize("NFD", "ü.txt")
    place = place_of(decomposed)
    assert place.renamed
    assert place.name == "ü.txt"
    assert not place_of("ü.txt").renamed


@pytest.mark.case("K25")
@pytest.mark.parametrize(
    "relative",
    ["a:b", "a\nb", "trailing.", "a\\b", "nul/x.txt", "x" * 201, "bad\udcff.txt", "a\u202eb"],
)
def test_refused_names_say_why(relative: str) -> None:
    with pytest.raises(WorkspaceError) as refused:
        place_of(relative)
    assert refused.value.message


def test_a_tree_reports_refused_names_and_keeps_the_rest(tmp_path: Path) -> None:
    make(tmp_path, "good.txt", "bad:name.txt")
    tree = read_tree(tmp_path)
    assert [item.place.path for item in tree.items] == ["good.txt"]
    [(path, reason)] = tree.refused
    assert path == "bad:name.txt"
    assert "replace it" in reason


@pytest.mark.case("K12")
def test_two_names_that_become_one_are_not_merged(tmp_path: Path) -> None:
    make(tmp_path, unicodedata.normalize("NFC", "ü"), unicodedata.normalize("NFD", "ü"))
    if len(list(tmp_path.iterdir())) != 2:
        pytest.skip("capability: a file system that keeps Unicode forms apart")
    tree = read_tree(tmp_path)
    assert len(tree.items) == 1
    assert "NFC" in tree.refused[0][1]


@pytest.mark.parametrize(
    ("known", "size", "action"),
    [
        (None, 3, Action.CREATE),
        (Known("d_1"), 3, Action.RESUME),
        (Known("d_1", 3, "a" * 64, 1), 3, Action.COMPARE),
        (Known("d_1", 4, "a" * 64, 1), 3, Action.REVISE),
    ],
)
def test_decisions(known: Known | None, size: int, action: Action) -> None:
    assert decide(known, size) is action


def test_request_ids_are_uuids_that_follow_payload_and_salt() -> None:
    request = CreateDocumentRequest(project_id="p_1", name="a.txt")
    first = request_id_of(request, "sha")
    assert first == request_id_of(CreateDocumentRequest(project_id="p_1", name="a.txt"), "sha")
    assert first != request_id_of(request, "other")
    assert first != request_id_of(request, "sh", "a")
    assert first != request_id_of(CreateDocumentRequest(project_id="p_2", name="a.txt"), "sha")
    assert len(first) == 36
