"""Documents that come where their project is gone are shown, whatever happens to the run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress

import pytest
from workspace.project.v1.project_pb2 import ProjectStatus

from services.model.errors import WorkspaceError
from services.records.port import DriverUnavailable, Put
from tests.unit.sync_svc.engine.world import CountingDriver, World, document, document_key

DOCUMENT = "DOCUMENT#d_1"
TRASHED = ProjectStatus.PROJECT_STATUS_TRASHED


class _Cut(CountingDriver):
    """Goes away with the commit that brings the document, before or behind it."""

    done = False
    behind = False

    async def commit(self, pk: str, puts: Sequence[Put]) -> list[str]:
        if pk == DOCUMENT and not self.done and any(put.family == "document" for put in puts):
            self.done = True
            if self.behind:
                await super().commit(pk, puts)
            raise DriverUnavailable("gone", ambiguous=self.behind)
        if self.behind and self.done and pk == DOCUMENT and self.kills:
            raise DriverUnavailable("gone")
        return await super().commit(pk, puts)

    kills = False


async def _conflicts(world: World, on: str) -> list[dict[str, object]]:
    rows = [json.loads(each.body) for each in await world.rows(on, "conflict")]
    return [each for each in rows if each["status"] == "open"]


@pytest.mark.parametrize(("behind", "kills"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("push", [False, True])
async def test_an_orphan_is_shown_after_a_cut(
    world: World, behind: bool, kills: bool, push: bool
) -> None:
    await world.project()
    await world.push()
    await world.pull("third")
    goes, comes = ("local", "third") if push else ("third", "local")
    await world.project(status=TRASHED, on=comes)
    if push:
        await world.push("third")
    await world.write(document("d_1"), on=goes)
    if not push:
        await world.push("third")
    place = "remote" if push else "local"
    whole = world.surfaces[place]
    driver = _Cut(whole.records.driver)
    driver.behind, driver.kills = behind, kills
    world.surfaces[place] = whole.with_records(whole.records.through(driver))
    with suppress(WorkspaceError):
        await (world.push() if push else world.pull())
    assert driver.done
    world.surfaces[place] = whole
    await (world.push() if push else world.pull())
    found = await _conflicts(world, place)
    assert [each["kind"] for each in found] == ["parent_deleted"]
    assert await _conflicts(world, "local") != []


async def test_a_first_contact_that_is_cut_off_makes_no_orphans(world: World) -> None:
    """The project came with the first part of a run, its documents come with the next."""
    await world.project(on="third")
    await world.write(document("d_1"), on="third")
    await world.project(status=TRASHED, on="third")
    await world.push("third")
    whole = world.surfaces["local"]
    driver = _Cut(whole.records.driver)
    world.surfaces["local"] = whole.with_records(whole.records.through(driver))
    with suppress(WorkspaceError):
        await world.pull()
    assert driver.done
    world.surfaces["local"] = whole
    await world.pull()
    assert await world.state(document_key("d_1"), on="local") is not None
    assert await _conflicts(world, "local") == []
