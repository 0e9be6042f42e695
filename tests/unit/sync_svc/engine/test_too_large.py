"""A record whose versions are more than one commit takes blocks nothing."""

from __future__ import annotations

import json

import pytest

from tests.unit.sync_svc.engine.world import World, document, document_key


async def test_it_is_put_aside_with_its_reason_and_the_rest_comes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.project()
    await world.documents(3)
    await world.push()
    await world.write(document("d_0", "here"))
    for number in range(3):
        await world.write(document(f"d_{number}", "there"), on="remote")
    with monkeypatch.context() as patch:  # HEAD, a record, two versions, a conflict are 5
        patch.setattr("services.records.limits.MAX_ROWS", 4)
        tally = await world.pull()
    assert tally.counts.quarantined == 1
    [aside] = await world.rows("local", "quarantine")
    row = json.loads(aside.body)
    assert "more than one commit takes" in row["message"]
    assert row["reason"] == "QUARANTINE_REASON_REJECTED"
    for name in ("d_1", "d_2"):
        mine, theirs = [
            await world.state(document_key(name), on=side) for side in ("local", "remote")
        ]
        assert mine is not None
        assert theirs is not None
        assert mine.same_as(theirs)
    local = await world.state(document_key("d_0"), on="local")
    assert local is not None
    assert len(local.versions) == 1, "nothing of it was written"
