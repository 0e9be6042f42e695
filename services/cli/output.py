"""What commands print: tables for people, proto JSON (snake_case) for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from workspace.common.v1.permission_pb2 import Permission, PermissionPreset

from services.cli.enums import enum_word
from services.cli.options import Options

__all__ = [
    "as_json",
    "counted",
    "field_text",
    "human_bytes",
    "print_json",
    "print_json_line",
    "print_line",
    "print_rows",
    "printable",
    "show_list",
    "show_record",
    "show_table",
    "words_of",
]

_PERMISSION = "workspace.common.v1.Permission"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def as_json(message: Message) -> dict[str, Any]:
    """Proto JSON with proto field names; empty fields are there, too."""
    import google.rpc.error_details_pb2  # noqa: F401 - details of a Status are shown

    members: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return members


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def print_json_line(value: Any) -> None:
    """One line of NDJSON on standard output, sent at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_line(text: str = "") -> None:
    """One line on standard output, without control characters."""
    sys.stdout.write(printable(text) + "\n")


def show_record(
    options: Options,
    message: Message,
    fields: Sequence[str] = (),
    *,
    title: str = "",
    more: Sequence[tuple[str, str]] = (),
) -> None:
    """One record. `fields` None of them named: every populated one. `more` are
    (name, text) lines for people."""
    if options.json:
        print_json(as_json(message))
        return
    if title:
        print_line(title)
    names = fields or [f.name for f, _ in message.ListFields()]
    shown = [*((name, field_text(message, name)) for name in names), *more]
    width = max((len(name) for name, text in shown if text), default=0)
    for name, text in shown:
        if text:
            print_line(f"  {name:<{width}}  {text}")


def show_list(
    options: Options, key: str, messages: Sequence[Message], columns: Sequence[str]
) -> None:
    """Records as rows; with --json as `{key: [...]}`. A column may be given
    as `heading=field`."""
    if options.json:
        print_json({key: [as_json(message) for message in messages]})
        return
    pairs = [(c.split("=")[0], c.split("=")[-1]) for c in columns]
    rows = [[field_text(message, field) for _, field in pairs] for message in messages]
    print_rows([heading for heading, _ in pairs], rows, empty=f"no {key.replace('_', ' ')}")


def show_table(
    options: Options,
    key: str,
    messages: Sequence[Message],
    headings: Sequence[str],
    row: Callable[[Any], Sequence[str]],
    *,
    empty: str = "",
) -> None:
    """Like `show_list`, with rows that a function makes."""
    if options.json:
        print_json({key: [as_json(message) for message in messages]})
        return
    rows = [row(message) for message in messages]
    print_rows(headings, rows, empty=empty or f"no {key.replace('_', ' ')}")


def print_rows(headings: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str = "") -> None:
    """A table: by rich at a terminal, in aligned columns elsewhere."""
    if not rows:
        sys.stderr.write(f"{empty}\n" if empty else "")
        return
    cells = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(headings, cells)
        return
    lines = [[h.upper() for h in headings], *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    for line in lines:
        padded = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write(padded.rstrip() + "\n")


def field_text(message: Message, name: str) -> str:
    """The value of a field for people; '' when it is empty or unset."""
    field = message.DESCRIPTOR.fields_by_name[name]
    value = getattr(message, name)
    if field.message_type is not None and not field.is_repeated:
        return _submessage_text(value) if message.HasField(name) else ""
    values = list(value) if field.is_repeated else [value]
    if field.enum_type is not None:
        if field.enum_type.full_name == _PERMISSION and (preset := _preset(values)):
            return preset
        return ", ".join(enum_word(field.enum_type, number) for number in values if number)
    if field.message_type is not None:
        return "; ".join(_submessage_text(item) for item in values)
    if name.endswith("_bytes"):
        return human_bytes(value)
    if isinstance(value, bool):
        return "yes" if value else ""
    return ", ".join(str(item) for item in values if item != "")


def printable(text: str) -> str:
    """Names come from others: no control character reaches the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 file`, `2 files`, `no files`."""
    many = plural or f"{noun}s"
    return f"{count:,} {noun if count == 1 else many}" if count else f"no {many}"


def words_of(permissions: Sequence[int]) -> str:
    """Rights as people say them: a preset where they are exactly one."""
    words = [enum_word(Permission.DESCRIPTOR, number) for number in permissions if number]
    return _preset(permissions) or ", ".join(words)


def human_bytes(count: float) -> str:
    """`1.5 MiB`."""
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 else f"{count:.1f} {_UNITS[unit]}"


def _submessage_text(value: Any) -> str:
    if value.DESCRIPTOR.full_name == "google.protobuf.Timestamp":
        moment = value.ToDatetime(tzinfo=UTC)
        return str(moment.astimezone().strftime("%Y-%m-%d %H:%M:%S"))
    if value.DESCRIPTOR.full_name == "workspace.project.v1.FileInfo":
        return f"revision {value.file_revision}, {human_bytes(value.size_bytes)}, " + (
            f"sha256 {value.sha256}" if value.sha256 else "no checksum"
        )
    members = MessageToDict(value, preserving_proto_field_name=True)
    return _flat(members)


def _preset(permissions: Sequence[int]) -> str:
    """The preset that is exactly this set of rights, or ''."""
    from services.model.permissions import preset_of

    number = preset_of(permissions) if permissions else 0
    return enum_word(PermissionPreset.DESCRIPTOR, number) if number else ""


def _flat(members: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in members.items())


def _print_rich(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in headings:
        # An id that is folded cannot be copied.
        whole = heading.endswith("_id")
        table.add_column(heading.replace("_", " "), overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*(_escape(cell) for cell in row))
    Console().print(table)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
