"""Methods of the contract by their full names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor

__all__ = ["import_contracts", "method_descriptor"]

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def method_descriptor(full_name: str) -> MethodDescriptor:
    """The descriptor of `/package.Service/Method`.

    Raises ValueError when its generated module is not imported in this process.
    """
    service, _, name = full_name.removeprefix("/").rpartition("/")
    try:
        found = descriptor_pool.Default().FindServiceByName(service)
        return found.methods_by_name[name]
    except KeyError:
        raise ValueError(f"{full_name}: unknown method; import its generated module") from None


def import_contracts(methods: Iterable[str]) -> None:
    """Import the generated modules of these methods' services:
    `workspace.project.v1.GrantService` is in `workspace/project/v1/grant_service_pb2`."""
    for service in sorted({method.split("/")[1] for method in methods}):
        package, _, name = service.rpartition(".")
        import_module(f"{package}.{_WORD.sub('_', name).lower()}_pb2")
