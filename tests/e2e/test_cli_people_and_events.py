"""Every verb of people, history and events through `wm`, against one real `wm serve`."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.serving import ANN, BOB, MINUTE, Serving

CAROL = "carol@example.com"


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    served = Serving(tmp_path_factory.mktemp("verbs"))
    served.start()
    for person in (ANN, BOB, CAROL):
        served.wm("login", "--as", person, "--name", person.partition("@")[0].title())
    yield served
    if served.process is not None:
        served.end(signal.SIGKILL)


def project(serving: Serving, name: str, *more: str) -> str:
    return str(serving.json("projects", "create", name, *more, as_=ANN)["project_id"])


def put(serving: Serving, name: str, project_name: str, text: str) -> None:
    file = serving.folder / name
    file.write_text(text)
    serving.wm("put", file, "-p", project_name, as_=ANN)


def with_input(serving: Serving, text: str, *arguments: str, as_: str) -> Any:
    return subprocess.run(
        serving.command(*arguments, as_=as_), env=serving.env, cwd=serving.folder, input=text,
        capture_output=True, text=True, timeout=MINUTE, check=False,
    )


def test_explain_users_preview_and_change(serving: Serving) -> None:
    project(serving, "Access")
    serving.wm("grants", "give", "Access", BOB, "viewer", as_=ANN)
    told = serving.wm("check", "Access", "write", "--user", BOB, "--explain", as_=ANN, code=4)
    assert told.startswith(("denied: Bob", f"denied: {BOB}"))
    assert "What would change it" in told
    assert serving.wm("check", "Access", "view", "--explain", as_=BOB).startswith("allowed: Bob")
    users = serving.json("projects", "users", "Access", as_=ANN)["users"]
    assert sorted(len(user["sources"]) for user in users) == [1, 1]

    lost = serving.json("preview", "revoke", "Access", BOB, as_=ANN)
    assert (lost["losing_count"], lost["entries"][0]["lost"]) == (1, ["PERMISSION_VIEW"])
    assert "already" not in serving.wm("preview", "restrict", "Access", as_=ANN)
    serving.wm("grants", "change", "Access", BOB, "writer", "--expires", "7d", as_=ANN)
    assert "writer" in serving.wm("grants", "list", "Access", as_=ANN)
    assert "allowed" in serving.wm("check", "Access", "write", as_=BOB)
    unknown = serving.wm("check", "Access", "view", "--user", "x@y.zz", as_=ANN, code=5)
    assert "no user has the address x@y.zz" in unknown


def test_invitations_and_requests(serving: Serving) -> None:
    serving.wm("accounts", "create", "Client", as_=ANN)
    serving.wm("invitations", "create", CAROL, "--account", "Client", as_=ANN)
    (mine,) = serving.json("invitations", "list", as_=CAROL)["invitations"]
    assert "accepted" in serving.wm("invitations", "accept", mine["invitation_id"], as_=CAROL)
    project_id = project(serving, "Offered")
    made = serving.json("invitations", "create", "--link", "--project", "Offered", as_=ANN)
    again = serving.json("invitations", "resend", made["invitation"]["invitation_id"], as_=ANN)
    secret = again["token"].rpartition(".")[2].lstrip("-")  # which would be an option
    on_line = serving.wm("invitations", "accept", secret, as_=BOB, code=2)
    assert "not for the command line" in on_line
    old = with_input(serving, made["token"], "invitations", "accept", as_=BOB)
    assert (old.returncode, made["token"] in old.stderr) == (7, False)
    taken = with_input(serving, again["token"], "invitations", "accept", as_=BOB)
    assert taken.returncode == 0, taken.stderr
    assert "viewer" in serving.wm("grants", "list", "Offered", as_=ANN)

    serving.wm("access", "request", project_id, "writer", "--note", "please", as_=CAROL)
    assert "please" in serving.wm("access", "list", "Offered", as_=ANN)
    serving.wm("access", "decide", "Offered", CAROL, "--approve", as_=ANN)
    assert "allowed" in serving.wm("check", "Offered", "write", as_=CAROL)

    serving.wm("accounts", "routing", "Client", "--set", "project.orphaned", "--off", as_=ANN)
    assert "nobody" in serving.wm("accounts", "routing", "Client", as_=ANN)
    serving.wm("preferences", "set", "project.shared", "none", as_=BOB)
    assert "none" in serving.wm("preferences", as_=BOB)
    assert "quota" in serving.wm("accounts", "usage", "Client", as_=ANN)


def test_documents_search_history_and_activity(serving: Serving) -> None:
    project(serving, "Papers")
    other = project(serving, "Others")
    put(serving, "zebra.txt", "Papers", "z")
    put(serving, "apple.txt", "Papers", "a")
    shown = serving.wm("files", "list", "Papers", as_=ANN)
    assert shown.index("apple.txt") < shown.index("zebra.txt")
    both = ("Papers:zebra.txt", "Papers:apple.txt")
    changed = serving.wm("files", "update", *both, "--title", "Annual", as_=ANN)
    assert changed == "2 documents changed, 0 failed.\n"
    assert len(serving.json("search", "annu", as_=ANN)["documents"]) == 2
    assert "Annual" in serving.wm("files", "as-of", both[0], "2999-01-01", as_=ANN)
    serving.wm("files", "as-of", both[0], "5d", as_=ANN, code=5)

    serving.wm("files", "copy", both[0], "--to-project", "Others", as_=ANN)
    moved = serving.run("relocate", other, "--json", as_=ANN)  # its file is at home already
    assert moved.returncode == 0, moved.stderr + moved.stdout
    types = [e["type"] for e in serving.json("activity", "-p", "Papers", as_=ANN)["events"]]
    assert types[-1] == "project.created"
    assert "intact" in serving.wm("audit", "verify", "-p", "Papers", as_=ANN)
    audited(serving)

    serving.wm("files", "delete", both[0], as_=ANN)
    refused = with_input(serving, "no\n", "files", "purge", both[0], as_=ANN)
    assert (refused.returncode, "not confirmed" in refused.stderr) == (2, True)
    serving.wm("files", "purge", both[0], "--yes", as_=ANN, code=7)
    serving.wm("projects", "hold", "Papers", "--reason", "case 7", as_=ANN)
    serving.wm("projects", "delete", "Papers", as_=ANN, code=7)
    serving.wm("projects", "hold", "Papers", "--lift", "--reason", "closed", as_=ANN)
    serving.wm("webhooks", "create", "http://example.com/", "-p", "Papers", as_=ANN, code=2)
    assert serving.json("webhooks", "list", "-p", "Papers", as_=ANN) == {"webhooks": []}


def audited(serving: Serving) -> None:
    """What auditors keep elsewhere, and what they are told of a file that was changed."""
    kept, export = serving.folder / "checkpoints", serving.folder / "papers.jsonl"
    kept.write_text(serving.wm("audit", "checkpoint", as_=ANN))
    chains = kept.read_text().count("PROJECT#")
    assert chains >= 2
    shown = serving.wm("audit", "verify", "-c", str(kept), as_=ANN)
    assert shown.count("intact") == len(kept.read_text().splitlines()) == shown.count("holds")
    serving.wm("audit", "verify", "-c", str(kept), as_=BOB, code=1)

    serving.wm("audit", "export", str(export), "-p", "Papers", as_=ANN)
    offline = ("audit", "verify", "--export", str(export), "-c", str(kept))
    assert "intact" in serving.wm(*offline)
    export.write_text(export.read_text().replace("Papers", "Capers"))
    assert "edited" in serving.wm(*offline, code=1)


def test_watch_resumes_where_ctrl_c_ended_it(serving: Serving) -> None:
    watching = subprocess.Popen(
        serving.command("watch", "--json", "--checkpoints", "--type", "project.created", as_=ANN),
        env=serving.env, cwd=serving.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["checkpoint"] is True
    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=MINUTE)
    assert watching.returncode == 130, said
    token = json.loads(said.splitlines()[-1])["resume_token"]
    wanted = project(serving, "Meanwhile")
    lines = serving.wm(
        "watch", "--json", "--type", "project.created", "--resume", token, "--count", "1", as_=ANN
    )
    assert json.loads(lines)["event"]["project_id"] == wanted


def test_users_and_platform(serving: Serving, tmp_path: Path) -> None:
    serving.wm("users", "disable", CAROL, as_=ANN, code=4)
    serving.wm("users", "bootstrap-admin", as_=ANN)
    serving.wm("users", "bootstrap-admin", as_=BOB, code=6)
    out = tmp_path / "bob.ndjson"
    assert "records" in serving.wm("users", "export", "-o", out, as_=BOB)
    assert {"family", "data"} <= json.loads(out.read_text().splitlines()[0]).keys()
    assert out.stat().st_mode & 0o077 == 0
    serving.wm("users", "export", "-o", out, as_=BOB, code=6)
    imported = serving.json(
        "teams", "import-legacy", "old-1", "Old", "--root", BOB, "-m", "eve@example.com", as_=ANN
    )
    assert imported["team"]["name"] == "Old"
    serving.wm("users", "disable", CAROL, "--reason", "left", as_=ANN)
    serving.wm("whoami", as_=CAROL, code=4)
    serving.wm("users", "enable", CAROL, as_=ANN)
    serving.wm("login", "--as", CAROL)
    refused = with_input(serving, "\n", "users", "erase", "me", as_=CAROL)
    assert (refused.returncode, "for good" in refused.stderr) == (2, True)
    assert "refused from now on" in serving.wm("users", "sessions", "revoke", as_=BOB)
    serving.wm("whoami", as_=BOB, code=3)


def test_bad_places_are_named(serving: Serving, tmp_path: Path) -> None:
    project(serving, "Places")
    put(serving, "one.txt", "Places", "1")
    document = "Places:one.txt"
    missing = serving.wm("get", document, "-o", tmp_path / "no" / "x", as_=ANN, code=2)
    assert "there is no folder" in missing
    file = tmp_path / "file"
    file.write_bytes(b"")
    assert "is a file" in serving.wm("export", "Places", file, as_=ANN, code=2)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(b"a")
    refused = serving.wm("import", tree, "-p", "Places", "--into", "../x", as_=ANN, code=2)
    assert refused.count("\n") == 2
    assert "1 file imported" in serving.wm("import", tree, "-p", "Places", as_=ANN)
    http = f"127.0.0.1:{serving.ports[1]}"
    assert "speaks HTTP" in serving.wm("--server", http, "login", as_=ANN, code=8)
    assert "must be an id" in serving.wm("webhooks", "delete", "a b", as_=ANN, code=2)
