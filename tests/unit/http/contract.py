"""All services of the contract, for tests that go over every method."""

from __future__ import annotations

import importlib
from pathlib import Path

import workspace.identity.v1
from google.protobuf.descriptor import FileDescriptor

_ROOT = Path(next(iter(workspace.identity.v1.__path__))).parents[2]


def service_files() -> list[FileDescriptor]:
    """The descriptors of all `*_service.proto` files."""
    files = sorted(_ROOT.glob("workspace/*/v1/*_service_pb2.py"))
    names = [".".join(file.relative_to(_ROOT).with_suffix("").parts) for file in files]
    return [importlib.import_module(name).DESCRIPTOR for name in names]


def all_methods() -> list[str]:
    """Full names of all methods, `/package.Service/Method`."""
    return [
        f"/{service.full_name}/{method.name}"
        for file in service_files()
        for service in file.services_by_name.values()
        for method in service.methods
    ]
