"""What a download of our own data plane is told apart from its bytes: which part of the
object, which type, and whether a browser shows it."""

from __future__ import annotations

from starlette.requests import Request

from services.http.ranges import NOT_SATISFIABLE, parse_range
from services.http.refusals import range_behind_end
from services.objects.port import ByteRange, ObjectInfo
from services.objects.tokens import Claims

__all__ = ["download_headers", "is_unchanged", "wanted_range"]

_INLINE_TYPES = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "text/plain"}
)
_ATTACHMENT_TYPES = _INLINE_TYPES | {
    "application/json",
    "application/pdf",
    "application/zip",
    "audio/mpeg",
    "text/csv",
    "text/markdown",
    "video/mp4",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}


def is_unchanged(if_none_match: str, tag: str) -> bool:
    """Whether the client has it (RFC 9110 13.1.2, weak comparison)."""
    tags = [item.strip().removeprefix("W/") for item in if_none_match.split(",")]
    return "*" in tags or tag in tags


def wanted_range(request: Request, info: ObjectInfo, tag: str) -> ByteRange | None:
    """The one range that was asked for, None for all. Raises RefusedError behind the end."""
    condition = request.headers.get("if-range")
    header = request.headers.get("range", "")
    if request.method != "GET" or (condition is not None and condition != tag):
        return None
    span = parse_range(header, info.size)
    if span is NOT_SATISFIABLE:
        raise range_behind_end(info.size)
    return span


def download_headers(claims: Claims, info: ObjectInfo) -> dict[str, str]:
    """Only types that no browser executes are named, and fewer shown inline."""
    content_type = claims.content_type or info.content_type
    bare = content_type.split(";")[0].strip().lower()
    disposition = claims.disposition or "attachment"
    if disposition.startswith("inline") and bare not in _INLINE_TYPES:
        disposition = "attachment" + disposition.removeprefix("inline")
    return {
        "Accept-Ranges": "bytes",
        "Content-Disposition": disposition,
        "Content-Type": content_type if bare in _ATTACHMENT_TYPES else "application/octet-stream",
    }
