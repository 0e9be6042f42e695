"""The templates of deploy/azure as data, with their expressions worked out.

There is no compiler of Bicep in any registry: the grammar of tree-sitter reads them, and
what they use of the language is worked out here. Anything else is an error, never a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "azure"
_LANGUAGE: Final = Language(tree_sitter_bicep.language())
_EXTENSION: Final = re.compile(r"^extension (\w+)$", re.MULTILINE)
"""Younger than the grammar; at the top level, a line alone."""
_ENVIRONMENT: Final = {
    "name": "AzureCloud", "suffixes": {"acrLoginServer": ".azurecr.io"},
}  # fmt: skip


@dataclass(frozen=True)
class Declared:
    """`param`, `var`, `resource`, `module` or `output`, with its decorators. `kind` is the
    type, as `string` or `Microsoft.Storage/storageAccounts@2024-01-01`."""

    sort: str
    name: str
    kind: str
    value: Node | None
    condition: Node | None = None
    existing: bool = False
    decorators: Mapping[str, list[Any]] = field(default_factory=dict)

    @property
    def type(self) -> str:
        return self.kind.partition("@")[0]

    @property
    def version(self) -> str:
        return self.kind.partition("@")[2]


class Reference(str):
    """What only a deployment knows, as `identity.properties.clientId`."""


class DeploymentRefused(Exception):
    """`fail()` of a template."""


class Template:
    """One file: its declarations by sort and name."""

    def __init__(self, text: str, *, folder: Path = FOLDER) -> None:
        self.folder = folder
        self.extensions = _EXTENSION.findall(text)
        self.root = Parser(_LANGUAGE).parse(_EXTENSION.sub("", text).encode()).root_node
        found = list(_declared(self.root))
        self.all = {each.name: each for each in found if each.sort != "output"}
        self.outputs = {each.name: each for each in found if each.sort == "output"}

    def of(self, sort: str) -> dict[str, Declared]:
        return {name: each for name, each in self.all.items() if each.sort == sort}

    @property
    def has_error(self) -> bool:
        return self.root.has_error


def template(name: str) -> Template:
    """`baseline`, `roles`, `runtime`, `registry` or `registration`."""
    return Template((FOLDER / f"{name}.bicep").read_text(encoding="utf-8"))


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    yield node
    for child in node.children:
        yield from walk(child)


def names_used(source: Template) -> set[str]:
    """Identifiers that expressions refer to: declarations are not uses of themselves."""
    used: set[str] = set()
    for each in walk(source.root):
        if each.type == "identifier" and not _declares(each):
            used.add(text_of(each))
    return used


class Resolver:
    """Works out expressions with `values` for parameters; references to resources stay
    `Reference`, but for names, which are worked out."""

    def __init__(self, source: Template, **values: Any) -> None:
        self.source = source
        unknown = set(values) - set(source.of("param"))
        assert not unknown, f"no such parameters: {unknown}"
        self._values: dict[str, Any] = {"location": "eastus", **values}

    def body(self, resource: str) -> dict[str, Any]:
        """What a resource says, its `parent` as a reference."""
        node = self.source.all[resource].value
        assert node is not None
        made: dict[str, Any] = self.of(node)
        return made

    def full_name(self, resource: str) -> str:
        """With the names of the parents before it."""
        body = self.body(resource)
        parent = body.get("parent")
        return f"{self.full_name(parent)}/{body['name']}" if parent else str(body["name"])

    def is_made(self, resource: str) -> bool:
        condition = self.source.all[resource].condition
        return condition is None or bool(self.of(condition))

    def output(self, name: str) -> Any:
        node = self.source.outputs[name].value
        assert node is not None
        return self.of(node)

    def of(self, node: Node) -> Any:
        work: Callable[[Node], Any] | None = getattr(self, f"_{node.type}", None)
        assert work is not None, f"not worked out here: {node.type} `{text_of(node)}`"
        return work(node)

    def _string(self, node: Node) -> Any:
        parts: list[Any] = []
        for child in node.named_children:
            if child.type == "interpolation":
                parts.append(self.of(child.named_children[0]))
            else:
                text = text_of(child)
                parts.append(text[1:] if child.type == "escape_sequence" else text)
        if len(parts) == 1 and isinstance(parts[0], Reference):
            return parts[0]
        return "".join(map(str, parts))

    def _number(self, node: Node) -> int:
        return int(text_of(node))

    def _boolean(self, node: Node) -> bool:
        return text_of(node) == "true"

    def _array(self, node: Node) -> list[Any]:
        return [self.of(each) for each in node.named_children if each.type != "comment"]

    def _object(self, node: Node) -> dict[str, Any]:
        found = {}
        for each in node.named_children:
            if each.type != "comment":
                assert each.type == "object_property", each.type
                key, value = each.named_children
                name = text_of(key) if key.type == "identifier" else str(self.of(key))
                found[name] = self.of(value)
        return found

    def _for_statement(self, node: Node) -> list[Any]:
        name, items, body = node.named_children
        assert text_of(name) not in self.source.all
        made = []
        for item in self.of(items):
            self._values[text_of(name)] = item
            made.append(self.of(body))
        del self._values[text_of(name)]
        return made

    def _parenthesized_expression(self, node: Node) -> Any:
        return self.of(node.named_children[0])

    def _ternary_expression(self, node: Node) -> Any:
        condition, yes, no = node.named_children
        return self.of(yes if self.of(condition) else no)

    def _unary_expression(self, node: Node) -> Any:
        value = self.of(node.named_children[0])
        return not value if text_of(node.children[0]) == "!" else -value

    def _binary_expression(self, node: Node) -> Any:
        left, right = (self.of(each) for each in node.named_children)
        made: dict[str, Callable[[], Any]] = {
            "==": lambda: left == right,
            "!=": lambda: left != right,
            "&&": lambda: left and right,
            "||": lambda: left or right,
        }
        return made[text_of(node.children[1])]()

    def _identifier(self, node: Node) -> Any:
        name = text_of(node)
        if name in self._values:
            return self._values[name]
        declared = self.source.all[name]
        if declared.sort in ("resource", "module"):
            return Reference(name)
        assert declared.value is not None, f"parameter {name} needs a value"
        return self.of(declared.value)

    def _member_expression(self, node: Node) -> Any:
        left, member = node.named_children
        value, name = self.of(left), text_of(member)
        if isinstance(value, Mapping):
            return value[name]
        assert isinstance(value, Reference), f"{text_of(node)} is of no resource"
        if name == "name" and value in self.source.all:
            return self.body(value)["name"]
        return Reference(f"{value}.{name}")

    def _subscript_expression(self, node: Node) -> Any:
        value, key = (self.of(each) for each in node.named_children)
        return value[key]

    def _call_expression(self, node: Node) -> Any:
        name, arguments = node.named_children
        given = [self.of(each) for each in arguments.named_children]
        made = getattr(self, f"_call_{text_of(name)}", None)
        assert made is not None, f"no such function here: {text_of(name)}"
        return made(*given)

    def _call_empty(self, value: Any) -> bool:
        return not value

    def _call_contains(self, text: str, part: str) -> bool:
        return part in text

    def _call_fail(self, why: str) -> Any:
        raise DeploymentRefused(why)

    def _call_union(self, *given: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for each in given for key, value in each.items()}

    def _call_json(self, text: str) -> Any:
        return json.loads(text)

    def _call_loadTextContent(self, name: str) -> str:  # noqa: N802 - as Bicep spells it
        return (self.source.folder / name).read_text(encoding="utf-8")

    def _call_environment(self) -> Any:
        return _ENVIRONMENT

    def _call_resourceGroup(self, *_: str) -> Any:  # noqa: N802
        return {"id": "/subscriptions/s/resourceGroups/g", "name": "g", "location": "eastus"}

    def _call_tenant(self) -> Any:
        return {"tenantId": "11111111-2222-3333-4444-555555555555"}

    def _call_uniqueString(self, *_: str) -> str:  # noqa: N802
        return "abcdefghijklm"

    def _call_guid(self, *given: str) -> str:
        return f"guid({', '.join(given)})"

    def _call_subscriptionResourceId(self, kind: str, name: str) -> str:  # noqa: N802
        return f"{kind}/{name}"


def _declared(root: Node) -> Iterator[Declared]:
    decorators: dict[str, list[Any]] = {}
    for node in root.named_children:
        if node.type == "decorators":
            decorators = dict(map(_decorator, node.named_children))
        elif node.type.endswith("_declaration"):
            yield _declaration(node, decorators)
            decorators = {}


def _declaration(node: Node, decorators: Mapping[str, list[Any]]) -> Declared:
    sort = {"parameter": "param", "variable": "var"}.get(
        node.type.removesuffix("_declaration"), node.type.removesuffix("_declaration")
    )
    name, *rest = node.named_children
    kind = ""
    if rest and (rest[0].type == "type" or (rest[0].type == "string" and len(rest) > 1)):
        kind = text_of(rest.pop(0)).strip("'")
    value = rest[0] if rest else None
    condition = None
    if value is not None and value.type == "if_statement":
        condition, value = value.named_children
    existing = any(text_of(each) == "existing" for each in node.children)
    return Declared(sort, text_of(name), kind, value, condition, existing, decorators)


def _decorator(node: Node) -> tuple[str, list[Any]]:
    name, arguments = node.named_children[0].named_children
    nothing = Resolver(Template(""))
    return text_of(name), [nothing.of(each) for each in arguments.named_children]


def _declares(node: Node) -> bool:
    """Whether an identifier names a declaration or a property, and is no use of one."""
    parent = node.parent
    assert parent is not None
    first = next((each for each in parent.named_children), None)
    sorts = ("object_property", "for_statement")
    named = parent.type.endswith("_declaration") or parent.type in sorts
    return named and first is not None and first.id == node.id


def text_of(node: Node) -> str:
    assert node.text is not None
    return node.text.decode()
