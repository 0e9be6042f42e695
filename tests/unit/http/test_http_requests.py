from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from workspace.common.v1.classification_pb2 import Classification
from workspace.project.v1.document_pb2 import DocumentStatus

from services.http.errors import HttpError
from services.http.requests import build_request
from services.http.routes import RouteTable
from tests.unit.http.contract import all_methods

TABLE = RouteTable(all_methods())


def build(verb: str, target: str, body: bytes = b"", if_match: str = "") -> Any:
    parts = urlsplit(target)
    route, parameters = TABLE.match(verb, parts.path)
    return build_request(
        route,
        parameters=parameters,
        query=parts.query.encode(),
        body=body,
        if_match=if_match,
    )


def refused(verb: str, target: str, body: bytes = b"", if_match: str = "") -> str:
    with pytest.raises(HttpError) as error:
        build(verb, target, body, if_match)
    assert error.value.status == 400
    return error.value.error.violations[0].field


def test_query_of_scalars_enums_and_timestamps() -> None:
    listed = build(
        "GET",
        "/api/documents?project_id=p1&status=DOCUMENT_STATUS_ARCHIVED&page_size=7&tag=a%20b%26c"
        "&classification=1&pageToken=x%2By",
    )
    assert (listed.project_id, listed.page_size, listed.tag) == ("p1", 7, "a b&c")
    assert listed.status == DocumentStatus.Value("DOCUMENT_STATUS_ARCHIVED")
    assert listed.classification == Classification.values()[1]
    assert listed.page_token == "x+y"
    found = build("GET", "/api/activity?project_id=p1&since=2026-01-31T12:00:00.5Z")
    assert found.since.ToJsonString() == "2026-01-31T12:00:00.500Z"


def test_repeated_and_dotted_parameters() -> None:
    watched = build("GET", "/api/events:watch?project_ids=a&project_ids=b&projectIds=c")
    assert list(watched.project_ids) == ["a", "b", "c"]
    fresh = build(
        "GET",
        "/api/projects/p1/permissions"
        "?consistency.at_least_as_fresh.tokens=t1&consistency.atLeastAsFresh.tokens=t2",
    )
    assert fresh.project_id == "p1"
    assert list(fresh.consistency.at_least_as_fresh.tokens) == ["t1", "t2"]
    full = build("GET", "/api/projects/p1/permissions?consistency.fully_consistent=true")
    assert full.consistency.fully_consistent is True


def test_field_mask_parameter() -> None:
    request = build(
        "PATCH", "/api/accounts/a1?update_mask=name,billingPlan,data_classification", b"{}"
    )
    assert list(request.update_mask.paths) == ["name", "billing_plan", "data_classification"]
    assert request.account.account_id == "a1"


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ("/api/documents?nope=1", "nope"),
        ("/api/documents?project_id=a&project_id=b", "project_id"),
        ("/api/documents?project_id=a&projectId=b", "projectId"),
        ("/api/documents?page_size=", "page_size"),
        ("/api/documents?page_size=1.5x", "page_size"),
        ("/api/documents?page_size=99999999999", "page_size"),
        ("/api/documents?status=NOPE", "status"),
        ("/api/documents?status=77", "status"),
        ("/api/documents?tag=%00", "tag"),
        ("/api/documents?tag=%ff", "query"),
        ("/api/documents?tag=%z", "query"),
        ("/api/documents?tag", "query"),
        ("/api/documents?tag.x=1", "tag.x"),
        ("/api/documents?access_token=abc", "access_token"),
        ("/api/projects/p1?project_id=p1", "project_id"),
        ("/api/projects/p1/permissions?consistency=1", "consistency"),
        ("/api/projects/p1/permissions?consistency.fully_consistent=1",
         "consistency.fully_consistent"),
        ("/api/projects/p1/permissions?consistency.nope=1", "consistency.nope"),
        ("/api/activity?since=yesterday", "since"),
        ("/api/documents?" + "&".join(["project_id=a"] * 300), "query"),
    ],
)  # fmt: skip
def test_bad_query_parameters_are_named(target: str, field: str) -> None:
    assert refused("GET", target) == field


def test_members_of_one_oneof_exclude_each_other() -> None:
    target = (
        "/api/projects/p1/permissions"
        "?consistency.fully_consistent=true&consistency.minimize_latency=true"
    )
    assert refused("GET", target) == "consistency.minimize_latency"


def test_body_and_query_keep_apart() -> None:
    assert refused("POST", "/api/accounts?name=a", b'{"type":"company"}') == "name"
    assert refused("PATCH", "/api/accounts/a1?account.name=a", b"{}") == "account.name"
    assert refused("GET", "/api/accounts/a1", b"{}") == "body"
    assert refused("DELETE", "/api/accounts/a1", b"{}") == "body"


def test_path_wins_only_over_the_same() -> None:
    same = build("PATCH", "/api/accounts/a1", b'{"account_id":"a1","name":"n"}')
    assert (same.account.account_id, same.account.name) == ("a1", "n")
    body = b'{"account_id":"a2"}'
    assert refused("PATCH", "/api/accounts/a1", body) == "account.account_id"
    assert refused("POST", "/api/accounts/a1:setStatus", body) == "account_id"


def test_empty_body_is_an_empty_object() -> None:
    request = build("POST", "/api/accounts/a1:setStatus")
    assert request.account_id == "a1"


def test_errors_inside_of_a_body_field_have_its_name() -> None:
    assert refused("PATCH", "/api/accounts/a1", b'{"nope":1}') == "account.nope"


def test_delete_takes_its_etag_from_the_query_or_the_header() -> None:
    assert build("DELETE", "/api/accounts/a1?etag=e1").etag == "e1"
    assert build("DELETE", "/api/accounts/a1", if_match="e1").etag == "e1"
    assert refused("DELETE", "/api/accounts/a1?etag=e1", if_match="e2") == "if-match"


def test_if_match_sets_the_etag_of_the_noun() -> None:
    assert build("PATCH", "/api/accounts/a1", b"{}", "e1").account.etag == "e1"
    assert build("PATCH", "/api/accounts/a1", b'{"etag":"e1"}', "e1").account.etag == "e1"
    assert refused("PATCH", "/api/accounts/a1", b'{"etag":"e2"}', "e1") == "if-match"


def test_a_condition_is_never_ignored() -> None:
    assert refused("POST", "/api/accounts", b"{}", "e1") == "if-match"
    assert refused("GET", "/api/accounts/a1", if_match="e1") == "if-match"


def test_a_text_without_an_end_is_looked_at_once() -> None:
    """Each escaped quote could begin a text of its own: seconds, then hours, for one body."""
    body = b'{"name":' + b"[" * 50_000 + b'"' + b'\\"' * 500_000
    began = time.process_time()
    assert refused("POST", "/api/accounts", body) == "body"
    assert time.process_time() - began < 5
    many = b'{"name":"' + b"," * 100_000 + b'\\"' + b"[" * 100_000 + b'"}'
    with pytest.raises(HttpError) as error:
        build("POST", "/api/accounts", b"[" * 8 + many)
    assert "values" not in error.value.error.violations[0].description
