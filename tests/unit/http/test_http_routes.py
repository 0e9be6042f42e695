from __future__ import annotations

from typing import Any

import pytest
from google.api import annotations_pb2

from services.http.errors import HttpError
from services.http.routes import Route, RouteTable, method_descriptor, routes_of
from tests.unit.http.contract import all_methods

ACCOUNTS = "/workspace.identity.v1.AccountService/"
METHODS = all_methods()


@pytest.fixture(scope="module")
def table() -> RouteTable:
    return RouteTable(METHODS)


def path_of(route: Route) -> str:
    segments = [segment or f"v{index}" for index, segment in enumerate(route.template.segments)]
    return "/" + "/".join(segments) + (f":{route.template.verb}" if route.template.verb else "")


def annotated() -> list[Any]:
    found: list[Any] = [method_descriptor(name) for name in METHODS]
    return [method for method in found if method.GetOptions().HasExtension(annotations_pb2.http)]


def test_contract_is_not_empty() -> None:
    assert len(METHODS) > 100
    assert len(annotated()) > 100


def test_every_annotated_public_method_has_a_route(table: RouteTable) -> None:
    routed = {route.rpc for route in table.routes}
    for method in annotated():
        rule = method.GetOptions().Extensions[annotations_pb2.http]
        path = getattr(rule, rule.WhichOneof("pattern"))
        name = f"/{method.containing_service.full_name}/{method.name}"
        assert (name in routed) == (path.startswith("/api/") and not method.client_streaming), name


def test_every_route_is_reached_by_its_own_path(table: RouteTable) -> None:
    for route in table.routes:
        found, parameters = table.match(route.verb, path_of(route))
        assert found is route
        assert tuple(parameters) == route.template.variables


def test_no_internal_path_is_served(table: RouteTable) -> None:
    internal = [
        method
        for method in annotated()
        if "/internal/" in str(method.GetOptions().Extensions[annotations_pb2.http])
    ]
    assert internal
    assert not any(route.template.text.startswith("/internal") for route in table.routes)
    with pytest.raises(HttpError) as error:
        table.match("GET", "/internal/users/u/memberships")
    assert error.value.status == 404


def test_only_given_methods_have_routes() -> None:
    table = RouteTable([ACCOUNTS + "GetAccount"])
    assert [route.rpc for route in table.routes] == [ACCOUNTS + "GetAccount"]
    with pytest.raises(HttpError) as error:
        table.match("POST", "/api/accounts")
    assert error.value.status == 404


def test_wrong_method_lists_the_right_ones(table: RouteTable) -> None:
    with pytest.raises(HttpError) as error:
        table.match("PUT", "/api/accounts/a1")
    assert error.value.status == 405
    assert error.value.headers == {"Allow": "DELETE, GET, PATCH"}


@pytest.mark.case("K02", "K05")
@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/api",
        "/api/accounts/a1/unknown",
        "/api/accounts/a1:unknown",
        "/api/%61ccounts",
        "/API/accounts",
        "//api/accounts",
        "/api//accounts",
        "/api/accounts/a1/members/u1/x",
        "/workspace.identity.v1.AccountService/GetAccount",
    ],
)
def test_unknown_paths(table: RouteTable, path: str) -> None:
    with pytest.raises(HttpError) as error:
        table.match("GET", path)
    assert error.value.status == 404


@pytest.mark.case("K03", "K04")
@pytest.mark.parametrize(
    "segment",
    ["a%2Fb", "a%2fb", "a;b", "a%3Bb", "..", ".", "%2e%2e", "%252e", "a%25", "", "a%00", "a%5Cb",
     "a%zz", "a%", "%ff", "a%0Ab"],
)  # fmt: skip
def test_bad_path_parameters_are_named(table: RouteTable, segment: str) -> None:
    with pytest.raises(HttpError) as error:
        table.match("GET", f"/api/accounts/{segment}/members")
    assert error.value.status == 400
    assert error.value.error.metadata == {"field": "account_id"}


@pytest.mark.case("K03")
def test_parameters_are_decoded_once(table: RouteTable) -> None:
    _, parameters = table.match("GET", "/api/accounts/a%20b%3Ac%C3%A9")
    assert parameters == {"account_id": "a b:cé"}


def test_literals_win_over_variables(table: RouteTable) -> None:
    route, _ = table.match("GET", "/api/sync/runs/r1")
    assert route.rpc.endswith("/GetRun")
    route, _ = table.match("GET", "/api/documents:search")
    assert route.rpc.endswith("/SearchDocuments")


def test_unknown_method_names_the_remedy() -> None:
    with pytest.raises(ValueError, match="import its generated module"):
        list(routes_of("/workspace.identity.v1.AccountService/Nothing"))


def test_bindings_are_what_the_contract_says(table: RouteTable) -> None:
    route, parameters = table.match("PATCH", "/api/accounts/a1/members/u1")
    assert route.body == "member"
    assert parameters == {"member.account_id": "a1", "member.user_id": "u1"}
