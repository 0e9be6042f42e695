"""The settings that the chart takes, as JSON schema: those of services/settings.py.

`python -m tests.deploy.settings_schema` writes them into values.schema.json; a test fails
when that was forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import SecretStr

from services.settings import Settings

__all__ = ["DECIDED", "SCHEMA", "SECRETS", "settings_schema"]

SCHEMA: Final = Path(__file__).parents[2] / "deploy/kubernetes/workspace/values.schema.json"

DECIDED: Final[Mapping[str, str]] = {
    "aws_profile": "a file of a person",
    "backend_file": "settings say the same",
    "cognito_endpoint": "for tests on one machine",
    "data_dir": "the volume `data`",
    "drain_delay": "drain.delay",
    "drain_grace": "drain.grace",
    "entra_endpoint": "for tests on one machine",
    "grpc_host": "all addresses of the pod",
    "grpc_port": "ports.grpc",
    "http_host": "all addresses of the pod",
    "http_port": "ports.http",
    "keys_secret": "keys.secret",
    "metrics_port": "ports.metrics",
    "migrate_at_start": "off: migration",
    "object_proxy": "gateway.objectProxy",
    "operations_host": "all addresses of the pod",
    "peer_ca": "certificates",
    "peer_certificate": "certificates",
    "peer_identity": "the Service",
    "peer_key": "certificates",
    "peer_project": "the Service",
    "peer_storage": "the Service",
    "peer_sync": "the Service",
    "peer_trust_domain": "certificates.trustDomain",
    "probe_port": "ports.probe",
    "public_url": "publicUrl",
    "targets": "one Deployment for each",
    "tls_certificate": "certificates, gateway.tls",
    "tls_client_ca": "certificates",
    "tls_key": "certificates, gateway.tls",
}
"""Settings that are not among `settings`, and what decides them instead."""

_NARROWED: Final[Mapping[str, list[str]]] = {
    "records": ["postgresql", "dynamodb", "cosmos"],
    "objects": ["s3", "azure_blob"],
}
"""Pods have no disk of their own that lasts."""

_REFERENCE: Final = "^(secretsmanager:|ssm:|keyvault:|appconfig:|arn:|https://)"
_KEPT: Final = ("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength")


def _secrets() -> frozenset[str]:
    fields = Settings.model_fields.items()
    return frozenset(
        name for name, field in fields
        if field.annotation is SecretStr or SecretStr in get_args(field.annotation)
    )  # fmt: skip


SECRETS: Final = _secrets()
"""Settings that hold secrets: here only as references to a secret store."""


def settings_schema() -> dict[str, Any]:
    """`definitions.settings` of values.schema.json."""
    described = Settings.model_json_schema()["properties"]
    wanted = sorted(set(Settings.model_fields) - set(DECIDED))
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _property(name, described[name]) for name in wanted},
    }


def _property(name: str, described: Mapping[str, Any]) -> dict[str, Any]:
    told = {"description": described["description"]}
    if name in SECRETS:
        return {**told, "type": "string", "pattern": _REFERENCE}
    if name in _NARROWED:
        return {**told, "type": "string", "enum": _NARROWED[name]}
    if described.get("type") == "array":
        return {**told, "type": "array", "items": {"type": "object"}}
    typed = next((each for each in described.get("anyOf", ()) if each["type"] != "null"), described)
    return {**told, **{key: typed[key] for key in _KEPT if key in typed}}


def _main() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema["definitions"]["settings"] = settings_schema()
    SCHEMA.write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _main()
