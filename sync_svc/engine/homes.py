"""Which projects are here and in the scope of a connection."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Final

from workspace.project.v1.project_pb2 import Project

from services.model.families import FAMILIES
from services.model.shown import winner_of
from services.model.versions import State
from services.records.port import Key
from services.records.replica import Incoming
from services.records.store import RecordStore

__all__ = ["Homes", "document_project", "strays", "under_hold"]

_KEYS_A_READ: Final = 500


class Homes:
    """Projects that documents may be taken for."""

    def __init__(self, projects: frozenset[str]) -> None:
        self._projects = projects

    def has(self, project_id: str) -> bool:
        """Whether this one is here, lives, and is covered by the connection."""
        return project_id in self._projects

    @classmethod
    async def read(
        cls,
        records: RecordStore,
        project_ids: Sequence[str],
        *,
        accounts: frozenset[str] | None,
        projects: frozenset[str] | None,
    ) -> Homes:
        """`accounts` and `projects` are what the scope names; None: it names none."""
        wanted = [each for each in project_ids if projects is None or each in projects]
        found: set[str] = set()
        for at in range(0, len(wanted), _KEYS_A_READ):
            keys = [Key(f"PROJECT#{i}", f"PROJECT#{i}") for i in wanted[at : at + _KEYS_A_READ]]
            for record in await records.batch_get(FAMILIES["project"], keys):
                project = record.message if record else None
                if project and (accounts is None or _home(project) in accounts):
                    found.add(project.project_id)
        return cls(frozenset(found))


def _home(project: Project) -> str:
    """The account, or the personal workspace, whose id is one of an account, too."""
    return project.account_id or project.workspace_id


def document_project(state: State) -> str:
    """The project that a document or a file derived from one says it is of; '' for other
    families."""
    if state.family not in ("document", "derived_artifact"):
        return ""
    return str(json.loads(winner_of(state.versions.values()).body).get("project_id", ""))


async def under_hold(records: RecordStore, project_ids: Collection[str]) -> set[str]:
    """Those of these projects that are under a legal hold here, of their own or of their
    account's or personal workspace's."""
    keys = [Key(f"PROJECT#{each}", f"PROJECT#{each}") for each in sorted(project_ids)]
    homes: dict[str, str] = {}
    found: set[str] = set()
    for at in range(0, len(keys), _KEYS_A_READ):
        for record in await records.batch_get(FAMILIES["project"], keys[at : at + _KEYS_A_READ]):
            if record is not None:
                project = record.message
                homes[project.project_id] = _home(project)
                found |= {project.project_id} if project.legal_hold else set()
    names = sorted(set(homes.values()) - {""})
    held: set[str] = set()
    for at in range(0, len(names), _KEYS_A_READ):
        part = [Key(f"ACCOUNT#{i}", f"ACCOUNT#{i}") for i in names[at : at + _KEYS_A_READ]]
        accounts = await records.batch_get(FAMILIES["account"], part)
        held |= {each.message.account_id for each in accounts if each and each.message.legal_hold}
    return found | {project for project, home in homes.items() if home in held}


async def strays(records: RecordStore, taken: Sequence[Incoming]) -> set[Key]:
    """Files derived from documents that say that they are of another project than their
    document is, here or among these records; those without a document, too."""
    files = [each for each in taken if each.state.family == "derived_artifact"]
    projects = {each.key.pk: document_project(each.state) for each in taken if _is_document(each)}
    wanted = sorted({each.key.pk for each in files})
    for at in range(0, len(wanted), _KEYS_A_READ):
        part = wanted[at : at + _KEYS_A_READ]
        keys = [Key(pk, f"ARTIFACT#{pk.removeprefix('DOCUMENT#')}") for pk in part]
        for record in await records.batch_get(FAMILIES["document"], keys):
            if record is not None:
                projects[record.key.pk] = record.message.project_id
    return {
        each.key
        for each in files
        if not each.state.deleted and document_project(each.state) != projects.get(each.key.pk)
    }


def _is_document(each: Incoming) -> bool:
    return each.state.family == "document" and not each.state.deleted
