"""Tables, JSON and words for enums."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.account_pb2 import AccountRole
from workspace.project.v1.document_pb2 import Document
from workspace.project.v1.project_pb2 import Project, ProjectStatus

from services.cli.enums import enum_word, enum_words, parse_enum, parse_enums, parse_time
from services.cli.failures import CliError
from services.cli.options import Options
from services.cli.output import (
    as_json,
    field_text,
    human_bytes,
    print_rows,
    printable,
    show_list,
    show_record,
)

Capture = pytest.CaptureFixture[str]
PROJECT = Project(
    project_id="p_1",
    name="Plans",
    status=ProjectStatus.PROJECT_STATUS_ACTIVE,
    my_permissions=[Permission.PERMISSION_VIEW, Permission.PERMISSION_MANAGE_ACCESS],
)


def test_json_is_proto_json_in_snake_case_with_empty_fields(capsys: Capture) -> None:
    show_list(Options(json=True), "projects", [PROJECT], ["name"])
    [project] = json.loads(capsys.readouterr().out)["projects"]
    assert project["project_id"] == "p_1"
    assert project["status"] == "PROJECT_STATUS_ACTIVE"
    assert project["restricted"] is False
    assert "created_at" not in project


def test_a_table_elsewhere_than_at_a_terminal_is_aligned_and_whole(capsys: Capture) -> None:
    long = Project(project_id="p_2", name="x" * 150)
    show_list(Options(), "projects", [PROJECT, long], ["name", "rights=my_permissions"])
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split() == ["NAME", "RIGHTS"]
    assert first.split(None, 1) == ["Plans", "view, manage_access"]
    assert second == "x" * 150


def test_rights_that_are_a_preset_are_named_like_it() -> None:
    assert field_text(Project(my_permissions=[1, 2, 3, 4]), "my_permissions") == "writer"
    assert field_text(Project(my_permissions=[6]), "my_permissions") == "owner"
    assert field_text(PROJECT, "my_permissions") == "view, manage_access"
    assert field_text(Project(), "my_permissions") == ""


def test_an_empty_list_prints_no_rows(capsys: Capture) -> None:
    show_list(Options(), "projects", [], ["name"])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "no projects\n"


def test_one_record_shows_what_is_set(capsys: Capture) -> None:
    show_record(Options(), PROJECT, ("name", "status", "description"), title="Created")
    assert capsys.readouterr().out.splitlines() == [
        "Created", "  name    Plans", "  status  active",
    ]


def test_control_characters_never_reach_the_terminal(capsys: Capture) -> None:
    assert printable("a\x1b[31mb") == "a\\x1b[31mb"
    print_rows(["name"], [["evil\x1b]0;title\x07"]])
    assert "\x1b" not in capsys.readouterr().out
    assert printable("grün 木") == "grün 木"


def test_fields_as_text() -> None:
    document = Document(size_bytes=1536, concept_tags=["a", "b"])
    document.uploaded_at.FromDatetime(datetime(2026, 1, 2, tzinfo=UTC))
    assert field_text(document, "size_bytes") == "1.5 KiB"
    assert field_text(document, "concept_tags") == "a, b"
    assert field_text(document, "uploaded_at").startswith("202")
    assert field_text(document, "trashed_at") == ""
    assert "uploaded_at" in as_json(document)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 30, "3.0 GiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert human_bytes(count) == text


def test_enums_have_words_both_ways() -> None:
    role = AccountRole.DESCRIPTOR
    assert enum_words(role) == ["owner", "account_admin", "administrator", "editor", "viewer"]
    for value in role.values[1:]:
        assert parse_enum("--role", role, enum_word(role, value.number)) == value.number
    assert parse_enum("--role", role, "Account-Admin") == AccountRole.ACCOUNT_ROLE_ACCOUNT_ADMIN
    assert parse_enum("--role", role, "") == 0
    assert enum_word(role, 99) == "99"


def test_a_wrong_word_lists_the_right_ones() -> None:
    with pytest.raises(CliError, match=r"--p: 'fly' is not one of view, comment, review"):
        parse_enums("--p", Permission.DESCRIPTOR, ["view,fly"])
    assert parse_enums("--p", Permission.DESCRIPTOR, ["view,write", "view"]) == [1, 4]


def test_times() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert parse_time("--expires", "7d", now=now) == datetime(2026, 1, 8, tzinfo=UTC)
    assert parse_time("--expires", "2026-12-31") == datetime(2026, 12, 31, tzinfo=UTC)
    assert parse_time("--expires", "2026-12-31T18:00:00+02:00").hour == 18
    with pytest.raises(CliError, match="is no time"):
        parse_time("--expires", "tomorrow")
