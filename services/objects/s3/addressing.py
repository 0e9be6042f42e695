"""Where a bucket answers: regional virtual-hosted addresses, path style, endpoints."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

__all__ = ["Address", "address_of", "encoded"]

_SUFFIXES = {
    "cn-": "amazonaws.com.cn", "us-iso-": "c2s.ic.gov", "us-isob-": "sc2s.sgov.gov",
    "eu-isoe-": "cloud.adc-e.uk", "us-isof-": "csp.hci.ic.gov", "eusc-": "amazonaws.eu",
}  # fmt: skip


def encoded(text: str) -> str:
    """URI-encoded once, as SigV4 has it: all but unreserved characters (RFC 3986)."""
    return quote(text, safe="")


@dataclass(frozen=True, slots=True)
class Address:
    """`host` as in the Host header, `root` the path before the key, ending in '/'."""

    scheme: str
    host: str
    root: str

    def path(self, key: str) -> str:
        """The encoded path of a key; '' is the bucket itself."""
        return self.root + quote(key, safe="/")

    @property
    def url(self) -> str:
        """Scheme and host; a path follows."""
        return f"{self.scheme}://{self.host}"


def address_of(bucket: str, region: str, *, endpoint: str | None, path_style: bool) -> Address:
    """The address of a bucket. Path style also where a name cannot be put before the
    host: an IP address, or a bucket with dots over TLS (no certificate covers it)."""
    parts = urlsplit(endpoint or f"https://s3.{region}.{_suffix(region)}")
    host = _host(parts.hostname or "", parts.port, parts.scheme)
    dotted = "." in bucket and parts.scheme == "https"
    if path_style or dotted or _is_ip(parts.hostname or ""):
        return Address(parts.scheme, host, f"/{bucket}/")
    return Address(parts.scheme, f"{bucket}.{host}", "/")


def _suffix(region: str) -> str:
    known = (suffix for start, suffix in _SUFFIXES.items() if region.startswith(start))
    return next(known, "amazonaws.com")


def _host(name: str, port: int | None, scheme: str) -> str:
    name = f"[{name}]" if ":" in name else name
    usual = port is None or port == {"http": 80, "https": 443}[scheme]
    return name if usual else f"{name}:{port}"


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
