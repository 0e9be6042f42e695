"""Writing calls of a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.azure.setup.desired import API_VERSIONS, Resource
from services.setup.plan import Call, Step

__all__ = ["Remade", "patch", "put", "put_again", "put_at", "register", "together"]

Remade = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""From the properties that are there to those that are wanted."""


def put_again(group: str, resource: Resource, remade: Remade) -> Call:
    """Replace a resource that others change too: it is read right before, and `remade` of
    what is there then is written, {} for nothing. The services take no condition
    (`If-Match`) here, so what somebody changes within that moment is lost; not what they
    changed since the plan."""
    call = put(group, resource)
    return replace(call, parameters={**call.parameters, "remade": remade})


def put(group: str, resource: Resource) -> Call:
    """Make or replace a resource of the group with identifier `group`."""
    return put_at(resource.path(group), resource.api_version, resource.body)


def put_at(path: str, version: str, body: Mapping[str, Any], service: str = "management") -> Call:
    """Make or replace what has the identifier `path`."""
    return Call(service, "PUT", {"path": path, "api_version": version, "body": body})


def patch(group: str, resource: Resource, body: Mapping[str, Any]) -> Call:
    """Change what `body` names, and nothing else."""
    parameters = {
        "path": resource.path(group), "api_version": resource.api_version, "body": body
    }  # fmt: skip
    return Call("management", "PATCH", parameters)


def register(subscription: str, provider: str) -> Call:
    """Make a kind of resources known in a subscription."""
    path = f"{subscription}/providers/{provider}"
    parameters = {"path": f"{path}/register", "api_version": API_VERSIONS["Microsoft.Resources"]}
    return Call("management", "POST", parameters, settle="registered")


def together(steps: Sequence[Step], call: Call) -> list[Step]:
    """The steps that write, done by one call: the first makes it, the others come with it."""
    writing = [step for step in steps if step.writes]
    made = [replace(step, calls=[call] if step is writing[0] else []) for step in writing]
    by_name = {step.name: step for step in made}
    return [by_name.get(step.name, step) for step in steps]
