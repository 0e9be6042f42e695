"""A workspace whose files are in a cloud's store: served, examined, backed up, restored."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cloud_objects import CLOUDS, Cloud, Stored
from tests.e2e.serving import ANN, Serving, differences, make_tree
from tests.servers.marks import needs_azurite


@pytest.fixture(scope="module", params=["s3", pytest.param("azure", marks=needs_azurite)])
def cloud(request: pytest.FixtureRequest) -> Cloud:
    return CLOUDS[request.param]()


@pytest.fixture(scope="module")
def serving(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Serving:
    served = Serving(tmp_path_factory.mktemp("cloud"))
    served.env |= cloud.settings() | {cloud.place: cloud.new()}
    served.start()
    try:
        served.wm("login", "--as", ANN)
        served.wm("projects", "create", "Plans")
        served.wm("import", make_tree(served.folder / "source"), "-p", "Plans")
    finally:
        served.end(signal.SIGTERM)
    return served


@pytest.fixture
def place(cloud: Cloud, serving: Serving) -> str:
    """The bucket or container."""
    return serving.env[cloud.place]


def examined(serving: Serving, *, code: int = 0) -> dict[str, Any]:
    found = serving.json("doctor", code=code)["checks"]
    return {each["check"]: each for each in found}


def test_doctor_looks_into_the_store(cloud: Cloud, serving: Serving, place: str) -> None:
    found = examined(serving)
    files = len(cloud.keys(place))
    assert files > 5
    assert found["objects"]["verdict"] == "ok"
    assert found["objects"]["detail"].startswith(f"{files} files")
    assert found["orphans"]["verdict"] == "ok"


def test_doctor_sees_what_is_missing_damaged_or_named_by_nobody(
    cloud: Cloud, serving: Serving, place: str
) -> None:
    kept = {key: cloud.get(place, key) for key in cloud.keys(place)}
    # An empty file cannot be damaged by other bytes of its length.
    first, second = [key for key, stored in kept.items() if stored.body][:2]
    cloud.delete(place, first)
    cloud.put(place, second, Stored(b"x" * len(kept[second].body), "text/plain", {}))
    cloud.put(place, "nobody/knows", Stored(b"123", "text/plain", {}))
    found = examined(serving, code=1)
    assert found["objects"]["detail"].startswith("2 files")
    assert {text.split(":")[0] for text in found["objects"]["examples"]} == {first, second}
    assert found["orphans"]["examples"] == ["nobody/knows"]
    cloud.delete(place, "nobody/knows")
    for key in (first, second):
        cloud.put(place, key, kept[key])
    assert examined(serving)["objects"]["verdict"] == "ok"


def test_a_store_that_is_away_is_a_finding(cloud: Cloud, serving: Serving) -> None:
    other = Serving(serving.folder)
    other.data, other.env = serving.data, serving.env | {cloud.place: "wm-not-there"}
    found = examined(other, code=1)
    assert found["records"]["verdict"] == "ok"
    assert cloud.setup in found["objects"]["detail"]


def test_a_backup_is_restored_into_another_store_and_no_foreign_one(
    cloud: Cloud, serving: Serving, place: str, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    made = serving.json("backup", backup)
    assert made["objects"] == len(cloud.keys(place))
    other = Serving(tmp_path)
    another = cloud.new()
    other.env = serving.env | {"WM_CONFIG_DIR": str(tmp_path / "config"), cloud.place: another}
    cloud.put(another, "another/workspace", Stored(b"1", "text/plain", {}))
    assert "another/workspace" in other.wm("restore", backup, code=7)
    assert not other.data.exists()
    cloud.delete(another, "another/workspace")
    other.wm("restore", backup)
    assert sorted(cloud.keys(another)) == sorted(cloud.keys(place))
    assert examined(other)["objects"]["verdict"] == "ok"
    other.start()
    try:
        other.wm("login", "--as", ANN)
        other.wm("export", "Plans", tmp_path / "exported")
    finally:
        other.end()
    assert differences(serving.folder / "source", tmp_path / "exported") == []


def test_with_the_records_of_the_cloud_both_refuse_and_say_what_to_do(
    cloud: Cloud, serving: Serving, tmp_path: Path
) -> None:
    other = Serving(tmp_path)
    other.env = serving.env | cloud.records
    other.data.mkdir()
    said = other.wm("backup", tmp_path / "backup", code=7)
    assert cloud.recovery in said
    assert not (tmp_path / "backup").exists()
    serving.wm("backup", tmp_path / "real")
    other.data.rmdir()
    assert "wm sync push" in other.wm("restore", tmp_path / "real", code=7)
