"""What a run costs in requests of the remote surface's records."""

from __future__ import annotations

from tests.unit.sync_svc.engine.world import World, document


async def _in_step(world: World) -> None:
    await world.project()
    await world.documents(20)
    await world.push()
    await world.pull()
    await world.push()


async def test_a_push_of_nothing_is_one_request(world: World) -> None:
    await _in_step(world)
    remote = world.count("remote")
    await world.push()
    assert remote.calls == ["batch_get"]


async def test_a_push_of_one_change_is_four_requests(world: World) -> None:
    await _in_step(world)
    await world.write(document("d_3", "edited"))
    remote = world.count("remote")
    tally = await world.push()
    assert tally.counts.records_written == 2
    assert [each.partition(" ")[0] for each in remote.calls] == [
        "batch_get", "batch_get", "commit", "commit",
    ]


async def test_a_pull_of_one_change_is_two_requests(world: World) -> None:
    await _in_step(world)
    await world.write(document("d_3", "edited"), on="remote")
    remote = world.count("remote")
    tally = await world.pull()
    assert tally.counts.records_written == 2
    assert remote.calls == ["batch_get", "changes"]


async def test_a_pull_of_nothing_is_two_requests(world: World) -> None:
    await _in_step(world)
    await world.pull()
    remote = world.count("remote")
    await world.pull()
    assert remote.calls == ["batch_get", "changes"]


async def test_all_keys_of_a_partition_are_one_commit(world: World) -> None:
    await _in_step(world)
    for name in ("once", "twice", "thrice"):
        await world.write(document("d_3", name))
    remote = world.count("remote")
    tally = await world.push()
    assert tally.counts.records_written == 4  # the document and three events
    assert remote.calls.count("commit DOCUMENT#d_3") == 1
