"""Tables and buckets that a manifest names: what is wrong with a setting, and what the
store is called.

A store is called `dynamodb:{region}/{table}` or `s3:{bucket}`, on servers that are not
AWS with `@{host}:{port}` behind it. WM_SYNC_PLACES lists stores by these names.
Sources: S3 "Bucket naming rules", DynamoDB "Naming rules", AWS "Service endpoints".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

from services.config import Settings
from sync_svc.connections.hosts import is_host, is_loopback

__all__ = [
    "bucket", "endpoint", "flag", "is_aws", "own_stores", "profile", "region", "store_name",
    "stores_of", "table",
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
_PORTS: Final = {"https": 443, "http": 80}


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
    parts = _parts(value)
    if parts is None or parts.hostname is None or not is_host(parts.hostname):
        return "must be like https://host:port"
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        return "must be like https://host:port, without a path, a query or a user"
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname)):
        return ""
    return "must be https; plain http is for servers on this machine"


def is_aws(url: str) -> bool:
    """Whether a (checked) endpoint is AWS itself; '' is."""
    return not url or bool(_SERVICE.fullmatch(_host(urlsplit(url))))


def stores_of(settings: Mapping[str, str]) -> dict[str, str]:
    """The names of the stores that settings open, by the setting."""
    found: dict[str, str] = {}
    if settings.get("table"):
        url = settings.get("dynamodb_endpoint", "")
        found["table"] = _table(settings.get("region", ""), settings["table"], url)
    if settings.get("bucket"):
        found["bucket"] = _bucket(settings["bucket"], settings.get("s3_endpoint", ""))
    return found


def own_stores(settings: Settings) -> frozenset[str]:
    """Those of this workspace, which are no surfaces."""
    own: set[str] = set()
    if settings.records == "dynamodb":
        url = settings.aws_dynamodb_endpoint or settings.aws_endpoint
        own.add(_table(settings.aws_region, settings.aws_dynamodb_table, url))
    if settings.objects == "s3":
        url = settings.aws_s3_endpoint or settings.aws_endpoint
        own.add(_bucket(settings.aws_s3_bucket, url))
    return frozenset(own)


def store_name(text: str) -> str:
    """A name as somebody wrote it (`s3:Docs@HOST`, `s3:docs@https://host`), as
    `stores_of` says it."""
    name, at, server = text.strip().partition("@")
    if not at:
        return name
    return _at(name, server if "//" in server else f"https://{server}")


def _table(region: str, table: str, url: str) -> str:
    return _at(f"dynamodb:{region}/{table}", url)


def _bucket(bucket: str, url: str) -> str:
    return _at(f"s3:{bucket}", url)


def _at(name: str, url: str) -> str:
    parts = _parts(url)
    if parts is None:  # of a file that was edited by hand
        return f"{name}@{url}"
    if is_aws(url):
        return name
    host = "localhost" if is_loopback(_host(parts)) else _host(parts)
    return f"{name}@{host}:{parts.port or _PORTS.get(parts.scheme, 0)}"


def _host(parts: SplitResult) -> str:
    return (parts.hostname or "").rstrip(".")


def _parts(value: str) -> SplitResult | None:
    try:
        parts = urlsplit(value)
        known = parts.port != 0
    except ValueError:
        return None
    return parts if known else None
