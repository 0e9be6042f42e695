"""Lists of (path, reason) in summaries."""

from __future__ import annotations

from collections.abc import Sequence

from services.cli.output import print_line

__all__ = ["pairs_of", "print_pairs"]

_SHOWN = 20


def pairs_of(pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """For JSON, names that are not UTF-8 included."""
    return [{"path": _safe(path), "reason": reason} for path, reason in pairs]


def print_pairs(title: str, pairs: Sequence[tuple[str, str]]) -> None:
    """For people: the first ones, and how many more there are."""
    if not pairs:
        return
    print_line(f"{title}:")
    for path, reason in pairs[:_SHOWN]:
        print_line(f"  {_safe(path)}" + (f": {reason}" if reason else ""))
    if len(pairs) > _SHOWN:
        print_line(f"  and {len(pairs) - _SHOWN} more (all with --json)")


def _safe(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
