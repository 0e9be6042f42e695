"""An export never leaves its folder and never replaces what it should not."""

from __future__ import annotations

import hashlib
import os
import time
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


@pytest.mark.case("K25")
@pytest.mark.parametrize(
    ("folder", "name"),
    [("..", "x"), ("a/../..", "x"), ("/etc", "x"), ("", ".."), ("", "a/b"), ("", "../x"), ("", "")],
)
def test_names_that_lead_elsewhere_are_refused(tree: ExportTree, folder: str, name: str) -> None:
    with pytest.raises((WorkspaceError, CliError)):
        write(tree, folder, name, b"x")


@pytest.mark.case("K25")
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


@pytest.mark.case("K13", "K14")
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


def planting(tree: ExportTree, root: Path, target: Path) -> Iterator[str]:
    """Names of parts, each taken by a link to `target` once it is known."""
    for _ in range(3):
        before = set(root.iterdir())
        with tree.part("", "x", "d_1") as part:
            part.append(b"ours")
            (made,) = set(root.iterdir()) - before
        made.symlink_to(target)
        yield made.name


@pytest.mark.case("K25")
def test_nobody_foresees_where_a_file_is_received(tree: ExportTree, tmp_path: Path) -> None:
    """In a folder that others write to, the names of the past lead nowhere."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"theirs")
    (tmp_path / "out/.wm-d_1.part").symlink_to(outside)
    names = list(planting(tree, tmp_path / "out", outside))
    assert len(set(names)) == 3
    assert outside.read_bytes() == b"theirs"
    assert (tmp_path / "out/x").read_bytes() == b"ours"
    assert not (tmp_path / "out/x").is_symlink()


@pytest.mark.case("K25")
def test_what_is_not_whole_is_private_and_the_file_has_the_usual_mode(
    tmp_path: Path
) -> None:
    old = os.umask(0o027)
    try:
        tree = ExportTree(tmp_path, force=False)
    finally:
        os.umask(old)
    with tree.part("", "x", "d_1"):
        (part,) = tmp_path.iterdir()
        assert part.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640
    tree.close()


def test_parts_that_a_killed_export_left_go_after_an_hour(tree: ExportTree, tmp_path: Path) -> None:
    left, young = f".wm-d_1.{'0' * 16}.part", f".wm-d_2.{'1' * 16}.part"
    for name in (left, young, ".wm-d_1.part", "x.part"):
        (tmp_path / "out" / name).touch()
        if name != young:
            os.utime(tmp_path / "out" / name, (time.time() - 7200,) * 2)
    write(tree, "", "new", b"x")
    kept = {path.name for path in (tmp_path / "out").iterdir()}
    assert kept == {young, ".wm-d_1.part", "x.part", "new"}


def test_parts_count_and_hash(tree: ExportTree) -> None:
    with tree.part("", "x", "d_1") as part:
        part.append(b"ab")
        part.append(b"c")
        assert (part.size, part.sha256) == (3, sha(b"abc"))
