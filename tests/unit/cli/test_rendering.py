"""What people read: explanations, watched lines, counts, refused folders."""

from __future__ import annotations

import pytest
from workspace.common.v1.activity_pb2 import ActivityEvent
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1.permission_pb2 import ExplainNode, ExplainOutcome
from workspace.project.v1.permission_service_pb2 import ExplainPermissionResponse

from services.cli.explaining import explanation_lines, ids_in
from services.cli.failures import CliError
from services.cli.importing.plan import require_folder
from services.cli.importing.run import read_tree
from services.cli.output import counted, words_of
from services.cli.watch import event_line

ANN, ACCOUNT, PROJECT = ("u_" + "a" * 26, "a_" + "b" * 26, "p_" + "c" * 26)
GRANT = "g_" + "d" * 26
NAMES = {ANN: "Ann", ACCOUNT: "Client", PROJECT: "Plans"}


def explanation() -> ExplainPermissionResponse:
    blocked = ExplainNode(
        outcome=ExplainOutcome.EXPLAIN_OUTCOME_GIVES_NOTHING,
        text=f"projects/{PROJECT}/grants/{GRANT} gives view",
        children=[
            ExplainNode(
                outcome=ExplainOutcome.EXPLAIN_OUTCOME_BLOCKS,
                text=f"accounts/{ACCOUNT} is suspended",
            )
        ],
    )
    active = ExplainNode(
        outcome=ExplainOutcome.EXPLAIN_OUTCOME_ALLOWS, text=f"users/{ANN} is active"
    )
    root = ExplainNode(
        text=f"users/{ANN} does not hold 'view' on projects/{PROJECT}", children=[active, blocked]
    )
    return ExplainPermissionResponse(root=root, remedies=[f"activate accounts/{ACCOUNT}"])


def test_an_explanation_is_a_tree_with_names_and_what_would_change_it() -> None:
    lines = list(explanation_lines(explanation(), lambda id_: NAMES.get(id_, "")))
    assert lines[:4] == [
        "denied: Ann does not hold 'view' on Plans",
        "|- + Ann is active",
        f"`- - grant {GRANT} gives view",
        "   `- x account Client is suspended",
    ]
    assert "  * activate account Client" in lines
    assert f"Ann is {ANN}" in lines


def test_without_names_the_ids_stay() -> None:
    lines = list(explanation_lines(explanation(), lambda _: ""))
    assert lines[0] == f"denied: {ANN} does not hold 'view' on {PROJECT}"
    assert ids_in(explanation()) == {ANN, ACCOUNT, PROJECT}


def test_an_event_is_one_line() -> None:
    event = ActivityEvent(type="project.created", actor_user_id=ANN, resource="projects/p")
    assert event_line(event, NAMES.get).split() == ["project.created", "Ann", "projects/p"]
    assert event_line(ActivityEvent(type="x.y"), lambda _: "").split() == ["x.y", "-"]


def test_counts_and_rights_in_words() -> None:
    assert [counted(n, "file") for n in (0, 1, 2)] == ["no files", "1 file", "2 files"]
    assert counted(2, "entry", "entries") == "2 entries"
    assert words_of([Permission.PERMISSION_VIEW]) == "viewer"
    assert words_of([Permission.PERMISSION_VIEW, Permission.PERMISSION_WRITE]) == "view, write"
    assert words_of([]) == ""


def test_a_bad_folder_is_refused_once_as_usage() -> None:
    with pytest.raises(CliError) as refused:
        require_folder("../x")
    assert refused.value.failure.exit_code == 2
    require_folder("reports/2027/")


def test_of_two_names_that_are_one_in_nfc_the_exact_one_has_the_place(tmp_path: object) -> None:
    from pathlib import Path

    root = Path(str(tmp_path))
    decomposed, composed = "e\u0301.txt", "\u00e9.txt"
    for name in (decomposed, composed):
        (root / name).write_bytes(name.encode())
    if len(list(root.iterdir())) < 2:  # a file system that folds names itself
        return
    tree = read_tree(root)
    assert [item.entry.relative for item in tree.items] == [composed]
    assert [path for path, _ in tree.refused] == [decomposed]
