"""What stories of `wm` and clouds are told with: a cloud to connect, machines with the same
people, and what a workspace holds when nobody serves it."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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

__all__ = ["Cloud", "aws_cloud", "azure_cloud", "content", "enter", "machines", "push_wipe_pull"]


@dataclass(frozen=True)
class Cloud:
    """Stores of their own as connection `name`, and what `wm serve` needs to reach them.
    `shown` is in a list of connections, `secret` nowhere."""

    name: str
    provider: str
    settings: Sequence[str]
    shown: str
    environment: dict[str, str] = field(default_factory=dict)
    secret: str = "eyJ"

    def connect(self, serving: Serving) -> str:
        more = ("--provider", self.provider, "--trust", "full", "--name", self.name.capitalize())
        return serving.wm("connections", "add", self.name, *self.settings, *more)


def aws_cloud(connection: str = "cloud") -> Cloud:
    """DynamoDB Local and versitygw."""
    name = f"story-{uuid.uuid4().hex[:12]}"
    aws.make_table(aws.dynamodb_local(), name)
    aws.make_bucket(aws.versitygw(), name)
    settings = (
        f"region={aws.REGION}", f"table={name}", f"bucket={name}", "path_style=true",
        f"dynamodb_endpoint={aws.dynamodb_local().url.rstrip('/')}",
        f"s3_endpoint={aws.versitygw().url.rstrip('/')}",
    )  # fmt: skip
    environment = {
        variable_of(connection, "ACCESS_KEY_ID"): aws.ACCESS_KEY,
        variable_of(connection, "SECRET_ACCESS_KEY"): aws.SECRET_KEY,
    }
    shown = f"{aws.REGION}/{name}"
    return Cloud(connection, "aws", settings, shown, environment, aws.SECRET_KEY)


def azure_cloud(connection: str = "cloud") -> Cloud:
    """The fake of Cosmos DB, and Azurite; with the identity of the machine."""
    from tests.servers import azure, azure_stores

    stores = azure_stores.new_stores("story")
    settings = tuple(f"{name}={value}" for name, value in stores.settings.items())
    shown = f"{stores.name}/{azure_stores.DATABASE}/{stores.name}"
    return Cloud(connection, "azure", settings, shown, azure.environment())


@contextmanager
def machines(tmp_path: Path, *clouds: Cloud, names: Sequence[str]) -> Iterator[list[Serving]]:
    """Machines with `wm`, and the same people; ended at the end."""
    lent = {name: value for cloud in clouds for name, value in cloud.environment.items()}
    found = []
    for name in names:
        (tmp_path / name).mkdir()
        node = Serving(tmp_path / name)
        node.env = {
            key: value for key, value in node.env.items() if not key.startswith("AWS_")
        } | lent | {"WM_LOCAL_REALM": "story"}  # fmt: skip
        found.append(node)
    try:
        yield found
    finally:
        for node in found:
            if node.process is not None:
                node.end(signal.SIGKILL)


def enter(node: Serving, who: str, *clouds: Cloud) -> None:
    """Somebody begins on a new machine, and connects it."""
    node.start()
    node.wm("login", "--as", who)
    node.wm("users", "bootstrap-admin")
    for cloud in clouds:
        cloud.connect(node)


def push_wipe_pull(first: Serving, second: Serving, cloud: Cloud, tmp_path: Path) -> None:
    """The story: what was pushed and lost is pulled by another machine, identical."""
    enter(first, ANN, cloud)
    assert cloud.secret not in first.wm("connections", "show", cloud.name)
    assert cloud.shown in first.wm("connections", "list")
    first.wm("projects", "create", "Plans")
    tree = make_tree(tmp_path / "tree", files=20)
    first.wm("import", tree, "-p", "Plans")
    plan = first.json("sync", "plan", cloud.name)
    assert int(plan["summary"]["creates"]) > 20, "of stores that were never used"
    tested = first.wm("connections", "test", cloud.name)
    assert "Usable." in tested
    assert "recovery" in tested
    assert "succeeded" in first.wm("sync", "push", cloud.name)
    assert "equal" in first.wm("sync", "compare", cloud.name, "--objects", "--read-bytes")
    assert first.end(signal.SIGTERM) == 0
    records, objects = asyncio.run(content(first.data))
    assert records
    assert len(objects) > 20

    enter(second, BOB, cloud)
    second.wm("sync", "pull", cloud.name)
    assert second.end(signal.SIGTERM) == 0
    records_there, objects_there = asyncio.run(content(second.data))
    assert {key for key in records if records[key] != records_there.get(key)} == set()
    assert objects == objects_there

    second.start()
    second.wm("login", "--as", ANN)
    back = tmp_path / "back"
    second.wm("export", "Plans", back, as_=ANN)
    assert differences(tree, back) == []
    second.wm("sync", "push", cloud.name, as_=BOB)
    compared = second.wm(
        "sync", "compare", cloud.name, "--objects", "--read-bytes", as_=BOB
    )
    assert "equal" in compared


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
