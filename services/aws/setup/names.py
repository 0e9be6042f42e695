"""Where the setup goes: flags, the settings of `wm serve`, the variables of the AWS
tools, and else the names that `wm init --provider aws` gives.

What is made is what `wm serve` uses: `WM_*`, then backend.toml, then `AWS_*`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from services.aws.place import AwsPlace
from services.aws.selected import aws_place, aws_selection, check_aws, from_environment
from services.aws.setup.desired import Baseline
from services.aws.setup.tags import default_tags, parse_tags
from services.config import Settings, load_selection
from services.model.errors import invalid_field
from services.model.selection import DEFAULT_ENVIRONMENT, DEFAULT_PREFIX, backend_selection

__all__ = ["Asked", "Target", "find_target"]

_KEY = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]{1,128}")


@dataclass(frozen=True, slots=True)
class Asked:
    """The flags of `wm setup aws`; empty where none was given."""

    prefix: str = ""
    environment: str = ""
    region: str = ""
    tags: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    kms_key: str = ""
    keep_versions_days: int | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where, what, and the backend selection that says so."""

    place: AwsPlace
    baseline: Baseline
    selection: dict[str, Any]


def find_target(
    asked: Asked, *, backend_file: Path, environment: Mapping[str, str] = os.environ
) -> Target:
    """Raises INVALID_FIELD naming the flag or the variable."""
    settings = _settings(backend_file)
    there = _selection_there(backend_file)
    label = asked.environment or str(there.get("environment") or DEFAULT_ENVIRONMENT)
    named = {"aws_region": asked.region} if asked.region else {}
    derived = _names(asked, label)
    if asked.prefix or asked.environment:
        named |= {key: derived[key] for key in ("aws_s3_bucket", "aws_dynamodb_table")}
    settings = settings.model_copy(update=named)
    found = aws_selection(settings, there) if there else {}
    settings = settings.model_copy(
        update={key: value for key, value in found.items() if key not in named}
    )
    settings = from_environment(settings, environment)
    silent = {key: value for key, value in derived.items() if not getattr(settings, key)}
    settings = settings.model_copy(update=silent)
    check_aws(settings)
    place = replace(aws_place(settings), call_seconds=30.0)
    baseline = _baseline(asked, settings, label, environment.get("AWS_TAGS", ""))
    return Target(place, baseline, _selection(settings, label, there))


def _settings(backend_file: Path) -> Settings:
    """The `WM_*` variables; a provider is chosen by the command itself."""
    given: dict[str, Any] = {"records": "dynamodb", "objects": "s3", "backend_file": backend_file}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(map(str, first["loc"])).upper()
        raise invalid_field(f"WM_{name}", first["msg"]) from None


def _selection_there(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    selection = load_selection(path)
    if selection["provider"] != "aws":
        raise invalid_field(
            f"{path}: provider",
            f"is {selection['provider']}: write a selection of AWS with `wm init --provider aws "
            f"--force`, or name another file with --backend",
        )
    return selection


def _names(asked: Asked, label: str) -> dict[str, str]:
    """What `wm init --provider aws` would write."""
    made: dict[str, Any] = backend_selection(
        provider="aws", environment=label, prefix=asked.prefix or DEFAULT_PREFIX,
        region=asked.region,
    )  # fmt: skip
    return {
        "aws_region": made["region"],
        "aws_s3_bucket": made["storage"]["bucket"],
        "aws_dynamodb_table": made["database"]["table"],
    }


def _baseline(asked: Asked, settings: Settings, label: str, tags: str) -> Baseline:
    if asked.kms_key and not _KEY.fullmatch(asked.kms_key):
        raise invalid_field("--kms-key", "must be the ARN of a key, not of an alias")
    for origin in asked.allow_origins:
        _check_origin(origin)
    return Baseline(
        region=settings.aws_region,
        bucket=settings.aws_s3_bucket,
        table=settings.aws_dynamodb_table,
        tags=default_tags(label) | parse_tags([tags]) | parse_tags(asked.tags, field="--tag"),
        kms_key=asked.kms_key,
        allow_origins=asked.allow_origins,
        keep_versions_days=asked.keep_versions_days,
    )


def _check_origin(origin: str) -> None:
    parts = urlsplit(origin)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    good = parts.scheme == "https" or (parts.scheme == "http" and local)
    bare = f"{parts.scheme}://{parts.netloc}" == origin and "*" not in origin
    if not (good and parts.hostname and bare and parts.username is None):
        raise invalid_field("--allow-origin", "must be like https://app.example.com")


def _selection(settings: Settings, label: str, there: Mapping[str, Any]) -> dict[str, Any]:
    """The selection that names these resources; what else a file says stays."""
    made: dict[str, Any] = backend_selection(
        provider="aws", environment=label, region=settings.aws_region
    )
    found = {**made, **there, "region": settings.aws_region, "environment": label}
    storage = {**made["storage"], **there.get("storage", {}), "bucket": settings.aws_s3_bucket}
    database = {
        **made["database"], **there.get("database", {}), "table": settings.aws_dynamodb_table
    }  # fmt: skip
    return {**found, "storage": storage, "database": database}
