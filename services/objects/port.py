"""The driver port of the object store: bytes under write-once keys.

A driver knows keys, bytes, checksums and signed URLs. It knows nothing of
documents, permissions or uploads. Keys are the storage paths of
`services/model/paths.py`, relative, `/`-separated, already validated.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

__all__ = [
    "ByteRange",
    "Constraint",
    "ConstraintKind",
    "Enforcement",
    "ObjectCapabilities",
    "ObjectDriver",
    "ObjectExists",
    "ObjectInfo",
    "ObjectMissing",
    "ObjectPage",
    "PartInfo",
    "SignRequest",
    "SignedTransfer",
    "StoreFull",
    "StoreUnavailable",
    "WrongBytes",
]


class ConstraintKind(Enum):
    """What an upload URL can bind."""

    SIZE = "size"
    CONTENT_TYPE = "content_type"
    SHA256 = "sha256"
    CREATE_ONLY = "create_only"


class Enforcement(Enum):
    """Who checks a constraint: the store itself, our completion, or nobody."""

    ENFORCED = "enforced"
    VERIFIED = "verified"
    ADVISORY = "advisory"


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint of a transfer, its value, and who checks it."""

    kind: ConstraintKind
    value: str
    enforcement: Enforcement


@dataclass(frozen=True, slots=True)
class SignRequest:
    """What to sign. `expires_in` is in seconds and is clamped by the store.

    `method` is PUT, GET or HEAD. For PUT: `size` in bytes, `content_type` and
    `sha256` (lower hex) are bound where the provider can. `upload_part` is
    (multipart id, part number) for a part. `disposition` is the whole
    Content-Disposition value of a download. `principal` and
    `revision_scope`/`revision` let a data plane of ours re-check revocation.
    """

    method: str
    key: str
    expires_in: int
    size: int | None = None
    content_type: str = ""
    sha256: str = ""
    disposition: str = ""
    upload_part: tuple[str, int] | None = None
    principal: str = ""
    revision_scope: str = ""
    revision: int = 0


@dataclass(frozen=True, slots=True)
class SignedTransfer:
    """A signed URL, the headers the client must send, the effective expiry
    (unix seconds) and who enforces each constraint."""

    method: str
    url: str
    headers: Mapping[str, str]
    expires_at: int
    constraints: Sequence[Constraint] = ()


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """Size in bytes, lower-hex SHA-256 ('' where the store has none), type,
    last change in unix seconds."""

    key: str
    size: int
    sha256: str
    content_type: str
    modified_at: float


@dataclass(frozen=True, slots=True)
class PartInfo:
    """A received part of a multipart upload; `tag` is what completion needs."""

    number: int
    size: int
    sha256: str
    tag: str


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """Objects in byte order of their keys; `next` is None at the end."""

    objects: Sequence[ObjectInfo]
    next: str | None


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes first..last, both included (RFC 9110); `last` None: to the end."""

    first: int
    last: int | None = None


@dataclass(frozen=True, slots=True)
class ObjectCapabilities:
    """What a driver declares; the conformance suite tests each both ways."""

    enforces: frozenset[ConstraintKind] = field(default_factory=frozenset)
    stores_sha256: bool = True
    max_single_put: int = 100 * 1024 * 1024
    max_url_seconds: int = 3600
    revocable_urls: bool = False


class ObjectExists(Exception):
    """The key holds other bytes already; nothing was overwritten."""


class ObjectMissing(Exception):
    """There is no object of that key."""


class WrongBytes(Exception):
    """Length or checksum differ from what was announced; nothing was kept."""


class StoreFull(Exception):
    """No space left; nothing is half-written."""


class StoreUnavailable(Exception):
    """The store does not answer or is degraded."""


class ObjectDriver(Protocol):
    """Thirteen calls over write-once objects."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> ObjectCapabilities: ...

    def sign(self, request: SignRequest) -> SignedTransfer:
        """A URL that allows exactly one method on one key until it expires."""
        ...

    async def head(self, key: str) -> ObjectInfo:
        """Size and checksum as the store has them. Raises ObjectMissing."""
        ...

    def open_read(self, key: str, span: ByteRange | None = None) -> AsyncIterator[bytes]:
        """The bytes in chunks. Raises ObjectMissing at the first step."""
        ...

    async def write(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        *,
        size: int | None,
        sha256: str | None,
        content_type: str,
    ) -> ObjectInfo:
        """Create-only and durable when it returns, whatever the size: a driver
        whose provider limits one PUT sends parts. Writing the same bytes again
        is a success; other bytes raise ObjectExists. Raises WrongBytes,
        StoreFull, StoreUnavailable."""
        ...

    async def copy(self, source: str, target: str) -> ObjectInfo:
        """Create-only copy inside the store, checksum verified."""
        ...

    async def delete(self, key: str) -> None:
        """Remove; an absent key is a success."""
        ...

    async def list(self, prefix: str, after: str | None = None, limit: int = 1000) -> ObjectPage:
        """Objects whose key starts with `prefix`, byte order."""
        ...

    async def multipart_create(self, key: str, content_type: str, sha256: str = "") -> str:
        """Begin; returns the provider's multipart id. `sha256` is that of the whole,
        where it was announced: the upload is completed with no other."""
        ...

    async def multipart_parts(self, key: str, multipart_id: str) -> Sequence[PartInfo]:
        """Parts received so far, by number."""
        ...

    async def multipart_complete(
        self, key: str, multipart_id: str, parts: Sequence[PartInfo], *, size: int, sha256: str
    ) -> ObjectInfo:
        """Join the parts, verify size and checksum over all bytes, create-only,
        durable. Raises WrongBytes; where the announced bytes were not sent, a driver
        may have dropped the parts. A completion that was cut off is finished by
        repeating it, also without the tags of the parts."""
        ...

    async def multipart_abort(self, key: str, multipart_id: str) -> None:
        """Drop the parts; an unknown id is a success."""
        ...

    async def probe(self) -> None:
        """Whether bytes can be stored now, as cheaply as can be told. Raises
        StoreUnavailable."""
        ...

    async def close(self) -> None: ...
