"""PEM files of TLS: read, parsed and judged; what is wrong names the file.

No text of ours holds anything of a key.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from services.model.errors import Reason, WorkspaceError

if TYPE_CHECKING:  # long to import, and needed only for TLS
    from cryptography import x509

__all__ = [
    "Stamps",
    "authorities_of",
    "read_pem",
    "require_dates",
    "require_pair",
    "shown_time",
    "stamps_of",
    "unusable",
    "uris_of",
]

T = TypeVar("T")
Stamps = tuple[tuple[int, int, int] | None, ...]


def stamps_of(files: Iterable[Path | None]) -> Stamps:
    """What changes when a file does, links followed (Kubernetes swaps the link to a
    folder); None for a file that is not there."""
    return tuple(_stamp(file) for file in files)


def _stamp(file: Path | None) -> tuple[int, int, int] | None:
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    return found and (found.st_mtime_ns, found.st_ino, found.st_size)


def read_pem(path: Path, field: str) -> bytes:
    """Raises WorkspaceError when the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        why = error.strerror or "cannot be read"
        raise unusable(field, path, f"{why}; make it, or name another file") from error


def authorities_of(pem: bytes, field: str, path: Path | None) -> list[x509.Certificate]:
    """The certificates of a bundle, at least one. Raises WorkspaceError."""
    from cryptography import x509

    return _parsed(lambda: x509.load_pem_x509_certificates(pem), field, path)


def require_pair(cert: bytes, key: bytes, cert_file: Path, key_file: Path) -> x509.Certificate:
    """The first certificate of a chain, whose key `key` has to be. Raises WorkspaceError."""
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    leaf = authorities_of(cert, "cert_file", cert_file)[0]
    held = _parsed(lambda: load_pem_private_key(key, None).public_key(), "key_file", key_file)
    if leaf.public_key().public_bytes(*spki) != held.public_bytes(*spki):
        raise unusable("key_file", key_file, f"is not the key of the certificate {cert_file}")
    return leaf


def require_dates(leaf: x509.Certificate, path: Path, now: float) -> None:
    """Raises WorkspaceError before and after the life of the certificate; `now` is
    Unix time."""
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if now > end.timestamp():
        raise unusable("cert_file", path, f"expired at {shown_time(end)}; renew it")
    if now < begin.timestamp():
        why = f"is not valid before {shown_time(begin)}; wait, or set the clock of this machine"
        raise unusable("cert_file", path, why)


def uris_of(leaf: x509.Certificate) -> frozenset[str]:
    """Its subject alternative names of type URI, and of no other type."""
    from cryptography import x509

    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(names.get_values_for_type(x509.UniformResourceIdentifier))


def unusable(field: str, path: Path | None, why: str) -> WorkspaceError:
    """INVALID_STATE that names the field and the file."""
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        f"TLS {field} {path}: {why}",
        metadata={"field": field},
    )


def shown_time(time: datetime.datetime) -> str:
    """RFC 3339, in UTC."""
    return time.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parsed(parse: Callable[[], T], field: str, path: Path | None) -> T:
    try:
        return parse()
    except (ValueError, TypeError) as error:
        raise unusable(field, path, "is not an unencrypted PEM file") from error
