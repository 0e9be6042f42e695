"""The HTTP side of sync: NDJSON of runs, and the paths of the contract."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.sync.surfaces import ADMIN, node


async def test_push_is_a_stream_of_lines(tmp_path: Path) -> None:
    async with node(tmp_path / "here") as here, here.ws.client(ADMIN) as client:
        await here.connect(tmp_path / "backup")
        await here.project("One")
        answer = await client.post("/api/sync/push/backup", json={})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines = [json.loads(line)["result"] for line in answer.text.splitlines()]
        assert lines[-1]["progress"]["run"]["status"] == "RUN_STATUS_SUCCEEDED"
        assert lines[-1]["consistency_token"]
        run_id = lines[-1]["progress"]["run"]["run_id"]
        got = await client.get(f"/api/sync/runs/{run_id}")
        assert got.json()["run"]["run_id"] == run_id
        watched = await client.get(f"/api/sync/runs/{run_id}:watch")
        assert len(watched.text.splitlines()) == 1
        status = (await client.get("/api/sync/status")).json()
        assert status["connections"][0]["last_push"]["run_id"] == run_id


async def test_a_refused_push_has_its_own_status(tmp_path: Path) -> None:
    async with node(tmp_path / "here") as here, here.ws.client(ADMIN) as client:
        await here.connect(tmp_path / "backup")
        paused = await client.patch(
            "/api/connections/backup?update_mask=status",
            json={"status": "CONNECTION_STATUS_PAUSED"},
        )
        assert paused.status_code == 200, paused.text
        answer = await client.post("/api/sync/push/backup", json={})
        assert answer.status_code == 400
        assert "ERROR_REASON_INVALID_STATE" in answer.text
        missing = await client.post("/api/sync/push/none", json={})
        assert missing.status_code == 403


async def test_plan_compare_and_start_have_paths(tmp_path: Path) -> None:
    async with node(tmp_path / "here") as here, here.ws.client(ADMIN) as client:
        await here.connect(tmp_path / "backup")
        await here.project("One")
        plan = await client.get(
            "/api/sync/plan/backup", params={"direction": "SYNC_DIRECTION_PUSH", "page_size": 2}
        )
        assert plan.status_code == 200, plan.text
        assert len(plan.json()["operations"]) == 2
        started = await client.post(
            "/api/sync/runs",
            json={"connection_id": "backup", "direction": "SYNC_DIRECTION_PUSH"},
        )
        assert started.status_code == 200, started.text
        run_id = started.json()["run"]["run_id"]
        await client.get(f"/api/sync/runs/{run_id}:watch")
        compared = await client.get("/api/sync/compare/backup")
        assert compared.json()["equal"] is True, compared.text
