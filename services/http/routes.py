"""HTTP routes, computed from the `google.api.http` rules of the served methods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from services.http.errors import not_served
from services.http.templates import Template, decode_segment, parse_template, split_path
from services.rpc.descriptors import method_descriptor

__all__ = ["Route", "RouteTable", "routes_of"]

_INTERNAL = "/internal/"
_BODILESS = frozenset({"GET", "DELETE"})


@dataclass(frozen=True, slots=True)
class Route:
    """One binding of one RPC. `body` is '*', a field name, or '' for none."""

    rpc: str
    service: str
    verb: str
    template: Template
    body: str
    streams: bool
    request: type[Message]
    response: type[Message]


def routes_of(full_name: str) -> Iterator[Route]:
    """The routes of a method: none without an annotation, for `/internal/`
    paths, and for methods with a client stream.

    Raises ValueError when a rule is broken.
    """
    method: Any = method_descriptor(full_name)
    options = method.GetOptions()
    if method.client_streaming or not options.HasExtension(annotations_pb2.http):
        return
    rule = options.Extensions[annotations_pb2.http]
    for binding in (rule, *rule.additional_bindings):
        route = _route(method, binding)
        if not route.template.text.startswith(_INTERNAL):
            yield route


def _route(method: Any, rule: HttpRule) -> Route:
    kind = rule.WhichOneof("pattern")
    if kind not in {"get", "put", "post", "delete", "patch"} or rule.response_body:
        raise ValueError(f"{method.full_name}: custom verbs and response_body are not supported")
    route = Route(
        rpc=f"/{method.containing_service.full_name}/{method.name}",
        service=method.containing_service.full_name,
        verb=kind.upper(),
        template=parse_template(getattr(rule, kind)),
        body=rule.body,
        streams=method.server_streaming,
        request=message_factory.GetMessageClass(method.input_type),
        response=message_factory.GetMessageClass(method.output_type),
    )
    _check(route, method.input_type)
    return route


def _check(route: Route, request: Descriptor) -> None:
    where = f"{route.rpc} {route.template.text}"
    if route.body and route.verb in _BODILESS:
        raise ValueError(f"{where}: {route.verb} takes no body")
    if route.body not in {"", "*"}:
        field = request.fields_by_name.get(route.body)
        if field is None or field.message_type is None or field.is_repeated:
            raise ValueError(f"{where}: body '{route.body}' is no message field")
    for variable in route.template.variables:
        _check_variable(where, variable, request)


def _check_variable(where: str, variable: str, descriptor: Descriptor) -> None:
    *parents, leaf = variable.split(".")
    for name in parents:
        field: FieldDescriptor | None = descriptor.fields_by_name.get(name)
        if field is None or field.message_type is None or field.is_repeated:
            raise ValueError(f"{where}: '{variable}' does not lead through messages")
        descriptor = field.message_type
    field = descriptor.fields_by_name.get(leaf)
    if field is None or field.message_type is not None or field.is_repeated:
        raise ValueError(f"{where}: '{variable}' is no scalar field")


class RouteTable:
    """All routes of a process. Raises ValueError when two rules match the same."""

    def __init__(self, methods: Iterable[str]) -> None:
        self.routes = tuple(route for name in sorted(set(methods)) for route in routes_of(name))
        self._groups: dict[tuple[int, str], list[Route]] = {}
        taken: dict[object, Route] = {}
        for route in self.routes:
            other = taken.setdefault((route.verb, route.template.shape), route)
            if other is not route:
                raise ValueError(f"{route.rpc} and {other.rpc} share {route.template.text}")
            key = (len(route.template.segments), route.template.verb)
            self._groups.setdefault(key, []).append(route)
        for group in self._groups.values():
            group.sort(key=lambda route: route.template.specificity)

    def match(self, verb: str, raw_path: str) -> tuple[Route, dict[str, str]]:
        """The route and its decoded path parameters.

        Raises HttpError 404 (unknown path), 405 (with Allow), 400 (parameter).
        """
        segments, suffix = split_path(raw_path)
        allowed: list[str] = []
        for route in self._groups.get((len(segments), suffix), ()):
            raw = route.template.captures(segments)
            if raw is None:
                continue
            if route.verb == verb:
                names = route.template.variables
                return route, {
                    name: decode_segment(value, name)
                    for name, value in zip(names, raw, strict=True)
                }
            allowed.append(route.verb)
        if allowed:
            raise not_served(
                f"This path does not take {verb[:16]}; see the Allow header.",
                status=HTTPStatus.METHOD_NOT_ALLOWED,
                allow=allowed,
            )
        raise not_served("There is nothing at this path.", status=HTTPStatus.NOT_FOUND)
