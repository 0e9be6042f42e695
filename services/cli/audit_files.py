"""What `wm audit` keeps outside of the store: checkpoints, one a line, and exports.

An export is JSON lines: `{"format", "checkpoint"}`, then `{"key", "content", "joined"}` for
each event, oldest first (docs/operations/audit.md has the algorithm).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workspace.project.v1.history_service_pb2 import ActivityProof

from services.cli.failures import CliError, usage
from services.model.activity_chain import End
from services.model.activity_entries import Fault, FaultKind
from services.model.activity_history import History
from services.model.seals import Checkpoint

__all__ = ["Verified", "read_checkpoints", "scope_of", "verify_export", "write_export"]

_FORMAT = "workspace-activity-1"
_SCOPES = {"PROJECT": "project_id", "DOCUMENT": "document_id", "ACCOUNT": "account_id"}


@dataclass(frozen=True, slots=True)
class Verified:
    """Of one export: its partition, how many events it has, the breaks, and from how many
    events a person was taken out."""

    partition: str
    count: int
    faults: Sequence[Fault]
    erased: int


def read_checkpoints(path: Path) -> list[Checkpoint]:
    """The newest of each chain of each store, in the order of the file. Empty lines and those
    that begin with # are passed over; raises CliError for any other that is none, and for a
    file without any: nothing would be verified against it, and nobody would know."""
    found: dict[tuple[str, str], Checkpoint] = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            each = Checkpoint.load(line.strip())
        except ValueError:
            raise usage(f"{path}, line {number}: this is no checkpoint") from None
        known = found.get((each.pk, each.instance))
        if known is None or known.sequence <= each.sequence:
            found[each.pk, each.instance] = each
    if not found:
        raise usage(f"{path} has no checkpoint")
    return list(found.values())


def scope_of(checkpoint: Checkpoint) -> dict[str, str]:
    """The field of a request that names its chain. Raises CliError."""
    kind, _, name = checkpoint.pk.partition("#")
    if kind not in _SCOPES or not name:
        raise usage(f"no project, document or account: {checkpoint.pk}")
    return {_SCOPES[kind]: name}


def write_export(path: Path, checkpoint: str, proofs: Iterable[ActivityProof]) -> int:
    """How many events were written."""
    rows: list[dict[str, Any]] = [{"format": _FORMAT, "checkpoint": checkpoint}]
    rows += [{"key": e.key, "content": e.content, "joined": e.joined} for e in proofs]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="\n")
    return len(rows) - 1


def verify_export(path: Path, kept: Sequence[Checkpoint] = ()) -> Verified:
    """Judge an export by itself, and by the checkpoint of its chain in `kept`. Needs no
    server. Raises CliError for a file that is none."""
    head, *rows = _rows(path)
    try:
        own = Checkpoint.load(str(head["checkpoint"]))
    except (ValueError, KeyError):
        raise _no_export(path) from None
    history, unread, erased = History(own.pk, own.instance), list[Fault](), 0
    for row in rows:
        sk = str(row.get("key", ""))
        try:
            entry = history.add(sk, str(row.get("content")), joined=bool(row.get("joined")))
            erased += entry.erased
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            event_id = sk.rpartition("#")[2]
            unread.append(Fault(FaultKind.EDITED, event_id, 0, "The event is not readable."))
    faults = history.faults(
        End(own.sequence, "", own.link.dump()), gaps=history.is_joined, latest=2**63,
        kept=_of_chain(own, kept),
    )  # fmt: skip
    faults = sorted([*unread, *faults], key=lambda fault: fault.sequence)
    return Verified(own.pk, history.count, faults, erased)


def _of_chain(own: Checkpoint, kept: Sequence[Checkpoint]) -> Checkpoint | None:
    """The checkpoint that was kept of this chain; raises CliError if there is none."""
    if not kept:
        return None
    found = [each for each in kept if (each.pk, each.instance) == (own.pk, own.instance)]
    if not found:
        raise usage(f"none of the checkpoints is of {own.pk} in the store {own.instance}")
    return found[0]


def _rows(path: Path) -> list[Mapping[str, Any]]:
    try:
        rows = [json.loads(line) for line in _text(path).splitlines() if line]
    except (ValueError, RecursionError):
        raise _no_export(path) from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise _no_export(path)
    if rows[0].get("format") != _FORMAT:
        raise _no_export(path)
    return rows


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise CliError(f"{path} cannot be read ({type(error).__name__})") from error


def _no_export(path: Path) -> CliError:
    return usage(f"{path} is no export of `wm audit export`")
