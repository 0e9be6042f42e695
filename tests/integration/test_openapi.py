"""`/openapi.json` is valid OpenAPI 3.1 and says what the gateway really does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from services.http.openapi.document import openapi_document
from services.http.routes import RouteTable
from tests.harness import Workspace

ANN = "ann@example.com"


@pytest.fixture
async def ws(tmp_path: Path) -> AsyncIterator[Workspace]:
    async with Workspace.open(tmp_path) as workspace:
        await workspace.sign_in(ANN)
        yield workspace


async def described(ws: Workspace) -> dict[str, Any]:
    async with ws.client() as http:
        answer = await http.get("/openapi.json")
        assert answer.headers["content-type"] == "application/json"
        assert (await http.get("/")).json()["links"]["openapi"] == "/openapi.json"
    document: dict[str, Any] = answer.json()
    return document


async def test_it_is_valid_openapi_3_1(ws: Workspace) -> None:
    document = await described(ws)
    errors = [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]
    assert errors == []
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


async def test_it_has_every_served_route_and_no_other(ws: Workspace) -> None:
    document = await described(ws)
    methods = ws.process.rpc.methods
    served = {(r.verb.lower(), r.template.text) for r in RouteTable(methods).routes}
    assert {(verb, path) for path, verbs in document["paths"].items() for verb in verbs} == served
    assert not any(path.startswith("/internal/") for path in document["paths"])
    few = openapi_document(
        RouteTable(["/workspace.project.v1.ProjectService/GetProject"]).routes, version="1"
    )
    assert list(few["paths"]) == ["/api/projects/{project_id}"]


async def test_everything_has_words(ws: Workspace) -> None:
    document = await described(ws)
    operations = [
        (path, verb, each) for path, verbs in document["paths"].items()
        for verb, each in verbs.items()
    ]
    silent = [f"{verb} {path}" for path, verb, each in operations if not each["description"]]
    silent += [
        f"{verb} {path} {parameter['name']}"
        for path, verb, each in operations
        for parameter in each["parameters"]
        if not parameter["description"]
    ]
    assert silent == []


async def test_public_calls_need_no_credentials(ws: Workspace) -> None:
    document = await described(ws)
    paths = document["paths"]
    assert paths["/api/localTokens"]["post"]["security"] == []
    assert "security" not in paths["/api/projects"]["get"]
    assert document["security"] == [{"bearer": []}]


async def test_streams_are_lines(ws: Workspace) -> None:
    document = await described(ws)
    streams = {r.template.text for r in RouteTable(ws.process.rpc.methods).routes if r.streams}
    for path in streams:
        (operation,) = document["paths"][path].values()
        assert list(operation["responses"]["200"]["content"]) == ["application/x-ndjson"]


STORY: list[tuple[str, str, dict[str, Any] | None]] = [
    ("post", "/api/session:normalize", {}),
    ("get", "/api/session", None),
    ("post", "/api/accounts", {"name": "Example", "type": "client_org"}),
    ("get", "/api/accounts", None),
    ("post", "/api/projects", {"name": "Plans"}),
    ("get", "/api/projects", None),
    ("get", "/api/catalog/backends", None),
    ("get", "/api/projects/{project_id}", None),
    ("get", "/api/projects/{project_id}/grants", None),
    ("get", "/api/projects/{project_id}/permissions", None),
    ("post", "/api/projects/{project_id}/documents", {"name": "a.txt"}),
]


async def test_requests_and_answers_fit_their_schemas(ws: Workspace) -> None:
    document = await described(ws)
    paths, known = document["paths"], {"project_id": "none"}
    checked = 0
    async with ws.client(as_=ANN) as http:
        for verb, path, body in STORY:
            if path not in paths or verb not in paths[path]:
                continue
            operation = paths[path][verb]
            if body is not None:
                content = operation["requestBody"]["content"]["application/json"]["schema"]
                fits(document, content, body)
            answer = await http.request(verb, path.format(**known), json=body)
            assert answer.status_code == 200, answer.text
            schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
            fits(document, schema, answer.json())
            known |= answer.json().get("project", {})
            checked += 1
        refusal = await http.get("/api/projects/none")
    assert refusal.status_code == 403
    failure = document["components"]["responses"]["Failure"]["content"]["application/json"]
    fits(document, failure["schema"], refusal.json())
    assert checked >= 8


def fits(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    root = {"components": document["components"], **schema}
    errors = [f"{e.json_path}: {e.message}" for e in Draft202012Validator(root).iter_errors(value)]
    assert errors == [], json.dumps(value)[:2000]


async def test_a_wrong_request_does_not_fit(ws: Workspace) -> None:
    """The schemas say something: what the server refuses, they refuse."""
    document = await described(ws)
    schema = document["paths"]["/api/accounts"]["post"]["requestBody"]["content"][
        "application/json"
    ]["schema"]
    for wrong in ({"nmae": "typo"}, {"name": 3}, {"name": "x" * 201}):
        with pytest.raises(AssertionError):
            fits(document, schema, wrong)
