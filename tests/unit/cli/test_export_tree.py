"""An export never leaves its folder and never replaces what it should not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.exporting.tree import ExportTree
from services.cli.failures import CliError
from services.model.errors import WorkspaceError


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[ExportTree]:
    opened = ExportTree(tmp_path / "out", force=False)
    yield opened
    opened.close()


def write(tree: ExportTree, folder: str, name: str, data: bytes) -> None:
    with tree.part(folder, name, f"d_{sha(name.encode())[:8]}") as part:
        part.append(data)


def test_files_come_with_their_folders(tree: ExportTree, tmp_path: Path) -> None:
    write(tree, "a/b c", ".x", b"hello")
    write(tree, "", "empty", b"")
    assert (tmp_path / "out/a/b c/.x").read_bytes() == b"hello"
    assert (tmp_path / "out/empty").read_bytes() == b""
    assert len(list((tmp_path / "out").rglob("*"))) == 4


@pytest.mark.parametrize(
    ("folder", "name"),
    [("..", "x"), ("a/../..", "x"), ("/etc", "x"), ("", ".."), ("", "a/b"), ("", "../x"), ("", "")],
)
def test_names_that_lead_elsewhere_are_refused(tree: ExportTree, folder: str, name: str) -> None:
    with pytest.raises((WorkspaceError, CliError)):
        write(tree, folder, name, b"x")


def test_a_planted_link_is_not_followed(tree: ExportTree, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "out/a").symlink_to(outside)
    with pytest.raises(CliError):
        write(tree, "a", "x", b"x")
    assert not list(outside.iterdir())
    (tmp_path / "out/file").symlink_to(outside / "target")
    with pytest.raises(OSError):
        tree.is_there("", "file", size=1, sha256=sha(b"x"))


def test_a_file_in_the_way_of_a_folder_is_named(tree: ExportTree) -> None:
    write(tree, "", "a", b"x")
    with pytest.raises(CliError, match="'a'"):
        write(tree, "a", "b", b"y")


def test_the_same_file_is_recognised_and_another_one_refused(
    tree: ExportTree, tmp_path: Path
) -> None:
    path = tmp_path / "out/x"
    assert not tree.is_there("", "x", size=3, sha256=sha(b"abc"))
    path.write_bytes(b"abc")
    assert tree.is_there("", "x", size=3, sha256=sha(b"abc"))
    other = tmp_path / "out/y"
    other.write_bytes(b"abd")
    with pytest.raises(CliError, match="--force"):
        tree.is_there("", "y", size=3, sha256=sha(b"abc"))


def test_force_replaces_but_not_what_this_export_wrote(tmp_path: Path) -> None:
    tree = ExportTree(tmp_path, force=True)
    (tmp_path / "x").write_bytes(b"old")
    assert not tree.is_there("", "x", size=3, sha256=sha(b"new"))
    write(tree, "", "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"
    # As on a file system that folds case: two documents, one file.
    with pytest.raises(CliError, match="another document"):
        tree.is_there("", "x", size=5, sha256=sha(b"other"))
    tree.close()


def test_a_failed_download_leaves_nothing(tree: ExportTree, tmp_path: Path) -> None:
    def fail() -> None:
        with tree.part("a", "x", "d_1") as part:
            part.append(b"half")
            raise CliError("broken off")

    with pytest.raises(CliError):
        fail()
    assert list((tmp_path / "out/a").iterdir()) == []


def test_parts_count_and_hash(tree: ExportTree) -> None:
    with tree.part("", "x", "d_1") as part:
        part.append(b"ab")
        part.append(b"c")
        assert (part.size, part.sha256) == (3, sha(b"abc"))
