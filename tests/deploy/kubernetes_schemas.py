"""Strict checks of Kubernetes objects: an unknown field is an error, as for the API server.

What is built in is checked with the JSON schemas of a version of Kubernetes, the rest
with the schemas of its custom resource definitions (without their CEL rules).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from zipfile import ZipFile

import yaml
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from tests.servers import tools

__all__ = ["problems"]

_FOLDER = "kubernetes_validate/kubernetes-json-schema/v{}-local-strict/"


def problems(thing: Mapping[str, Any], version: str) -> list[str]:
    """What is wrong with an object, each as `path: words`."""
    group, _, api = thing["apiVersion"].rpartition("/")
    validator = _custom(group, api, thing["kind"]) or _built_in(group, api, thing["kind"], version)
    found = validator.iter_errors(thing)
    return [f"{'.'.join(map(str, each.absolute_path))}: {each.message}" for each in found]


@lru_cache(maxsize=64)
def _built_in(group: str, api: str, kind: str, version: str) -> Draft7Validator:
    words = [kind.lower(), *group.split(".")[:1], api] if group else [kind.lower(), api]
    with ZipFile(tools.kubernetes_schemas()) as archive:
        text = archive.read(f"{_FOLDER.format(version)}{'-'.join(words)}.json")
    return Draft7Validator(json.loads(text), registry=_definitions(version))


@lru_cache(maxsize=4)
def _definitions(version: str) -> Registry[Any]:
    with ZipFile(tools.kubernetes_schemas()) as archive:
        text = archive.read(f"{_FOLDER.format(version)}_definitions.json")
    shared = Resource.from_contents(json.loads(text), default_specification=DRAFT7)
    return Registry().with_resource("_definitions.json", shared)


@lru_cache(maxsize=64)
def _custom(group: str, api: str, kind: str) -> Draft7Validator | None:
    for path in sorted(tools.resource_definitions().glob(f"{group}_*.yaml")):
        text = path.read_text(encoding="utf-8")
        if f"\n    kind: {kind}\n" in text:
            spec = yaml.load(text, Loader=_Yaml)["spec"]
            versions = {each["name"]: each["schema"] for each in spec["versions"] if each["served"]}
            return Draft7Validator(_strict(versions[api]["openAPIV3Schema"], top=True))
    return None


class _Yaml(yaml.CSafeLoader):
    """Takes a lone `=`, which YAML 1.1 gives a meaning, for the text that it is."""


_Yaml.add_constructor("tag:yaml.org,2002:value", lambda loader, node: loader.construct_scalar(node))


def _strict(schema: Any, *, top: bool = False) -> Any:
    """A schema of a definition as JSON schema that refuses unknown fields."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    made = {
        key: {name: _strict(each) for name, each in value.items()}
        if key == "properties"
        else _strict(value)
        for key, value in schema.items()
        if not key.startswith("x-kubernetes") and key not in ("default", "nullable", "format")
    }
    if schema.get("nullable"):
        made["type"] = [schema["type"], "null"]
    open_ = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if "properties" in schema and not open_:
        made["additionalProperties"] = False
    if top:  # the definition leaves its schema to the API server
        made["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    return made
