"""What the tests of every cloud do with a whole process, and what they look for."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workspace.identity.v1.identity_service_pb2 import NormalizeIdentityRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.project.v1 import project_service_pb2 as prs
from workspace.project.v1.project_pb2 import Project
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.objects.keyring import KEY_FILE, Keyring, Purpose
from services.secrets.key_files import KEY_FILES, KeyFiles, read_keys
from services.secrets.keys import push_keys
from tests.harness import Workspace

__all__ = [
    "ANN", "are_in_order", "count_of", "create_projects", "rename_all", "share_keys",
]  # fmt: skip

ANN = "ann@example.com"


async def create_projects(ws: Workspace, *names: str) -> list[str]:
    """The ids of new projects of Ann."""
    await ws.sign_in(ANN)
    stub = ws.stub(ProjectServiceStub, as_=ANN)
    requests = [prs.CreateProjectRequest(name=name) for name in names]
    return [(await stub.CreateProject(each)).project.project_id for each in requests]


async def rename_all(ws: Workspace, projects: Sequence[str], times: int) -> None:
    """Side by side, each so many times."""
    await asyncio.gather(*(_renamed(ws, each, times) for each in projects))


def count_of(project_id: str, subjects: Iterable[str]) -> int:
    """How many events are about a project."""
    return sum(subject == f"projects/{project_id}" for subject in subjects)


def are_in_order(events: Iterable[Mapping[str, Any]]) -> bool:
    """Whether CloudEvents have each partition's own without a gap or a repeat."""
    partitions = defaultdict(list)
    for each in events:
        partitions[each["partitionkey"]].append(int(each["sequence"]))
    return all(
        found == list(range(found[0], found[0] + len(found))) for found in partitions.values()
    )


async def share_keys(one: Workspace, two: Workspace, folders: Sequence[Path]) -> None:
    """Asserts that two replicas are one deployment: Ann's sign-in at one counts at the
    other, and a key that one rotates and pushes is the other's, too."""
    ann = await one.sign_in(ANN)
    two._tokens[ANN] = one.token(ANN)
    me = await two.stub(IdentityServiceStub, as_=ANN).NormalizeIdentity(NormalizeIdentityRequest())
    assert me.user.user_id == ann
    found = [_keys(folder) for folder in folders]
    assert found[0] == found[1]
    assert len(found[0]) == len(KEY_FILES)
    kid = Keyring.open(one.process.kernel.keys_dir, create=False).rotate(Purpose.DOWNLOAD)
    await push_keys(one.process.settings)
    assert two.process.keys is not None
    await two.process.keys.refresh()
    assert _keys(folders[1]) == _keys(folders[0])
    assert kid.encode() in _keys(folders[1])[KEY_FILE]


def _keys(folder: Path) -> KeyFiles:
    return read_keys(folder / "wm-data" / "keys")


async def _renamed(ws: Workspace, project_id: str, times: int) -> None:
    stub = ws.stub(ProjectServiceStub, as_=ANN)
    for number in range(times):
        project = Project(project_id=project_id, name=f"Bridge {number}")
        await stub.UpdateProject(prs.UpdateProjectRequest(project=project))
