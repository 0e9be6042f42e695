"""`/openapi.json`: OpenAPI 3.1 of the routes that are served, and of no others.

Everything comes from the contract: paths from the `google.api.http` rules,
schemas from the messages and their `buf.validate` rules, words from the comments.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.rpc import status_pb2

from services.http.openapi.schemas import Schemas
from services.http.routes import Route

__all__ = ["openapi_document"]

_JSON = "application/json"
_NDJSON = "application/x-ndjson"
_ABOUT = (
    "Projects own file artifacts (documents); accounts and teams are assignment scopes; every "
    "permission resolves through the project. Generated from the same contract as the gRPC API."
)
_LEAVES = frozenset({"Timestamp", "Duration", "FieldMask", "StringValue"})
_DEEPEST = 3


def openapi_document(
    routes: Iterable[Route], *, version: str, public: Collection[str] = ()
) -> dict[str, Any]:
    """The document as a JSON object. `public` are the RPCs (`/package.Service/Method`)
    that need no credentials."""
    schemas = Schemas(_comments())
    paths: dict[str, dict[str, Any]] = {}
    tags: dict[str, str] = {}
    for route in routes:
        tag = route.service.rpartition(".")[2]
        tags[tag] = _comments().get(route.service, "")
        operation = _operation(route, tag, schemas, is_public=route.rpc in public)
        paths.setdefault(route.template.text, {})[route.verb.lower()] = operation
    failure = schemas.reference(_descriptor(status_pb2.Status))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Workspace", "version": version, "description": _ABOUT},
        "tags": [{"name": name, "description": text} for name, text in sorted(tags.items())],
        "paths": dict(sorted(paths.items())),
        "security": [{"bearer": []}],
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "Failure": {
                    "description": "What went wrong: a google.rpc.Status with ErrorInfo",
                    "content": {_JSON: {"schema": failure}},
                }
            },
            "schemas": dict(sorted(schemas.components.items())),
        },
    }


def _operation(route: Route, tag: str, schemas: Schemas, *, is_public: bool) -> dict[str, Any]:
    name = route.rpc.rpartition("/")[2]
    said = _comments().get(f"{route.service}.{name}", "")
    operation: dict[str, Any] = {
        "operationId": f"{tag}_{name}",
        "tags": [tag],
        "summary": said.split(". ")[0].rstrip("."),
        "description": said,
        "parameters": [*_path_parameters(route, schemas), *_query_parameters(route, schemas)],
        "responses": {"200": _answer(route, schemas), "default": _FAILURE},
    }
    if route.body:
        operation["requestBody"] = _body(route, schemas)
    if is_public:
        operation["security"] = []
    return operation


_FAILURE = {"$ref": "#/components/responses/Failure"}


def _answer(route: Route, schemas: Schemas) -> dict[str, Any]:
    kind = _NDJSON if route.streams else _JSON
    what = "One message per line" if route.streams else "Done"
    schema = schemas.reference(_descriptor(route.response))
    return {"description": what, "content": {kind: {"schema": schema}}}


def _body(route: Route, schemas: Schemas) -> dict[str, Any]:
    request = _descriptor(route.request)
    if route.body == "*":
        bound = frozenset(variable for variable in route.template.variables if "." not in variable)
        schema = schemas.object(request, without=bound) if bound else schemas.reference(request)
    else:
        schema = schemas.reference(_message_of(request.fields_by_name[route.body]))
    return {"required": True, "content": {_JSON: {"schema": schema}}}


def _path_parameters(route: Route, schemas: Schemas) -> Iterator[dict[str, Any]]:
    for variable in route.template.variables:
        field = _field(_descriptor(route.request), variable)
        schema = schemas.field(field)
        said = schema.pop("description", "")
        yield {
            "name": variable, "in": "path", "required": True,
            "description": said, "schema": schema,
        }


def _query_parameters(route: Route, schemas: Schemas) -> Iterator[dict[str, Any]]:
    if route.body == "*":
        return
    for name, field in _leaves(_descriptor(route.request), "", 0):
        if name in route.template.variables or name.split(".")[0] == route.body:
            continue
        schema = schemas.field(field)
        said = schema.pop("description", "")
        yield {"name": name, "in": "query", "description": said, "schema": schema}


def _leaves(
    descriptor: Descriptor, prefix: str, depth: int
) -> Iterator[tuple[str, FieldDescriptor]]:
    """Fields that a query parameter can set, with their dotted names."""
    for field in descriptor.fields:
        inner = field.message_type
        name = prefix + field.name
        if inner is None or inner.name in _LEAVES:
            yield name, field
        elif not field.is_repeated and _is_ours(inner) and depth < _DEEPEST:
            yield from _leaves(inner, f"{name}.", depth + 1)


def _is_ours(descriptor: Descriptor) -> bool:
    return descriptor.full_name.startswith("workspace.")


def _field(descriptor: Descriptor, path: str) -> FieldDescriptor:
    """The field that a dotted path of the template leads to; routes checked it."""
    *parents, leaf = path.split(".")
    for name in parents:
        descriptor = _message_of(descriptor.fields_by_name[name])
    return descriptor.fields_by_name[leaf]


def _message_of(field: FieldDescriptor) -> Descriptor:
    if field.message_type is None:
        raise ValueError(f"{field.full_name} is no message")
    return field.message_type


def _descriptor(message: type[Any]) -> Descriptor:
    descriptor: Descriptor = message.DESCRIPTOR
    return descriptor


@cache
def _comments() -> dict[str, str]:
    text = files("services.http.openapi").joinpath("comments.json").read_text(encoding="utf-8")
    found: dict[str, str] = json.loads(text)
    return found
