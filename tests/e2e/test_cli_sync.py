"""`wm sync` against a real `wm serve` and a backup folder."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.serving import ANN, BOB, Serving


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    served = Serving(tmp_path)
    served.start()
    served.wm("login", "--as", BOB)
    served.wm("login", "--as", ANN, "--name", "Ann")
    served.wm("projects", "create", "Plans")
    served.wm("users", "bootstrap-admin")
    served.wm("connections", "add", "backup", f"folder={tmp_path / 'backup'}", "--trust", "full")
    yield served
    if served.process is not None:
        served.end(signal.SIGKILL)


def test_a_push_from_plan_to_status(serving: Serving) -> None:
    assert "grey" in serving.wm("sync", "status")
    plan = serving.json("sync", "plan", "backup")
    assert int(plan["summary"]["creates"]) == len(plan["operations"]) > 0
    told = serving.wm("sync", "plan", "backup", "--limit", "2")
    assert "guard: 0 of at most" in told
    assert "more lines" in told
    done = serving.wm("sync", "push", "backup")
    assert "succeeded" in done
    assert f"{plan['summary']['creates']} records written" in done
    assert "nothing to do" in serving.wm("sync", "plan", "backup")
    assert "succeeded" in serving.wm("sync", "pull", "backup")
    assert "backup" in serving.wm("sync", "status", "backup")
    assert serving.json("sync", "status")["health"] == "SYNC_HEALTH_GREEN"
    assert "equal" in serving.wm("sync", "compare", "backup")
    serving.wm("projects", "create", "More")
    assert "to push" in serving.wm("sync", "status")
    assert "only" in serving.wm("sync", "compare", "backup", code=9)


def test_runs_are_listed_watched_and_not_cancelled_afterwards(serving: Serving) -> None:
    started = serving.json("sync", "push", "backup", "--detach")
    run_id = started["run_id"]
    assert "succeeded" in serving.wm("sync", "watch", run_id)
    lines = serving.wm("sync", "push", "backup", "--json").splitlines()
    last = json.loads(lines[-1])["progress"]["run"]
    assert last["status"] == "RUN_STATUS_SUCCEEDED"
    listed = serving.json("sync", "runs", "backup")["runs"]
    assert [run["run_id"] for run in listed] == [last["run_id"], run_id]
    assert serving.json("sync", "runs", "--status", "failed")["runs"] == []
    assert run_id in serving.wm("sync", "runs")
    serving.wm("sync", "cancel", run_id, code=7)
    serving.wm("sync", "watch", run_id, as_=BOB, code=4)


def test_quarantine_and_nodes_have_verbs(serving: Serving) -> None:
    serving.wm("sync", "push", "backup")
    assert serving.json("sync", "quarantine")["records"] == []
    serving.wm("sync", "quarantine", "--retry", "q_none", code=9)
    (here,) = serving.json("sync", "nodes")["nodes"]
    assert here["self"]
    serving.wm("sync", "evict", here["node_id"], "--yes", code=7)
    serving.wm("sync", "evict", here["node_id"], code=2)
    serving.wm("sync", "nodes", as_=BOB, code=4)


def test_a_run_goes_on_after_a_restart_of_the_server(serving: Serving) -> None:
    """SIGTERM in the middle: the next process finishes the same run."""
    tree = serving.folder / "tree"
    tree.mkdir()
    for number in range(40):
        (tree / f"{number}.txt").write_text(f"text {number}")
    serving.wm("import", tree, "-p", "Plans")
    slow = ("--max-requests", "20")
    run_id = serving.json("sync", "push", "backup", "--detach", *slow)["run_id"]
    assert serving.end(signal.SIGTERM) == 0
    serving.start()
    assert "succeeded" in serving.wm("sync", "watch", run_id)
    assert "equal" in serving.wm("sync", "pull", "backup") + serving.wm("sync", "compare", "backup")


def test_ctrl_c_leaves_the_run_going(serving: Serving) -> None:
    tree = serving.folder / "tree"
    tree.mkdir()
    for number in range(40):
        (tree / f"{number}.txt").write_text(f"text {number}")
    serving.wm("import", tree, "-p", "Plans")
    push = subprocess.Popen(
        serving.command("sync", "push", "backup", "--max-requests", "20"), env=serving.env,
        cwd=serving.folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )
    assert push.stderr is not None
    push.stderr.readline()  # it shows progress
    push.send_signal(signal.SIGINT)
    _, said = push.communicate(timeout=60)
    assert push.returncode == 130
    assert "The run goes on" in said
    run_id = serving.json("sync", "runs")["runs"][0]["run_id"]
    assert run_id in said
    assert "succeeded" in serving.wm("sync", "watch", run_id)
