"""`wm`: a workspace is pushed to DynamoDB and S3, lost, and pulled into a new one."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.model.stamp import Stamp
from services.objects.filesystem import FilesystemDriver
from services.objects.keyring import Keyring
from services.objects.tokens import UrlSigner
from services.records.port import Key
from services.records.sql import SqliteDriver
from sync_svc.engine.reading import is_synced
from sync_svc.surfaces.aws import variable_of
from tests.e2e.serving import ANN, BOB, Serving, differences, make_tree
from tests.servers import aws
from tests.servers.marks import needs_servers

pytestmark = [
    pytest.mark.timeout(600),  # two dozen processes
    needs_servers,
]


class Cloud:
    """A table and a bucket of their own, and what `wm` needs to reach them."""

    def __init__(self) -> None:
        name = f"story-{uuid.uuid4().hex[:12]}"
        aws.make_table(aws.dynamodb_local(), name)
        aws.make_bucket(aws.versitygw(), name)
        self.settings = (
            f"region={aws.REGION}", f"table={name}", f"bucket={name}", "path_style=true",
            f"dynamodb_endpoint={aws.dynamodb_local().url.rstrip('/')}",
            f"s3_endpoint={aws.versitygw().url.rstrip('/')}",
        )  # fmt: skip
        self.environment = {
            variable_of("cloud", "ACCESS_KEY_ID"): aws.ACCESS_KEY,
            variable_of("cloud", "SECRET_ACCESS_KEY"): aws.SECRET_KEY,
        }

    def connect(self, serving: Serving) -> str:
        more = ("--provider", "aws", "--trust", "full", "--name", "Cloud")
        return serving.wm("connections", "add", "cloud", *self.settings, *more)


@pytest.fixture
def cloud(aws_environment: None) -> Cloud:
    return Cloud()


@pytest.fixture
def nodes(tmp_path: Path, cloud: Cloud) -> Iterator[tuple[Serving, Serving]]:
    """Two machines with `wm`, and the same people."""
    found = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        node = Serving(tmp_path / name)
        node.env = {
            key: value for key, value in node.env.items() if not key.startswith("AWS_")
        } | cloud.environment | {"WM_LOCAL_REALM": "story"}  # fmt: skip
        found.append(node)
    yield found[0], found[1]
    for node in found:
        if node.process is not None:
            node.end(signal.SIGKILL)


def enter(node: Serving, cloud: Cloud, who: str) -> None:
    """Somebody begins on a new machine, and connects it."""
    node.start()
    node.wm("login", "--as", who)
    node.wm("users", "bootstrap-admin")
    cloud.connect(node)


def test_push_wipe_pull_is_identical(
    nodes: tuple[Serving, Serving], cloud: Cloud, tmp_path: Path
) -> None:
    first, second = nodes
    enter(first, cloud, ANN)
    assert aws.SECRET_KEY not in first.wm("connections", "show", "cloud")
    assert f"{aws.REGION}/story-" in first.wm("connections", "list")
    first.wm("projects", "create", "Plans")
    tree = make_tree(tmp_path / "tree", files=20)
    first.wm("import", tree, "-p", "Plans")
    plan = first.json("sync", "plan", "cloud")
    assert int(plan["summary"]["creates"]) > 20, "of a table that was never used"
    tested = first.wm("connections", "test", "cloud")
    assert "Usable." in tested
    assert "recovery" in tested
    assert "succeeded" in first.wm("sync", "push", "cloud")
    assert "equal" in first.wm("sync", "compare", "cloud", "--objects", "--read-bytes")
    assert first.end(signal.SIGTERM) == 0
    records, objects = asyncio.run(content(first.data))
    assert records
    assert len(objects) > 20

    enter(second, cloud, BOB)
    second.wm("sync", "pull", "cloud")
    assert second.end(signal.SIGTERM) == 0
    records_there, objects_there = asyncio.run(content(second.data))
    assert {key for key in records if records[key] != records_there.get(key)} == set()
    assert objects == objects_there

    second.start()
    second.wm("login", "--as", ANN)
    back = tmp_path / "back"
    second.wm("export", "Plans", back, as_=ANN)
    assert differences(tree, back) == []
    second.wm("sync", "push", "cloud", as_=BOB)
    assert "equal" in second.wm("sync", "compare", "cloud", "--objects", "--read-bytes", as_=BOB)


async def content(data: Path) -> tuple[dict[Key, Any], dict[str, str]]:
    """Synced records by key with what their stamps say (digests of bodies among it), and
    the SHA-256 of every object's bytes, of a workspace that is not served."""
    driver = await SqliteDriver.open(data / "workspace.sqlite", read_only=True)
    records: dict[Key, Any] = {}
    after: Key | None = None
    while items := await driver.scan(after, 500):
        for item in items:
            if is_synced(item):
                versions = Stamp.load(item.stamp).shown
                records[item.key] = (item.family, item.body, item.deleted, versions)
        after = items[-1].key
    await driver.close()
    signer = UrlSigner(Keyring.open(data / "keys"))
    store = FilesystemDriver(data / "objects", signer=signer, public_url="", sweep=False)
    page = await store.list("", limit=1000)
    assert page.next is None
    objects = {}
    for info in page.objects:
        digest = hashlib.sha256()
        async for chunk in store.open_read(info.key):
            digest.update(chunk)
        objects[info.key] = digest.hexdigest()
    await store.close()
    return records, objects
