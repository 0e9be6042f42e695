"""The part of the settings that chooses AWS: `backend.toml`, and the variables that
every tool for AWS knows. No SDK is needed for it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from services.aws.place import AwsPlace
from services.model.errors import invalid_field
from services.rpc.addresses import is_local
from services.secrets.reference import is_aws_reference, keys_reference
from services.selected import check_name, fields_of_environment, fields_of_selection

if TYPE_CHECKING:
    from services.settings import Settings

__all__ = ["aws_place", "aws_selection", "check_aws", "from_environment", "uses_aws"]

S = TypeVar("S", bound="Settings")

_REGION = re.compile(r"[a-z]{2}(-[a-z0-9]+){1,3}-[0-9]{1,2}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_BUS: Final = re.compile(r"[A-Za-z0-9_./-]{1,256}|arn:[a-z0-9-]+:events:[\w:/.-]+")
_CONFIGURATION_SET: Final = re.compile(r"[A-Za-z0-9_-]{0,64}")
_IDENTITY: Final = re.compile(r"(arn:[a-z0-9-]+:ses:[a-z0-9-]+:[0-9]{12}:identity/[^\s/]{1,320})?")
_SOURCE: Final = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_PATHS: Final = {
    "aws_region": ("region",),
    "aws_s3_bucket": ("storage", "bucket"),
    "aws_dynamodb_table": ("database", "table"),
}
_VARIABLES: Final = {
    "aws_region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "aws_profile": ("AWS_PROFILE",),
    "aws_dynamodb_table": ("AWS_DYNAMODB_TABLE",),
    "aws_s3_bucket": ("AWS_S3_BUCKET",),
}


def aws_selection(settings: Settings, selection: Mapping[str, Any]) -> dict[str, Any]:
    """What a `backend.toml` with provider aws says, without what was set otherwise."""
    return fields_of_selection(settings, selection, _PATHS, records="dynamodb", objects="s3")


def from_environment(settings: S, environment: Mapping[str, str] = os.environ) -> S:
    """Fill what is not set from the variables of the AWS tools."""
    if not uses_aws(settings):
        return settings
    return fields_of_environment(settings, _VARIABLES, environment)


def check_aws(settings: Settings) -> None:
    """Raises INVALID_FIELD naming the variable."""
    for field in ("aws_s3_endpoint", "aws_dynamodb_endpoint", "aws_endpoint"):
        _check_endpoint(field, getattr(settings, field))
    _check_public_endpoint(settings)
    if settings.records == "dynamodb":
        _check(settings, "aws_dynamodb_table", _TABLE, "3 to 255 letters, digits, `_`, `-`, `.`")
    if settings.objects == "s3":
        _check(settings, "aws_s3_bucket", _BUCKET, "3 to 63 lower-case letters, digits, `-`, `.`")
    if settings.events == "eventbridge":
        _check_events(settings)
    if settings.mail == "ses":
        _check_ses(settings)
    if settings.keys_secret:
        keys_reference(settings.keys_secret)  # its form, whichever cloud it is on
    if uses_aws(settings):
        _check(settings, "aws_region", _REGION, "a name like eu-central-1")


def uses_aws(settings: Settings) -> bool:
    """Whether anything of AWS is selected. Secrets count by their references."""
    return (
        settings.records == "dynamodb"
        or settings.objects == "s3"
        or settings.events == "eventbridge"
        or settings.mail == "ses"
        or any(is_aws_reference(text) for text in _references(settings))
    )


def aws_place(settings: Settings) -> AwsPlace:
    """Where the settings put AWS."""
    endpoints = {"s3": settings.aws_s3_endpoint, "dynamodb": settings.aws_dynamodb_endpoint}
    public = settings.aws_s3_public_endpoint
    return AwsPlace(
        settings.aws_region,
        settings.aws_profile,
        settings.aws_endpoint,
        {service: url for service, url in endpoints.items() if url},
        public_endpoints={"s3": public} if public else {},
    )


def _check(settings: Settings, field: str, pattern: re.Pattern[str], form: str) -> None:
    check_name(settings, field, pattern, form, cloud="AWS", variable=_VARIABLES[field][0])


def _check_endpoint(field: str, url: str) -> None:
    if url and not _is_plain(url):
        raise invalid_field(f"WM_{field.upper()}", "must be like https://host:port")


def _is_plain(url: str) -> bool:
    """Scheme, host and perhaps a port, and nothing more."""
    try:
        parts = urlsplit(url)
        host = parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    bare = parts.path in ("", "/") and not (parts.query or parts.fragment or "@" in parts.netloc)
    return parts.scheme in ("http", "https") and bool(host) and bare


def _check_public_endpoint(settings: Settings) -> None:
    """Files travel there, and so do URLs that are as good as a password."""
    url = settings.aws_s3_public_endpoint
    _check_endpoint("aws_s3_public_endpoint", url)
    if url and urlsplit(url).scheme != "https" and not is_local(urlsplit(url).netloc):
        raise invalid_field(
            "WM_AWS_S3_PUBLIC_ENDPOINT", "must be https beyond this machine, as https://host:port"
        )


def _references(settings: Settings) -> Iterator[str]:
    yield settings.keys_secret
    for field in type(settings).model_fields:
        value = getattr(settings, field)
        if isinstance(value, SecretStr):
            yield value.get_secret_value()


def _check_ses(settings: Settings) -> None:
    if settings.mail_from.endswith("@localhost"):
        raise invalid_field(
            "WM_MAIL_FROM", "must be an address that is verified in SES, with WM_MAIL=ses"
        )
    if not _CONFIGURATION_SET.fullmatch(settings.ses_configuration_set):
        raise invalid_field(
            "WM_SES_CONFIGURATION_SET", "must be up to 64 letters, digits, `_`, `-`"
        )
    if not _IDENTITY.fullmatch(settings.ses_identity_arn):
        raise invalid_field("WM_SES_IDENTITY_ARN", "must be the ARN of an identity of SES")


def _check_events(settings: Settings) -> None:
    if not _BUS.fullmatch(settings.aws_event_bus):
        raise invalid_field("WM_AWS_EVENT_BUS", "must be the name or the ARN of an event bus")
    if not _SOURCE.fullmatch(settings.environment):
        raise invalid_field(
            "WM_ENVIRONMENT",
            "is part of the `source` of published events: letters, digits, `_`, `-`, `.` only",
        )
