"""Bodies of versions as another surface gives them, against everything that is
computed from a body: digest, keys, storage keys, rules of the schema.

A body is accepted only in the one text that this software would write for it, but
for members that it does not know: those travel on. Otherwise two readers could
take different things from one text (a member twice, `accountId` beside
`account_id`), and a check would look at another value than the reader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from workspace.sync.v1.quarantine_pb2 import QuarantineReason as Why

from services.model.canonical import content_digest
from services.model.errors import WorkspaceError
from services.model.families import FAMILIES, Family
from services.model.object_names import NAMING_FAMILIES, object_names
from services.model.paths import StorageKey, parse_storage_key
from services.model.versions import MAX_BODY_BYTES, Version
from services.records.codec import content_of, dump
from services.records.limits import MAX_ITEM_BYTES
from services.records.port import Key
from services.rpc.validation import Validator
from sync_svc.engine.refusal import Refused

__all__ = ["check_body"]

_EVENT: Final = "activity_event"
_SERVER_SET: Final = frozenset({"etag"})
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{1,9}Z")
_ZEROS: Final = re.compile(r"\.?0*Z$")
_OF_ONE_NODE: Final = frozenset(
    {"COLLECT", "DUE", "INSTANCE", "INTENT", "LEASE", "NODE", "RELAY", "SYNC"}
)
"""First words of partitions where only the kernel of one node writes."""
_OF_REQUESTS: Final = "must not contain control characters"


def check_body(family: Family, key: Key, version: Version, schema: Validator) -> None:
    """Raises Refused unless this version may be the record `key`. Raises nothing
    else, whatever the body is."""
    try:
        _check(family, key, version, schema)
    except Refused:
        raise
    except Exception as error:  # a body may be anything: no text of it may stop a run
        raise _invalid(f"its body cannot be read ({type(error).__name__})") from error


def _check(family: Family, key: Key, version: Version, schema: Validator) -> None:
    _check_size(family, version)
    members = _members(version)
    _check_members(family, version, members)
    _check_digest(family, version, members)
    if dump(members) != version.body:
        raise _invalid("its body is not canonical JSON (RFC 8785)")
    if version.deleted:
        _check_tombstone(family, key)
        return
    _check_enums(family, members)
    message = _message(family, members)
    _check_key(family, key, version, message)
    if family.name in NAMING_FAMILIES:
        _check_objects(members)
    _check_rules(family, message, schema)


def _check_rules(family: Family, message: Message, schema: Validator) -> None:
    for each in schema.violations(message):
        # A rule of requests, not of the schema: a sign-in provider may give such a name.
        if _OF_REQUESTS not in each.description:
            raise _invalid(f"{each.field or family.name}: {each.description}")


def _check_size(family: Family, version: Version) -> None:
    # What is only ever added quotes other records: two of them and more.
    most = MAX_ITEM_BYTES if family.policy == "append_only" else MAX_BODY_BYTES
    size = len(version.body.encode("utf-8", "surrogatepass"))
    if size > most:
        raise Refused(
            Why.QUARANTINE_REASON_TOO_LARGE,
            f"its body has {size} bytes; at most {most}: move bulky data into a file",
        )


def _members(version: Version) -> dict[str, Any]:
    try:
        members = json.loads(version.body)
    except (ValueError, RecursionError) as error:
        raise _invalid("its body is not JSON") from error
    if not isinstance(members, dict):
        raise _invalid("its body is not a JSON object")
    return members


def _check_members(family: Family, version: Version, members: Mapping[str, Any]) -> None:
    if version.deleted and members:
        raise _invalid("it is deleted and has a body")
    barred = family.local_fields | family.computed | _SERVER_SET
    if found := sorted(barred & members.keys()):
        raise _invalid(f"{found[0]}: never travels; it is computed by each node")


def _check_digest(family: Family, version: Version, members: Mapping[str, Any]) -> None:
    digest = content_digest(family.name, version.deleted, content_of(family, members))
    if digest != version.digest:
        raise Refused(
            Why.QUARANTINE_REASON_DIGEST_MISMATCH,
            "its digest is not that of its body: it was changed without a new version",
        )


def _check_enums(family: Family, members: Mapping[str, Any]) -> None:
    """A member is passed over when unknown, but not what a known one says."""
    for name, names in _enum_fields(family.name):
        value = members.get(name)
        if value is None or isinstance(value, list | dict):
            continue  # left to the decoder
        if value not in names and not isinstance(value, bool | float):
            raise Refused(
                Why.QUARANTINE_REASON_SCHEMA_UNKNOWN,
                f"{name}: has a value that this software does not know; upgrade it",
            )


@cache
def _enum_fields(name: str) -> tuple[tuple[str, frozenset[str]], ...]:
    fields = FAMILIES[name].message.DESCRIPTOR.fields
    return tuple(
        (field.name, frozenset(field.enum_type.values_by_name))
        for field in fields
        if field.enum_type is not None
    )


def _message(family: Family, members: dict[str, Any]) -> Message:
    message = family.message()
    try:
        ParseDict(members, message, ignore_unknown_fields=True)
    except ParseError as error:
        raise _invalid("its body is not a message of its family") from error
    written = MessageToDict(message, preserving_proto_field_name=True)
    if not _is_part(written, members):
        raise _invalid("its body is not written as this software writes it")
    return message


def _is_part(written: Any, members: Any) -> bool:
    """Whether every value is there under its own name; `members` may have more."""
    if isinstance(written, dict):
        return isinstance(members, dict) and all(
            name in members and _is_part(value, members[name]) for name, value in written.items()
        )
    if isinstance(written, list):
        return (
            isinstance(members, list)
            and len(written) == len(members)
            and all(map(_is_part, written, members))
        )
    if isinstance(written, str) and isinstance(members, str):
        return written == members or _shortest(written) == _shortest(members)
    return bool(written == members) and isinstance(written, bool) == isinstance(members, bool)


def _shortest(text: str) -> str:
    """A time without trailing zeros: events are written with six digits."""
    return _ZEROS.sub("Z", text) if _TIME.fullmatch(text) else text


def _check_key(family: Family, key: Key, version: Version, message: Message) -> None:
    if family.name == _EVENT:
        _check_event_key(key, version, getattr(message, "event_id", ""))
        return
    try:
        wanted = family.key_of(message)
    except ValueError as error:
        raise _other_key("a field of its key is empty") from error
    if wanted != (key.pk, key.sk):
        raise _other_key("the keys computed from its body are others")


def _check_event_key(key: Key, version: Version, event_id: str) -> None:
    wanted = f"EVENT#{version.hlc}#{version.dot[0]}#{event_id}"
    if not event_id or key.sk != wanted:
        raise _other_key("an event lies under its time, its actor and its id")
    if key.pk.partition("#")[0] in _OF_ONE_NODE:
        raise _other_key("no event lies in such a partition")


def _check_tombstone(family: Family, key: Key) -> None:
    """A deleted record has no body: its key must be one that its family makes."""
    if family.name == _EVENT:
        raise _invalid("an event is never deleted")
    if not any(each.fullmatch(f"{key.pk}\n{key.sk}") for each in _shapes(family.name)):
        raise _other_key(f"no {family.name} has such keys")


_COPIED = "copied"
"""The first record of a copy says of which file it is one: that lies under another
document. Nothing is served or, but where the copy was made, copied by it
(project_svc/documents/copies.py)."""


@cache
def _shapes(name: str) -> tuple[re.Pattern[str], ...]:
    family = FAMILIES[name]
    return tuple(_pattern(f"{pk.text}\n{family.sk.text}") for pk in family.pk)


def _pattern(text: str) -> re.Pattern[str]:
    """Fields of the key as `[^#]+`, the same field with the same value."""
    out, at, seen = [], 0, set()
    for slot in re.finditer(r"\{(\w+)\}", text):
        out.append(re.escape(text[at : slot.start()]))
        name, at = slot[1], slot.end()
        out.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^#\n]+)")
        seen.add(name)
    return re.compile("".join(out) + re.escape(text[at:]))


def _check_objects(members: Mapping[str, Any]) -> None:
    if members.get("reason") == _COPIED and "metadata_record_id" in members:
        return
    for name in object_names(members):
        if not _is_own(name, members):
            raise Refused(
                Why.QUARANTINE_REASON_FOREIGN_STORAGE_KEY,
                "it names an object that is not under its own document",
            )


def _is_own(name: str, members: Mapping[str, Any]) -> bool:
    try:
        parts: StorageKey = parse_storage_key(name)
    except WorkspaceError:
        return False
    artifact = members.get("artifact_id", parts.artifact_id)
    return (
        parts.project_id == members.get("project_id")
        and parts.document_id == members.get("document_id")
        and parts.artifact_id == artifact
    )


def _invalid(message: str) -> Refused:
    return Refused(Why.QUARANTINE_REASON_INVALID, message)


def _other_key(message: str) -> Refused:
    return Refused(Why.QUARANTINE_REASON_KEY_MISMATCH, f"its keys are not its own: {message}")
