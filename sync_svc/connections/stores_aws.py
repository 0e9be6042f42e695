"""Tables and buckets: what is wrong with a setting, and what the store is called.

Sources: S3 "Bucket naming rules", DynamoDB "Naming rules", AWS "Service endpoints".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from services.settings import Settings
from sync_svc.connections.hosts import is_host, is_loopback
from sync_svc.connections.servers import at, host_of, parts_of

__all__ = [
    "bucket", "bucket_name", "endpoint", "flag", "is_aws", "own_bucket", "own_table",
    "path_style_problem", "profile", "region", "table", "table_name",
]  # fmt: skip

_BUCKET: Final = re.compile(r"[a-z0-9](?!.*(\.\.|\.-|-\.))[a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_ADDRESS: Final = re.compile(r"[0-9]+(\.[0-9]+){3}")
_TABLE: Final = re.compile(r"[A-Za-z0-9_.-]{3,255}", re.ASCII)
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z0-9]+){1,3}-[0-9]{1,2}", re.ASCII)
_PROFILE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+=:/ -]{0,127}", re.ASCII)
# Only hosts of the services themselves: below amazonaws.com anybody may have one.
_SERVICE: Final = re.compile(
    r"(s3|dynamodb)(-fips)?(\.dualstack)?(\.[a-z]{2}-[a-z0-9-]+)?\.amazonaws\.com(\.cn)?"
)


def bucket(value: str) -> str:
    """What is wrong with the name of a bucket; '': nothing."""
    good = _BUCKET.fullmatch(value) and not _ADDRESS.fullmatch(value)
    return "" if good else "must be the name of a bucket: 3 to 63 of a-z, 0-9, '-', '.'"


def table(value: str) -> str:
    """What is wrong with the name of a table; '': nothing."""
    return "" if _TABLE.fullmatch(value) else "must be 3 to 255 of letters, digits, '_', '-', '.'"


def region(value: str) -> str:
    """What is wrong with a region; '': nothing."""
    return "" if _REGION.fullmatch(value) else "must be a name like eu-central-1"


def profile(value: str) -> str:
    """What is wrong with the name of a profile; '': nothing."""
    return "" if _PROFILE.fullmatch(value) else "must be the name of a profile, not a key"


def flag(value: str) -> str:
    """What is wrong with a yes or no; '': nothing."""
    return "" if value in ("true", "false") else "must be true or false"


def endpoint(value: str) -> str:
    """What is wrong with the URL of a server; '': nothing. Plain HTTP is for this machine
    alone: so no metadata service or other neighbour is called by a manifest."""
    parts = parts_of(value)
    if parts is None or parts.hostname is None or not is_host(parts.hostname):
        return "must be like https://host:port"
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        return "must be like https://host:port, without a path, a query or a user"
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname)):
        return ""
    return "must be https; plain http is for servers on this machine"


def path_style_problem(settings: Mapping[str, str]) -> tuple[str, str] | None:
    """The setting that does not fit the others, and why."""
    if "." not in settings.get("bucket", "") or settings.get("path_style") == "true":
        return None
    return "path_style", (
        "must be true for a bucket with '.' in its name: the certificate of AWS does not cover "
        "it as a host"
    )


def is_aws(url: str) -> bool:
    """Whether a (checked) endpoint is AWS itself; '' is."""
    return not url or bool(_SERVICE.fullmatch(host_of(urlsplit(url))))


def table_name(settings: Mapping[str, str]) -> str:
    """`dynamodb:{region}/{table}`."""
    url = settings.get("dynamodb_endpoint", "")
    return _table(settings.get("region", ""), settings["table"], url)


def bucket_name(settings: Mapping[str, str]) -> str:
    """`s3:{bucket}`."""
    return _bucket(settings["bucket"], settings.get("s3_endpoint", ""))


def own_table(settings: Settings) -> str:
    """The name of this workspace's table; '' for none."""
    if settings.records != "dynamodb":
        return ""
    url = settings.aws_dynamodb_endpoint or settings.aws_endpoint
    return _table(settings.aws_region, settings.aws_dynamodb_table, url)


def own_bucket(settings: Settings) -> str:
    """The name of this workspace's bucket; '' for none."""
    if settings.objects != "s3":
        return ""
    return _bucket(settings.aws_s3_bucket, settings.aws_s3_endpoint or settings.aws_endpoint)


def _table(region: str, table: str, url: str) -> str:
    return at(f"dynamodb:{region}/{table}", url, is_aws)


def _bucket(bucket: str, url: str) -> str:
    return at(f"s3:{bucket}", url, is_aws)
