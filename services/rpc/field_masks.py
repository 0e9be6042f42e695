"""Update masks: AIP-134 (update), AIP-161 (field masks), AIP-203 (server-set fields).

- No mask: the populated fields of the incoming message.
- `*`: full replacement of what a client may set; absent fields are cleared.
- Paths: exactly those; one that is absent in the incoming message is cleared.

Server-set fields are ignored where the client did not name them and refused
where it did (mass assignment).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from services.model.errors import FieldViolation, Reason, WorkspaceError

__all__ = ["apply_mask"]

_ALWAYS_SERVER_SET = frozenset({"etag"})


def apply_mask(
    stored: Message,
    incoming: Message,
    mask: FieldMask | None,
    *,
    server_set: frozenset[str],
) -> list[str]:
    """Copy the masked fields of `incoming` into `stored`; answers their paths.

    `server_set` holds names or dotted paths that clients never set; `etag` is
    always one. Raises INVALID_MASK that names the field, before any change.
    """
    if stored.DESCRIPTOR is not incoming.DESCRIPTOR:
        raise TypeError("stored and incoming must be of the same message type")
    guarded = server_set | _ALWAYS_SERVER_SET
    descriptor = cast("Descriptor", stored.DESCRIPTOR)
    wanted = list(mask.paths) if mask is not None else []
    if not wanted:
        paths = list(_populated(incoming, "", guarded))
    elif wanted == ["*"]:
        paths = list(_settable(descriptor, "", guarded))
    else:
        named = dict.fromkeys(wanted)
        paths = [p for path in named for p in _named(descriptor, path, guarded)]
    for path in paths:
        _copy(incoming, stored, path)
    return paths


def _copy(incoming: Message, stored: Message, path: str) -> None:
    """Copy or clear one field. The library clears a leaf that is absent, but
    skips a path whose parent is absent: hence the walk."""
    *parents, leaf = path.split(".")
    for name in parents:
        if not incoming.HasField(name) and not stored.HasField(name):
            return
        incoming, stored = getattr(incoming, name), getattr(stored, name)
    FieldMask(paths=[leaf]).MergeMessage(incoming, stored, True, True)


def _invalid(path: str, description: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_MASK,
        f"update_mask: '{path}' {description}",
        metadata={"field": path},
        violations=[FieldViolation("update_mask", f"'{path}' {description}")],
    )


def _has_guarded(path: str, guarded: frozenset[str]) -> bool:
    return any(name.startswith(path + ".") for name in guarded)


def _settable(descriptor: Descriptor, prefix: str, guarded: frozenset[str]) -> Iterator[str]:
    """The largest paths below `prefix` that hold no server-set field."""
    for field in descriptor.fields:
        path = prefix + field.name
        if path in guarded:
            continue
        if field.message_type is not None and _has_guarded(path, guarded):
            yield from _settable(field.message_type, path + ".", guarded)
        else:
            yield path


def _populated(message: Message, prefix: str, guarded: frozenset[str]) -> Iterator[str]:
    for field, value in message.ListFields():
        path = prefix + field.name
        if path in guarded:
            continue
        if _has_guarded(path, guarded):
            yield from _populated(value, path + ".", guarded)
        else:
            yield path


def _named(descriptor: Descriptor, path: str, guarded: frozenset[str]) -> Iterator[str]:
    """One path of the client's mask, checked."""
    if path == "*":
        raise _invalid(path, "must be the only path; remove the others")
    field = _find(descriptor, path)
    if any(path == name or path.startswith(name + ".") for name in guarded):
        raise _invalid(path, "is set by the server; remove it from the mask")
    if field.message_type is not None and _has_guarded(path, guarded):
        yield from _settable(field.message_type, path + ".", guarded)
    else:
        yield path


def _find(descriptor: Descriptor, path: str) -> FieldDescriptor:
    parts = path.split(".")
    here: Descriptor | None = descriptor
    field: FieldDescriptor | None = None
    for part in parts:
        # AIP-161: a list or map is replaced as a whole, never entered.
        entered = field is not None and field.is_repeated
        field = here.fields_by_name.get(part) if here is not None and not entered else None
        if field is None:
            raise _invalid(path, "is not a field of the resource; use its name in the schema")
        here = field.message_type
    assert field is not None
    return field
