"""Lines of a backup that somebody else wrote: as long or as deep as they like."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from services.backup import archive
from services.backup.archive import RowWriter, read_manifest, read_rows
from services.model.errors import Reason, WorkspaceError
from services.records.port import Item, Key

pytestmark = pytest.mark.case("K25")
MIB = 1024 * 1024


def reading(folder: Path) -> str:
    """Why the rows are refused."""
    with pytest.raises(WorkspaceError) as caught:
        list(read_rows(folder, "0" * 64, now=0.0))
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_STATE
    return caught.value.message


def test_a_line_without_end_is_given_up_before_it_fills_the_memory(tmp_path: Path) -> None:
    """300 KB of a file that are 300 MB of one line."""
    with gzip.open(tmp_path / "records.jsonl.gz", "wb") as file:
        file.write(b'{"body":"')
        for _ in range(300):
            file.write(b"x" * MIB)
    assert (tmp_path / "records.jsonl.gz").stat().st_size < MIB
    tracemalloc.start()
    try:
        said = reading(tmp_path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "line 1 has more than 8388608 bytes" in said
    assert "use another backup" in said
    assert most < 64 * MIB


def test_a_row_of_the_largest_size_passes(tmp_path: Path) -> None:
    body = json.dumps({"text": "\u0001" * 340_000})
    writer = RowWriter(tmp_path)
    writer.write([Item(Key("P#1", "X"), "1", "document", body)])
    digest = writer.close()
    (put,) = read_rows(tmp_path, digest, now=0.0)
    assert put.body == body


@pytest.mark.parametrize(
    "line", [b"[" * 100_000, b"{}", b"[]", b"\xff", b"null", b'{"pk":1,"sk":"a"}']
)
def test_a_line_that_is_no_row_is_a_damaged_backup(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "records.jsonl.gz").write_bytes(gzip.compress(line + b"\n"))
    assert "is damaged" in reading(tmp_path)


@pytest.mark.parametrize("cut", [5, -5])
def test_a_file_that_does_not_unpack_is_a_damaged_backup(tmp_path: Path, cut: int) -> None:
    packed = bytearray(gzip.compress(b"{}\n" * 1000))
    packed[len(packed) // 2] ^= 0xFF
    (tmp_path / "records.jsonl.gz").write_bytes(bytes(packed[:cut]))
    assert "is damaged" in reading(tmp_path)


def test_a_manifest_without_end_is_no_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_MAX_MANIFEST_BYTES", 1000)
    (tmp_path / "backup.json").write_bytes(b" " * 1001)
    with pytest.raises(WorkspaceError, match="more than 1000 bytes"):
        read_manifest(tmp_path)
    (tmp_path / "backup.json").write_bytes(b"[" * 1000)
    with pytest.raises(WorkspaceError, match="cannot be read"):
        read_manifest(tmp_path)
