"""What drivers over a provider decide alike: is it there already, do the parts add up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from services.objects.port import (
    ObjectExists,
    ObjectInfo,
    PartInfo,
    StoreUnavailable,
    WrongBytes,
)

__all__ = ["Refusal", "check_parts", "put_or_same", "same_bytes"]

_TRIES = 3


class Refusal(Exception):
    """A call to a store that did not succeed."""

    @property
    def taken(self) -> bool:
        """The key holds something already."""
        return False


async def put_or_same(
    put: Callable[[], Awaitable[object]], same: Callable[[], Awaitable[ObjectInfo | None]]
) -> ObjectInfo | None:
    """Put bytes, create-only; None when they were put. Where the key is taken, by an attempt
    of ours that brought no answer, say: what is there, if it is the `same`. Raises Refusal,
    and what `same` raises for others."""
    for _ in range(_TRIES):
        try:
            await put()
        except Refusal as refused:
            if not refused.taken:
                raise
        else:
            return None
        there = await same()
        if there is not None:
            return there
    raise StoreUnavailable("the key is being written and removed by others")


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
