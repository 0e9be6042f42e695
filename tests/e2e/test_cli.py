"""`wm` against a real `wm serve`: the main job from sign-in to a clean doctor."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.serving import ANN, BOB, MINUTE, Serving, differences, make_tree


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    served = Serving(tmp_path)
    served.start()
    yield served
    if served.process is not None:
        served.end(signal.SIGKILL)


def test_the_main_job(serving: Serving, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source", files=20)
    count = sum(1 for path in source.rglob("*") if path.is_file())
    serving.wm("login", "--as", ANN, "--name", "Ann")
    assert serving.json("whoami")["user"]["email"] == ANN
    assert "Created" in serving.wm("projects", "create", "Plans")

    plan = serving.json("import", source, "--project", "Plans", "--dry-run")
    assert (plan["create"], plan["refused"]) == (count, [])
    first = serving.json("import", source, "--project", "Plans")
    assert (first["imported"], first["failed"], first["skipped"]) == (count, [], [])
    second = serving.json("import", source, "-p", "Plans")
    assert (second["imported"], second["revised"], second["unchanged"]) == (0, 0, count)

    serving.wm("export", "Plans", tmp_path / "out")
    assert differences(source, tmp_path / "out") == []
    again = serving.json("export", "Plans", tmp_path / "out")
    assert (again["exported"], again["unchanged"]) == (0, count)

    (source / "plain.txt").write_bytes(b"changed")
    third = serving.json("import", source, "-p", "Plans")
    assert (third["revised"], third["unchanged"]) == (1, count - 1)
    refused = serving.json("export", "Plans", tmp_path / "out", code=9)
    assert [entry["path"] for entry in refused["failed"]] == ["plain.txt"]
    serving.wm("export", "Plans", tmp_path / "out", "--force")
    assert differences(source, tmp_path / "out") == []

    assert serving.end() == 0
    findings = {check["check"]: check for check in serving.json("doctor")["checks"]}
    assert {"configuration", "disk", "clock", "keys", "database"} <= findings.keys()
    assert findings["objects"]["detail"] == f"{count} files have their checksums"
    assert all(check["verdict"] in ("ok", "info", "warning") for check in findings.values())


def test_sharing_shows_exactly_what_was_shared(serving: Serving, tmp_path: Path) -> None:
    serving.wm("login", "--as", ANN)
    serving.wm("projects", "create", "Shared")
    serving.wm("projects", "create", "Private")
    file = tmp_path / "hello.txt"
    file.write_bytes(b"hello")
    serving.wm("put", file, "-p", "Shared", "--into", "notes")
    serving.wm("login", "--as", BOB)
    assert serving.json("projects", "list", as_=BOB)["projects"] == []
    assert "no project 'Shared'" in serving.wm("get", "Shared:notes/hello.txt", as_=BOB, code=5)

    serving.wm("grants", "give", "Shared", BOB, "viewer", as_=ANN)
    names = [p["name"] for p in serving.json("projects", "list", as_=BOB)["projects"]]
    assert names == ["Shared"]
    assert serving.json("check", "me", "view", "Shared", as_=BOB)["allowed"] is True
    assert serving.json("check", BOB, "write", "Shared", as_=ANN, code=4)["allowed"] is False
    serving.wm("get", "Shared:notes/hello.txt", "-o", tmp_path / "got", as_=BOB)
    assert (tmp_path / "got").read_bytes() == b"hello"
    refused = serving.json("import", make_tree(tmp_path / "t"), "-p", "Shared", as_=BOB, code=9)
    assert refused["imported"] == 0
    assert "PERMISSION_DENIED" in refused["failed"][0]["reason"]

    [grant] = [
        g for g in serving.json("grants", "list", "Shared", as_=ANN)["grants"]
        if g["source"] == "GRANT_SOURCE_DIRECT"
    ]
    serving.wm("grants", "revoke", "Shared", grant["grant_id"], as_=ANN)
    assert serving.json("projects", "list", as_=BOB)["projects"] == []


def test_killed_in_the_middle_of_an_import(serving: Serving, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source", files=150)
    count = sum(1 for path in source.rglob("*") if path.is_file())
    serving.wm("login", "--as", ANN)
    project = serving.json("projects", "create", "Plans")["project_id"]
    objects = serving.data / "objects"
    importing = subprocess.Popen(
        serving.command("import", source, "-p", project, "--json", "--retry-for", "1"),
        env=serving.env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + MINUTE
    while sum(1 for path in objects.rglob("*") if path.is_file()) < 20:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    serving.end(signal.SIGKILL)
    printed, errors = importing.communicate(timeout=MINUTE)
    assert importing.returncode == 8, (printed, errors)
    interrupted = json.loads(printed)
    assert interrupted["not_tried"] > 0

    serving.start()
    finished = serving.json("import", source, "-p", project)
    assert finished["failed"] == []
    assert finished["imported"] + finished["unchanged"] == count
    assert finished["imported"] >= interrupted["not_tried"] - 8
    documents = serving.json("documents", "list", project)["documents"]
    places = [(d["relative_path"], d["name"]) for d in documents]
    assert len(places) == len(set(places)) == count
    serving.wm("export", project, tmp_path / "out")
    assert differences(source, tmp_path / "out") == []
    serving.end()
    assert serving.json("doctor")["healthy"] is True


def test_the_server_comes_back_while_an_import_waits(serving: Serving, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source", files=60)
    serving.wm("login", "--as", ANN)
    serving.wm("projects", "create", "Plans")
    importing = subprocess.Popen(
        serving.command("import", source, "-p", "Plans", "--json"),
        env=serving.env, cwd=tmp_path, stdout=subprocess.PIPE,
    )
    objects = serving.data / "objects"
    deadline = time.monotonic() + MINUTE
    while sum(1 for path in objects.rglob("*") if path.is_file()) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    serving.end(signal.SIGKILL)
    serving.start()
    printed, _ = importing.communicate(timeout=MINUTE)
    assert importing.returncode == 0, printed
    assert json.loads(printed)["failed"] == []


def test_doctor_finds_what_was_damaged(serving: Serving, tmp_path: Path) -> None:
    serving.wm("login", "--as", ANN)
    serving.wm("projects", "create", "Plans")
    serving.wm("import", make_tree(tmp_path / "source"), "-p", "Plans")
    beside = {c["check"]: c["verdict"] for c in serving.json("doctor")["checks"]}
    assert (beside["grpc"], beside["http"]) == ("ok", "ok")
    assert beside["records"] == beside["objects"] == "skipped"
    serving.end()

    files = sorted(p for p in (serving.data / "objects").rglob("*") if p.is_file())
    changed, missing, orphan = files[0], files[-1], files[-1].with_name("orphan.txt")
    shutil.copy(files[1], orphan)
    missing.unlink()
    data = changed.read_bytes() or b"?"
    changed.chmod(0o600)
    changed.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    found = {c["check"]: c for c in serving.json("doctor", code=1)["checks"]}
    assert found["records"]["verdict"] == "ok"
    assert found["objects"]["verdict"] == "failed"
    assert len(found["objects"]["examples"]) == 2
    assert found["orphans"]["verdict"] == "info"
    assert "orphan.txt" in found["orphans"]["examples"][0]


def test_doctor_finds_a_record_that_was_changed_behind_our_back(serving: Serving) -> None:
    import sqlite3

    serving.wm("login", "--as", ANN)
    serving.wm("projects", "create", "Plans")
    serving.end()
    with sqlite3.connect(serving.data / "workspace.sqlite") as connection:
        changed = connection.execute(
            "UPDATE items SET body = replace(body, 'Plans', 'Plons') WHERE family = 'project'"
        )
        assert changed.rowcount == 1
    connection.close()
    found = {c["check"]: c for c in serving.json("doctor", code=1)["checks"]}
    assert found["records"]["verdict"] == "failed"
    assert found["records"]["examples"][0].startswith("PROJECT#")


def test_names_that_cannot_be_kept_are_reported_and_the_rest_is_imported(
    serving: Serving, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("good.txt", "bad:colon.txt", "ignored.tmp"):
        (source / name).write_text(name, encoding="utf-8")
    (source / "link").symlink_to("good.txt")
    (source / "nothing").mkdir()
    (source / ".wmignore").write_text("*.tmp\n", encoding="utf-8")
    serving.wm("login", "--as", ANN)
    serving.wm("projects", "create", "Plans")
    done = serving.json("import", source, "-p", "Plans", "--into", "in/here", code=9)
    assert (done["imported"], done["ignored"]) == (2, 1)
    assert [entry["path"] for entry in done["failed"]] == ["bad:colon.txt"]
    assert {entry["path"] for entry in done["skipped"]} == {"link", "nothing"}
    folders = {d["relative_path"] for d in serving.json("files", "list", "Plans")["documents"]}
    assert folders == {"in/here"}
