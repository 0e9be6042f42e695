"""A workspace whose files are in S3: served, examined, backed up, restored."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.e2e.serving import ANN, Serving, differences, make_tree
from tests.servers.aws import REGION, environment, moto

ENDPOINT = "WM_AWS_S3_ENDPOINT"


def url() -> str:
    return moto().url.removesuffix("moto-api/").rstrip("/")


def s3() -> Any:
    keys = {name.lower(): value for name, value in environment().items() if "ACCESS" in name}
    return boto3.client("s3", endpoint_url=url(), region_name=REGION, **keys)


def new_bucket() -> str:
    name = f"wm-{secrets.token_hex(5)}"
    s3().create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


def keys_of(bucket: str) -> list[str]:
    return [each["Key"] for each in s3().list_objects_v2(Bucket=bucket).get("Contents", [])]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    served = Serving(tmp_path_factory.mktemp("s3"))
    served.env |= environment() | {
        "WM_OBJECTS": "s3", "WM_AWS_S3_BUCKET": new_bucket(), "WM_AWS_REGION": REGION,
        ENDPOINT: url(), "WM_AWS_S3_PATH_STYLE": "true",
    }  # fmt: skip
    served.start()
    served.wm("login", "--as", ANN)
    served.wm("projects", "create", "Plans")
    served.wm("import", make_tree(served.folder / "source"), "-p", "Plans")
    served.end()
    yield served
    if served.process is not None:
        served.end(signal.SIGKILL)


def examined(serving: Serving, *, code: int = 0) -> dict[str, Any]:
    found = serving.json("doctor", code=code)["checks"]
    return {each["check"]: each for each in found}


def test_doctor_looks_into_the_bucket(serving: Serving) -> None:
    found = examined(serving)
    files = len(keys_of(serving.env["WM_AWS_S3_BUCKET"]))
    assert files > 5
    assert found["objects"]["verdict"] == "ok"
    assert found["objects"]["detail"].startswith(f"{files} files")
    assert found["orphans"]["verdict"] == "ok"


def test_doctor_sees_what_is_missing_damaged_or_named_by_nobody(serving: Serving) -> None:
    bucket, client = serving.env["WM_AWS_S3_BUCKET"], s3()
    sizes = {k: client.head_object(Bucket=bucket, Key=k)["ContentLength"] for k in keys_of(bucket)}
    # An empty file cannot be damaged by other bytes of its length.
    first, second = [key for key, size in sizes.items() if size][:2]
    kept = {key: client.get_object(Bucket=bucket, Key=key) for key in (first, second)}
    bodies = {key: answer["Body"].read() for key, answer in kept.items()}
    client.delete_object(Bucket=bucket, Key=first)
    client.put_object(Bucket=bucket, Key=second, Body=b"x" * len(bodies[second]))
    client.put_object(Bucket=bucket, Key="nobody/knows", Body=b"123")
    found = examined(serving, code=1)
    assert found["objects"]["detail"].startswith("2 files")
    assert {text.split(":")[0] for text in found["objects"]["examples"]} == {first, second}
    assert found["orphans"]["examples"] == ["nobody/knows"]
    client.delete_object(Bucket=bucket, Key="nobody/knows")
    for key, body in bodies.items():
        client.put_object(
            Bucket=bucket, Key=key, Body=body, ContentType=kept[key]["ContentType"],
            Metadata=kept[key]["Metadata"], ChecksumAlgorithm="SHA256",
        )
    assert examined(serving)["objects"]["verdict"] == "ok"


def test_a_store_that_is_away_is_a_finding(serving: Serving) -> None:
    other = Serving(serving.folder)
    other.data, other.env = serving.data, serving.env | {"WM_AWS_S3_BUCKET": "wm-not-there"}
    found = examined(other, code=1)
    assert found["records"]["verdict"] == "ok"
    assert "wm setup aws" in found["objects"]["detail"]


def test_a_backup_is_restored_into_another_bucket_and_no_foreign_one(
    serving: Serving, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    made = serving.json("backup", backup)
    assert made["objects"] == len(keys_of(serving.env["WM_AWS_S3_BUCKET"]))
    other = Serving(tmp_path)
    other.env = serving.env | {
        "WM_CONFIG_DIR": str(tmp_path / "config"), "WM_AWS_S3_BUCKET": new_bucket()
    }
    bucket = other.env["WM_AWS_S3_BUCKET"]
    s3().put_object(Bucket=bucket, Key="another/workspace", Body=b"1")
    assert "another/workspace" in other.wm("restore", backup, code=7)
    assert not other.data.exists()
    s3().delete_object(Bucket=bucket, Key="another/workspace")
    other.wm("restore", backup)
    assert sorted(keys_of(bucket)) == sorted(keys_of(serving.env["WM_AWS_S3_BUCKET"]))
    assert examined(other)["objects"]["verdict"] == "ok"
    other.start()
    try:
        other.wm("login", "--as", ANN)
        other.wm("export", "Plans", tmp_path / "exported")
    finally:
        other.end()
    assert differences(serving.folder / "source", tmp_path / "exported") == []


def test_with_dynamodb_both_refuse_and_say_what_to_do(serving: Serving, tmp_path: Path) -> None:
    other = Serving(tmp_path)
    other.env = serving.env | {"WM_RECORDS": "dynamodb", "WM_AWS_DYNAMODB_TABLE": "rows"}
    other.data.mkdir()
    said = other.wm("backup", tmp_path / "backup", code=7)
    assert "point-in-time recovery" in said
    assert not (tmp_path / "backup").exists()
    serving.wm("backup", tmp_path / "real")
    other.data.rmdir()
    assert "wm sync push" in other.wm("restore", tmp_path / "real", code=7)
