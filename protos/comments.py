"""Writes the comments of the protos as JSON, for what describes the API at run time.

Run by `make generate`: python protos/comments.py DESCRIPTOR_SET OUTPUT_FILE. The
result maps full names (`workspace.project.v1.Project.name`) to comments; generated
Python code has none of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2 as pb

# Field numbers of descriptor.proto, of which source locations are made.
_NESTED = {
    "file": (("message_type", 4), ("enum_type", 5), ("service", 6)),
    "message": (("field", 2), ("nested_type", 3), ("enum_type", 4), ("oneof_decl", 8)),
    "enum": (("value", 2),),
    "service": (("method", 2),),
}
_KINDS = {
    "message_type": "message", "nested_type": "message", "enum_type": "enum", "service": "service",
}


def comments_of(file: pb.FileDescriptorProto) -> Iterator[tuple[str, str]]:
    """(full name, comment) of everything in a file that has a comment."""
    said = {
        tuple(location.path): " ".join(location.leading_comments.split(" ")).strip()
        for location in file.source_code_info.location
        if location.leading_comments
    }
    yield from _below(file, "file", file.package, (), said)


def _below(
    parent: Any, kind: str, name: str, at: tuple[int, ...], said: dict[tuple[int, ...], str]
) -> Iterator[tuple[str, str]]:
    for attribute, number in _NESTED.get(kind, ()):
        for index, child in enumerate(getattr(parent, attribute)):
            path, full = (*at, number, index), f"{name}.{child.name}"
            if path in said:
                yield full, _joined(said[path])
            yield from _below(child, _KINDS.get(attribute, ""), full, path, said)


def _joined(comment: str) -> str:
    """Lines of a paragraph in one; paragraphs stay apart."""
    paragraphs = comment.strip().split("\n\n")
    return "\n\n".join(" ".join(p.split()) for p in paragraphs)


def main(arguments: Sequence[str]) -> int:
    files = pb.FileDescriptorSet.FromString(Path(arguments[0]).read_bytes())
    ours = (file for file in files.file if file.package.startswith("workspace."))
    found = dict(pair for file in ours for pair in comments_of(file))
    text = json.dumps(found, ensure_ascii=False, indent=0, sort_keys=True)
    Path(arguments[1]).write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
