"""What drivers over a provider decide alike: is it there already, do the parts add up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from services.objects.port import ObjectExists, ObjectInfo, PartInfo, WrongBytes

__all__ = ["check_parts", "same_bytes"]


async def same_bytes(
    info: ObjectInfo, size: int, sha256: str, digest: Callable[[], Awaitable[str]]
) -> ObjectInfo:
    """`info` with its SHA-256 if it is of these bytes; `digest` reads them where it is not
    known. Raises ObjectExists for others."""
    if info.size == size and (info.sha256 or await digest()) == sha256:
        return ObjectInfo(info.key, size, sha256, info.content_type, info.modified_at)
    raise ObjectExists(info.key)


def check_parts(parts: Sequence[PartInfo], size: int) -> None:
    """Raises WrongBytes."""
    numbers = [part.number for part in parts]
    if numbers != sorted(set(numbers)) or sum(part.size for part in parts) != size:
        raise WrongBytes("the parts are out of order or do not add up to the size")
