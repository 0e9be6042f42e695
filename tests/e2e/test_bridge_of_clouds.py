"""The bridge: one workspace with a connection to AWS and one to Azure keeps all three equal.

DynamoDB Local and versitygw, the fake of Cosmos DB and Azurite. On each cloud a workspace of
somebody else pulls and pushes, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from workspace.sync.v1.conflict_pb2 import ConflictKind, Resolution
from workspace.sync.v1.connection_pb2 import Connection

from services.backends import wall_millis
from services.model.versions import State
from services.objects.store import ObjectStore
from services.records.port import Key
from services.records.replica import Replica
from services.records.store import RecordStore
from sync_svc.engine.reading import is_synced
from sync_svc.surfaces.opening import SurfaceOpener
from tests.integration.sync.backups import Backups, Clouds
from tests.integration.sync.backups_azure import AzureClouds
from tests.integration.sync.nodes import Node, require_equal
from tests.servers.marks import needs_azurite, needs_servers

pytestmark = [
    pytest.mark.timeout(600), needs_servers, needs_azurite,
    pytest.mark.usefixtures("aws_environment", "azure_environment"),
]  # fmt: skip
EDIT_EDIT = ConflictKind.CONFLICT_KIND_EDIT_EDIT
Held = tuple[dict[Key, State], dict[str, str]]
"""Records with their versions, and the SHA-256 of the bytes of objects."""


class Places:
    """Stores on the cloud that a folder is called after. `close` it."""

    def __init__(self, setenv: Any) -> None:
        self._clouds: dict[str, Clouds | AzureClouds] = {
            "aws": Clouds(setenv), "azure": AzureClouds()
        }  # fmt: skip

    def close(self) -> None:
        for cloud in self._clouds.values():
            cloud.close()

    def manifest(self, folder: Path, connection_id: str) -> dict[str, Any]:
        return self._clouds[folder.name].manifest(folder, connection_id)

    def gone(self, folder: Path, what: str, other: Path) -> AbstractContextManager[None]:
        return self._clouds[folder.name].gone(folder, what, other)


@pytest.fixture
async def places(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Places]:
    for cloud in ("aws", "azure"):  # nothing here is about deadlines
        monkeypatch.setattr(f"sync_svc.surfaces.{cloud}._OPEN_SECONDS", 90.0)
        monkeypatch.setattr(f"sync_svc.surfaces.{cloud}._CALL_SECONDS", 30.0)
    made = Places(monkeypatch.setenv)
    yield made
    made.close()


@asynccontextmanager
async def workspace(tmp_path: Path, name: str, places: Backups, *on: str) -> AsyncIterator[Node]:
    """One of Ann's, with a connection to each cloud it is on."""
    async with Node.open(tmp_path / name, backups=places) as node:
        for cloud in on:
            await node.connect(tmp_path / cloud, name=cloud)
        yield node


async def test_three_surfaces_become_equal(tmp_path: Path, places: Places) -> None:
    async with (
        workspace(tmp_path, "bridge", places, "aws", "azure") as bridge,
        workspace(tmp_path, "on-aws", places, "aws") as on_aws,
        workspace(tmp_path, "on-azure", places, "azure") as on_azure,
    ):
        project = await bridge.project()
        plan, sheet, notes = [
            await bridge.document(project, f"{name}.txt", name.encode())
            for name in ("plan", "sheet", "notes")
        ]
        await push_to_both(bridge)
        await on_aws.pull("aws")
        await on_azure.pull("azure")
        assert await on_aws.bytes_of(plan) == await on_azure.bytes_of(plan) == b"plan"

        # Edits on either side: of two documents apart from each other, of the third at once.
        await on_aws.edit(plan, title="plan of AWS")
        await on_azure.revise(sheet, b"sheet of Azure")
        await on_aws.edit(notes, title="notes of AWS")
        await on_azure.edit(notes, title="notes of Azure")
        await on_aws.push("aws")
        await on_azure.push("azure")

        await bridge.pull("aws")
        await bridge.pull("azure")
        (conflict,) = await bridge.conflicts()
        assert (conflict.document_id, conflict.kind) == (notes, EDIT_EDIT)
        await bridge.resolve(conflict.conflict_id, Resolution(ours=Resolution.Ours()))
        kept = (await bridge.read(notes)).title
        assert kept in ("notes of AWS", "notes of Azure")
        await push_to_both(bridge)

        await on_aws.pull("aws")
        await on_azure.pull("azure")
        await require_equal(bridge, on_aws, on_azure)
        for node in (bridge, on_aws, on_azure):
            assert await node.conflicts() == [], "decided once, and closed everywhere"
            assert (await node.read(plan)).title == "plan of AWS"
            assert await node.bytes_of(sheet) == b"sheet of Azure"
            assert (await node.read(notes)).title == kept
        await require_same_content(bridge, tmp_path, places)


async def push_to_both(node: Node) -> None:
    for cloud in ("aws", "azure"):
        await node.push(cloud)


async def require_same_content(node: Node, tmp_path: Path, places: Places) -> None:
    """What each of the three holds, read by itself."""
    kernel = node.ws.process.kernel
    records, objects = await held(kernel.records, kernel.objects)
    assert len(records) > 5
    assert len(objects) >= 3
    opener = SurfaceOpener(own_instance_id="", data_dir=tmp_path / "none", wall_ms=wall_millis)
    for cloud in ("aws", "azure"):
        manifest = places.manifest(tmp_path / cloud, cloud)
        async with opener(Connection(connection_id=cloud, **manifest), read_only=True) as surface:
            there = await held(surface.records, surface.objects)
        assert there[1] == objects
        assert there[0].keys() == records.keys()
        assert [key for key in records if not records[key].same_as(there[0][key])] == []


async def held(records: RecordStore, objects: ObjectStore) -> Held:
    """See `Held`."""
    keys: list[Key] = []
    after: Key | None = None
    while items := await records.scan(after, 500):
        keys += [item.key for item in items if is_synced(item)]
        after = items[-1].key
    states = await Replica(records).states(keys)
    found = {key: state for key, state in zip(keys, states, strict=True) if state is not None}
    digests = {}
    for info in (await objects.list("", limit=1000)).objects:
        digest = hashlib.sha256()
        async for chunk in objects.open_read(info.key):
            digest.update(chunk)
        digests[info.key] = digest.hexdigest()
    return found, digests
