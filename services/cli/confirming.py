"""What cannot be undone is confirmed by typing an id."""

from __future__ import annotations

import sys

from services.cli.failures import usage

__all__ = ["confirm_by_typing"]


def confirm_by_typing(wanted: str, consequence: str, *, yes: bool) -> None:
    """Ask for `wanted` on standard input, unless --yes. Raises usage otherwise."""
    if yes:
        return
    sys.stderr.write(f"{consequence}\nType {wanted} to go on: ")
    sys.stderr.flush()
    typed = sys.stdin.readline().strip()
    if not sys.stdin.isatty():
        sys.stderr.write("\n")
    if typed != wanted:
        raise usage(
            "not confirmed; nothing was changed",
            remedy=f"type {wanted} when asked, or give --yes in a script",
        )
