"""A surface that lost what others brought, after the last that we brought ourselves."""

from __future__ import annotations

import shutil

from tests.unit.sync_svc.engine.world import World, document, document_key


async def test_what_others_brought_is_sent_again(world: World) -> None:
    await world.project()
    await world.push()
    await world.pull()
    await world.pull("third")
    await world.surfaces["remote"].records.close()
    folder = world.folder / "remote"
    shutil.copytree(folder, world.folder / "kept")
    await world.open("remote")
    await world.write(document("d_1"), on="third")
    await world.push("third")
    await world.pull()
    assert await world.state(document_key("d_1"), on="local") is not None
    await world.surfaces["remote"].records.close()
    for file in (world.folder / "kept").glob("workspace.sqlite*"):
        (folder / file.name).write_bytes(file.read_bytes())
    for name in ("workspace.sqlite-wal", "workspace.sqlite-shm"):
        if not (world.folder / "kept" / name).exists():
            (folder / name).unlink(missing_ok=True)
    await world.open("remote")
    assert await world.state(document_key("d_1"), on="remote") is None
    await world.pull()
    await world.write(document("d_2"))
    await world.push()
    await world.pull()
    assert await world.state(document_key("d_2"), on="remote") is not None
    assert await world.state(document_key("d_1"), on="remote") is not None
