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

from services.aws.place import AwsPlace
from services.aws.selected import aws_place, aws_selection, check_aws, from_environment
from services.aws.setup.desired import Baseline
from services.aws.setup.tags import TAGS
from services.model.errors import invalid_field
from services.model.selection import DEFAULT_ENVIRONMENT, DEFAULT_PREFIX, backend_selection
from services.settings import Settings
from services.setup.names import check_origins, layered, selection_there, settings_for
from services.setup.tags import default_tags

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
    settings = settings_for(backend_file, records="dynamodb", objects="s3")
    there = selection_there(backend_file, "aws")
    label = asked.environment or str(there.get("environment") or DEFAULT_ENVIRONMENT)
    named = {"aws_region": asked.region} if asked.region else {}
    derived = _names(asked, label)
    if asked.prefix or asked.environment:
        named |= {key: derived[key] for key in ("aws_s3_bucket", "aws_dynamodb_table")}
    settings = layered(
        settings, named=named, derived=derived,
        selected=lambda each: aws_selection(each, there) if there else {},
        from_environment=lambda each: from_environment(each, environment),
    )  # fmt: skip
    check_aws(settings)
    place = replace(aws_place(settings), call_seconds=30.0)
    baseline = _baseline(asked, settings, label, environment.get("AWS_TAGS", ""))
    return Target(place, baseline, _selection(settings, label, there))


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
    check_origins(asked.allow_origins)
    return Baseline(
        region=settings.aws_region,
        bucket=settings.aws_s3_bucket,
        table=settings.aws_dynamodb_table,
        tags=default_tags(label) | TAGS.parse([tags]) | TAGS.parse(asked.tags, field="--tag"),
        kms_key=asked.kms_key,
        allow_origins=asked.allow_origins,
        keep_versions_days=asked.keep_versions_days,
    )


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
