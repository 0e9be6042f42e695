"""Every documented error reason is given somewhere."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest
from workspace.common.v1.error_reason_pb2 import ErrorReason

from services.rpc.errors import CODES
from tests.contract.served import PROTOS, ROOT

PREFIX = "ERROR_REASON_"


def used_in(tree: ast.AST) -> set[str]:
    """Reasons named outside of the table of codes and outside of comparisons.

    `error.reason == Reason.X` and `except`-like filters look at a reason that
    somebody else has given; they give none.
    """
    looked_at: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Compare, ast.match_case)):
            parts = [node.pattern] if isinstance(node, ast.match_case) else [node]
            looked_at.update(child for part in parts for child in ast.walk(part))
    return {
        node.attr.removeprefix(PREFIX)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith(PREFIX)
        if node not in looked_at
    }


def sources() -> list[Path]:
    packages = [ROOT / "services", *sorted(ROOT.glob("*_svc"))]
    return [file for package in packages for file in sorted(package.rglob("*.py"))]


@functools.cache
def used() -> set[str]:
    found: set[str] = set()
    for file in sources():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        if file.relative_to(ROOT) == Path("services/rpc/errors.py"):
            tree = without_tables(tree)
        found |= used_in(tree)
    return found


def without_tables(tree: ast.Module) -> ast.Module:
    """`errors.py` but for its tables, which name every reason."""
    body = [node for node in tree.body if not isinstance(node, (ast.Assign, ast.AnnAssign))]
    return ast.Module(body=body, type_ignores=[])


NAMES = [name.removeprefix(PREFIX) for name in ErrorReason.keys()]  # noqa: SIM118 - protobuf


@pytest.mark.parametrize("reason", [name for name in NAMES if name != "UNSPECIFIED"])
def test_reason_is_given(reason: str) -> None:
    assert reason in used(), f"{reason} is documented, but nothing gives it"


def test_unspecified_is_never_given() -> None:
    assert given_unspecified() == set()


def given_unspecified() -> set[str]:
    """Where the zero value is an argument of a call: an error made with it."""
    return {
        argument.attr.removeprefix(PREFIX)
        for file in sources()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        for argument in node.args
        if isinstance(argument, ast.Attribute) and argument.attr == PREFIX + "UNSPECIFIED"
    }


def test_every_reason_has_one_code_and_no_other_does() -> None:
    assert CODES.keys() == set(ErrorReason.values())


def test_every_reason_documents_its_metadata_with_an_example() -> None:
    text = (PROTOS / "workspace/common/v1/error_reason.proto").read_text(encoding="utf-8")
    for name in NAMES:
        if name != "UNSPECIFIED":
            comment = text.partition(f"  {PREFIX}{name} = ")[0].rpartition(";\n")[2]
            assert f'"reason": "{PREFIX}{name}"' in comment, name
            assert '"metadata": {' in comment, name


def test_the_search_tells_giving_from_looking() -> None:
    """The control: a comparison does not count, a raise does."""
    looks = "if error.reason == Reason.ERROR_REASON_HELD: pass"
    gives = "raise WorkspaceError(Reason.ERROR_REASON_HELD, 'x')"
    assert used_in(ast.parse(looks)) == set()
    assert used_in(ast.parse(gives)) == {"HELD"}
