"""Every RPC of the contract has what the conventions demand of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

PROTOS = Path(__file__).parents[2] / "protos"


def services() -> Iterator[tuple[Path, ServiceDescriptor]]:
    for file in sorted((PROTOS / "workspace").rglob("*_service.proto")):
        name = file.relative_to(PROTOS).with_suffix("").as_posix().replace("/", ".") + "_pb2"
        yield from ((file, s) for s in import_module(name).DESCRIPTOR.services_by_name.values())


SERVICES = list(services())
METHODS = [method for _, service in SERVICES for method in service.methods]


def http(method: MethodDescriptor) -> tuple[str, str]:
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern") or ""
    return verb, getattr(rule, verb) if verb else ""


def test_all_services_of_the_design_are_there() -> None:
    assert {service.name.removesuffix("Service") for _, service in SERVICES} == {
        "Identity", "Account", "Team", "Invitation", "Preference", "Project", "Grant",
        "Permission", "Document", "History", "Storage", "Catalog", "Connection", "Sync",
    }  # fmt: skip


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.full_name)
def test_rpc(method: MethodDescriptor) -> None:
    level = method.GetOptions().idempotency_level
    assert level != MethodOptions.IDEMPOTENCY_UNKNOWN
    verb, path = http(method)
    assert path.startswith(("/api/", "/internal/")), path
    assert method.input_type.name == f"{method.name}Request"
    assert method.output_type.name == f"{method.name}Response"
    if level == MethodOptions.IDEMPOTENT:
        assert "request_id" in method.input_type.fields_by_name, "mutations take a request_id"
        assert "consistency_token" in method.output_type.fields_by_name
        assert verb != "get"
    if "page_token" in method.input_type.fields_by_name:
        assert "page_size" in method.input_type.fields_by_name
        # GetSession pages inside of its one noun.
        assert "next_page_token" in method.output_type.fields_by_name or method.name == "GetSession"


def test_no_two_rpcs_share_a_path() -> None:
    rules = [http(method) for method in METHODS]
    assert len(set(rules)) == len(rules)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("CreateConnection", "/api/connections"),
        ("Push", "/api/sync/push/{connection_id}"),
        ("Pull", "/api/sync/pull/{connection_id}"),
    ],
)
def test_paths_of_the_seeds_hold(method: str, path: str) -> None:
    assert [http(m) for m in METHODS if m.name == method] == [("post", path)]


@pytest.mark.parametrize(("file", "service"), SERVICES, ids=lambda x: getattr(x, "name", ""))
def test_retry_policy_follows_the_idempotency_level(
    file: Path, service: ServiceDescriptor
) -> None:
    stem = file.stem.removesuffix("_service")
    config = json.loads((file.parent / f"{stem}_service_config.json").read_text())
    retried = {
        name.get("method", "*")
        for entry in config["methodConfig"]
        if "retryPolicy" in entry
        for name in entry["name"]
        if name["service"] == service.full_name
    }
    safe = {
        m.name
        for m in service.methods
        if m.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN
    }
    assert retried in ({"*"}, safe)
    for entry in config["methodConfig"]:
        assert "timeout" not in entry
        assert entry.get("retryPolicy", {}).get("retryableStatusCodes", ["UNAVAILABLE"]) == [
            "UNAVAILABLE"
        ]
