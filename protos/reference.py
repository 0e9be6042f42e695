"""Writes docs/api/*.md, one page per package, from the comments of the protos.

Run by `make generate`: python protos/reference.py DESCRIPTOR_SET OUTPUT_DIR,
where the descriptor set was made with --include_source_info.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2 as pb

_LABELS = {
    pb.MethodOptions.NO_SIDE_EFFECTS: "no side effects",
    pb.MethodOptions.IDEMPOTENT: "idempotent",
}
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6


class Page:
    """All files of one package, as Markdown."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.services: list[str] = []
        self.types: list[str] = []

    def add(self, file: pb.FileDescriptorProto) -> None:
        comments = {tuple(loc.path): _comment(loc) for loc in file.source_code_info.location}
        for i, service in enumerate(file.service):
            self.services += _service(service, comments, (_SERVICE, i), self.package)
        for i, message in enumerate(file.message_type):
            self.types += _message(message, comments, (_MESSAGE, i), message.name)
        for i, enum in enumerate(file.enum_type):
            self.types += _enum(enum, comments, (_ENUM, i), enum.name)

    def text(self) -> str:
        said = "Generated from the comments in `protos/`; do not edit."
        head = [f"# {self.package}", "", said, ""]
        return "\n".join([*head, *self.services, *self.types]).rstrip() + "\n"


Comments = dict[tuple[int, ...], str]
At = tuple[int, ...]


def _comment(location: pb.SourceCodeInfo.Location) -> str:
    lines = (location.leading_comments or location.trailing_comments).strip().splitlines()
    return "\n".join(line.strip() for line in lines)


def _service(
    service: pb.ServiceDescriptorProto, comments: Comments, at: At, package: str
) -> Iterator[str]:
    yield from (f"## {service.name}", "", comments.get(at, ""), "")
    for i, method in enumerate(service.method):
        yield from (f"### {service.name}.{method.name}", "", comments.get((*at, 2, i), ""), "")
        if f"/{package}.{service.name}/{method.name}" not in served():
            yield from ("*Not served yet: answers UNIMPLEMENTED, and 404 over HTTP.*", "")
        stream = "stream of " if method.server_streaming else ""
        kind = _LABELS.get(method.options.idempotency_level, "")
        path = f"/{package}.{service.name}/{method.name}"
        yield f"- gRPC: `{path}`" + (f" ({kind})" if kind else "")
        yield f"- HTTP: `{_http(method)}`"
        yield f"- Request: {_link(method.input_type)}"
        yield from (f"- Answer: {stream}{_link(method.output_type)}", "")


@cache
def served() -> frozenset[str]:
    """Full names of the RPCs that this version serves: those with a policy row."""
    points = entry_points(group="workspace.services")
    policies = (import_module(f"{point.module.partition('.')[0]}.policy") for point in points)
    return frozenset(method for policy in policies for method in policy.POLICY)


def _http(method: pb.MethodDescriptorProto) -> str:
    rule = method.options.Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern") or ""
    return f"{verb.upper()} {getattr(rule, verb)}" if verb else "none"


def _message(
    message: pb.DescriptorProto, comments: Comments, at: At, name: str
) -> Iterator[str]:
    if message.options.map_entry:
        return
    yield from (f"## {name}", "", comments.get(at, ""), "")
    if message.field:
        yield from ("| field | type | meaning |", "|---|---|---|")
        for i, field in enumerate(message.field):
            note = comments.get((*at, 2, i), "").replace("\n", " ").replace("|", "\\|")
            yield f"| `{field.name}` | {_type(field, message)} | {note} |"
        yield ""
    for i, nested in enumerate(message.nested_type):
        yield from _message(nested, comments, (*at, 3, i), f"{name}.{nested.name}")
    for i, enum in enumerate(message.enum_type):
        yield from _enum(enum, comments, (*at, 4, i), f"{name}.{enum.name}")


def _enum(enum: pb.EnumDescriptorProto, comments: Comments, at: At, name: str) -> Iterator[str]:
    yield from (f"## {name}", "", comments.get(at, ""), "")
    yield from ("| value | number | meaning |", "|---|---|---|")
    for i, value in enumerate(enum.value):
        note = comments.get((*at, 2, i), "").split("\n\n")[0].replace("\n", " ")
        yield f"| `{value.name}` | {value.number} | {note} |"
    yield ""


def _type(field: pb.FieldDescriptorProto, parent: pb.DescriptorProto) -> str:
    if field.type in (field.TYPE_MESSAGE, field.TYPE_ENUM):
        short = field.type_name.rsplit(".", 1)[-1]
        entry = next((n for n in parent.nested_type if n.name == short), None)
        if entry is not None and entry.options.map_entry:
            return f"map of {_type(entry.field[0], entry)} to {_type(entry.field[1], entry)}"
        text = _link(field.type_name)
    else:
        text = pb.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    return f"repeated {text}" if field.label == field.LABEL_REPEATED else text


def _link(type_name: str) -> str:
    full = type_name.removeprefix(".")
    package, _, name = full.rpartition(".")
    if not package.startswith("workspace."):
        return f"`{full}`"
    while not package.rsplit(".", 1)[-1].startswith("v"):
        package, _, outer = package.rpartition(".")
        name = f"{outer}.{name}"
    return f"[{name}]({package}.md#{name.lower().replace('.', '')})"


def main(arguments: Sequence[str]) -> int:
    files = pb.FileDescriptorSet.FromString(Path(arguments[0]).read_bytes())
    out = Path(arguments[1])
    out.mkdir(parents=True, exist_ok=True)
    pages: dict[str, Page] = {}
    for file in sorted(files.file, key=lambda f: f.name):
        if file.package.startswith("workspace."):
            pages.setdefault(file.package, Page(file.package)).add(file)
    for old in out.glob("workspace.*.md"):
        old.unlink()
    for page in pages.values():
        (out / f"{page.package}.md").write_text(page.text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
