"""`wm backup` while a server writes, `wm restore`, and what is refused."""

from __future__ import annotations

import gzip
import json
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.serving import ANN, Serving, differences, make_tree


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    served = Serving(tmp_path)
    try:
        served.start()
        served.wm("login", "--as", ANN)
        served.wm("projects", "create", "Plans")
        yield served
    finally:
        if served.process is not None:
            served.end(signal.SIGKILL)


def restored(serving: Serving, backup: Path) -> Serving:
    """A workspace of its own from a backup, not started."""
    other = Serving(serving.folder)
    other.data = serving.folder / "restored"
    other.env = serving.env | {"WM_CONFIG_DIR": str(serving.folder / "config2")}
    other.wm("restore", backup)
    return other


def import_until(serving: Serving, source: Path, stop: threading.Event) -> int:
    """Projects full of files, one after the other, until told to stop."""
    rounds = 0
    while not stop.is_set():
        serving.wm("projects", "create", f"Load {rounds}")
        serving.wm("import", source, "-p", f"Load {rounds}")
        rounds += 1
    return rounds


def test_a_backup_under_load_restores_to_equal_digests(serving: Serving, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source", files=40)
    serving.wm("import", source, "-p", "Plans")
    stop, backup = threading.Event(), tmp_path / "backup"
    load = threading.Thread(target=import_until, args=(serving, source, stop))
    load.start()
    try:
        made = [serving.json("backup", backup) for _ in range(4)]
    finally:
        stop.set()
        load.join()
    assert all(each["missing"] == [] for each in made)
    assert made[-1]["records"] > made[0]["records"], "nothing was written meanwhile"

    other = restored(serving, backup)
    health = other.json("doctor")
    assert health["healthy"], health
    again = other.json("backup", tmp_path / "again")
    assert again["records_sha256"] == made[-1]["records_sha256"]

    serving.end()
    other.start()
    other.wm("login", "--as", ANN)
    other.wm("export", "Plans", tmp_path / "out")
    assert differences(source, tmp_path / "out") == []
    other.wm("import", source, "-p", "Plans")
    assert other.end() == 0
    instance = other.json("doctor")
    assert instance["healthy"]


def test_a_restored_workspace_mints_versions_of_its_own(serving: Serving, tmp_path: Path) -> None:
    serving.wm("backup", tmp_path / "backup")
    serving.end()
    other = restored(serving, tmp_path / "backup")
    other.start()
    other.end()
    before = instance_of(serving, tmp_path / "one")
    after = instance_of(other, tmp_path / "two")
    assert after["instance_id"] == before["instance_id"]
    assert after["incarnation"] != before["incarnation"]


def instance_of(serving: Serving, backup: Path) -> dict[str, str]:
    serving.wm("backup", backup)
    with gzip.open(backup / "records.jsonl.gz", "rt") as rows:
        row = next(row for row in map(json.loads, rows) if row["family"] == "instance")
    found: dict[str, str] = json.loads(row["body"])
    return found


def test_a_second_backup_into_the_folder_follows_the_workspace(
    serving: Serving, tmp_path: Path
) -> None:
    serving.wm("import", make_tree(tmp_path / "a"), "-p", "Plans")
    first = serving.json("backup", tmp_path / "backup")
    (tmp_path / "new.txt").write_text("new")
    serving.wm("put", tmp_path / "new.txt", "-p", "Plans")
    second = serving.json("backup", tmp_path / "backup")
    assert second["objects"] == first["objects"] + 1
    assert restored(serving, tmp_path / "backup").json("doctor")["healthy"]


def test_key_files_are_private_or_left_out(serving: Serving, tmp_path: Path) -> None:
    serving.wm("backup", tmp_path / "with")
    serving.wm("backup", "--without-keys", tmp_path / "without")
    assert not (tmp_path / "without" / "keys").exists()
    files = [tmp_path / "with" / "records.jsonl.gz", *(tmp_path / "with" / "keys").iterdir()]
    assert len(files) > 1
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert (tmp_path / "with").stat().st_mode & 0o777 == 0o700


@pytest.mark.case("K25")
def test_what_is_no_backup_is_refused_and_nothing_is_left(
    serving: Serving, tmp_path: Path
) -> None:
    serving.wm("import", make_tree(tmp_path / "a"), "-p", "Plans")
    backup, target = tmp_path / "backup", tmp_path / "restored"
    serving.wm("backup", backup)
    other = Serving(tmp_path)
    other.data, other.env = target, serving.env

    def refusal(damaged: Path) -> str:
        said = other.run("restore", damaged)
        assert said.returncode != 0
        assert not target.exists()
        assert not list(tmp_path.glob(".*restoring*"))
        return said.stderr

    def damaged(name: str) -> Path:
        return Path(shutil.copytree(backup, tmp_path / name))

    incomplete = damaged("incomplete")
    (incomplete / "backup.json").unlink()
    assert "no complete backup" in refusal(incomplete)
    newer = damaged("newer")
    manifest = json.loads((newer / "backup.json").read_text())
    (newer / "backup.json").write_text(json.dumps(manifest | {"format": 2}))
    assert "install the version" in refusal(newer)
    short = damaged("short")
    rows = gzip.decompress((short / "records.jsonl.gz").read_bytes()).splitlines(keepends=True)
    (short / "records.jsonl.gz").write_bytes(gzip.compress(b"".join(rows[:-1])))
    assert "not the file that was written" in refusal(short)
    torn = damaged("torn")
    data = (torn / "records.jsonl.gz").read_bytes()
    (torn / "records.jsonl.gz").write_bytes(data[: len(data) // 2])
    assert "damaged" in refusal(torn)
    fewer = damaged("fewer")
    next(path for path in (fewer / "objects").rglob("*") if path.is_file()).unlink()
    assert "files; use another backup" in refusal(fewer)
    rotten = damaged("rotten")
    largest = max((rotten / "objects").rglob("*.bin"), key=lambda path: path.stat().st_size)
    largest.write_bytes(b"!" + largest.read_bytes()[1:])
    assert "damaged" in refusal(rotten)


def test_a_full_target_and_a_foreign_folder_are_refused(serving: Serving, tmp_path: Path) -> None:
    serving.wm("backup", tmp_path / "backup")
    assert "not empty" in serving.wm("restore", tmp_path / "backup", code=1)
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").write_bytes(b"cat")
    assert "something else" in serving.wm("backup", other, code=2)
    assert [path.name for path in other.iterdir()] == ["cat.jpg"]


def test_a_lost_file_is_named(serving: Serving, tmp_path: Path) -> None:
    serving.wm("import", make_tree(tmp_path / "a"), "-p", "Plans")
    lost = next((serving.data / "objects").rglob("*.bin"))
    lost.unlink()
    made = serving.json("backup", tmp_path / "backup", code=9)
    assert made["missing"] == [lost.relative_to(serving.data / "objects").as_posix()]
