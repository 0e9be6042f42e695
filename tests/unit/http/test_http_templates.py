from __future__ import annotations

import pytest

from services.http.templates import parse_template, split_path


def test_parts_of_a_template() -> None:
    template = parse_template("/api/teams/{member.team_id}/members/{member.user_id}:move")
    assert template.segments == ("api", "teams", None, "members", None)
    assert template.variables == ("member.team_id", "member.user_id")
    assert template.verb == "move"


def test_shape_forgets_names_of_variables() -> None:
    assert parse_template("/api/{a}").shape == parse_template("/api/{b=*}").shape
    assert parse_template("/api/{a}").shape != parse_template("/api/{a}:x").shape


@pytest.mark.parametrize(
    "text",
    ["api", "/api/", "/api//x", "/api/{x=**}", "/api/{x=a/*}", "/api/*", "/a/{x}/b/{x}", "/a:",
     "/a:{x}", "/a/x{y}", "/a/{}"],
)  # fmt: skip
def test_refused_templates(text: str) -> None:
    with pytest.raises(ValueError, match=r"/|api"):
        parse_template(text)


def test_the_first_colon_of_the_last_segment_begins_the_verb() -> None:
    assert split_path("/api/a:b/c:d:e") == (["api", "a:b", "c"], "d:e")
    assert split_path("/api/x%3Ay") == (["api", "x%3Ay"], "")
