"""Lock file, file system check, identity of a file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from services.model.errors import Reason, WorkspaceError
from services.records.sql.files import (
    FileLock,
    create_file,
    file_identity,
    refuse_network_filesystem,
)


def test_a_second_lock_names_file_holder_and_remedy(tmp_path: Path) -> None:
    database = tmp_path / "records.db"
    lock = FileLock(database)
    with pytest.raises(WorkspaceError) as refused:
        FileLock(database)
    assert refused.value.reason == Reason.ERROR_REASON_INVALID_STATE
    assert str(database) in refused.value.message
    assert str(os.getpid()) in refused.value.message
    assert "stop that process" in refused.value.message
    lock.release()
    lock.release()
    FileLock(database).release()
    assert lock.path.exists()


def test_a_new_database_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    create_file(tmp_path / "a.db")
    assert (tmp_path / "a.db").stat().st_mode & 0o777 == 0o600
    (tmp_path / "a.db").write_bytes(b"kept")
    create_file(tmp_path / "a.db")
    assert (tmp_path / "a.db").read_bytes() == b"kept"


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "smb3", "fuse.sshfs"])
def test_network_file_systems_are_refused(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "a share"
    folder.mkdir()
    escaped = str(folder).replace(" ", "\\040")
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nhost:/x {escaped} {kind} rw 0 0\n")
    refuse_network_filesystem(tmp_path / "local.db", mounts=mounts)
    with pytest.raises(WorkspaceError, match=kind) as refused:
        refuse_network_filesystem(folder / "records.db", mounts=mounts)
    assert refused.value.reason == Reason.ERROR_REASON_INVALID_STATE


def test_a_local_mount_inside_a_share_is_fine_and_so_is_an_unknown_system(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    mounts = tmp_path / "mounts"
    mounts.write_text(f"host:/x / nfs rw 0 0\n/dev/sda {tmp_path} nfs rw 0 0\n"
                      f"/dev/sdb {tmp_path} ext4 rw 0 0\n")
    refuse_network_filesystem(inner / "records.db", mounts=mounts)
    refuse_network_filesystem(inner / "records.db", mounts=tmp_path / "none")


def test_a_copy_has_another_identity(tmp_path: Path) -> None:
    original = tmp_path / "a.db"
    original.write_bytes(b"x")
    shutil.copy2(original, tmp_path / "b.db")
    assert file_identity(original, "id") == file_identity(original, "id")
    assert file_identity(original, "id") != file_identity(tmp_path / "b.db", "id")
    assert file_identity(original, "id") != file_identity(original, "other")
