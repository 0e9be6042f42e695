"""Answers of project_svc are for the question that was asked, or they are no answers.

A reply that was mixed up on its way (a proxy, a cache, a defect) must not open another
file than the one that was decided about, nor for another person. Whatever does not fit
is taken for silence: UNAVAILABLE, and a line in the log. (reliability.md S07.)
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from workspace.project.v1.document_pb2 import FileInfo
from workspace.project.v1.document_service_pb2 import (
    AttachFileResponse,
    AuthorizeFileResponse,
    BatchAuthorizeFilesResponse,
    ListProjectFilesResponse,
)
from workspace.project.v1.permission_service_pb2 import GetEffectivePermissionsResponse
from workspace.project.v1.project_pb2 import Project

from services.model.errors import Reason, WorkspaceError
from services.model.paths import parse_storage_key

__all__ = [
    "require_attached", "require_decided", "require_decisions", "require_held", "require_listed",
    "require_project",
]  # fmt: skip

_LOG = logging.getLogger(__name__)


def require_decided(
    answer: AuthorizeFileResponse, *, user_id: str, document_id: str, artifact_id: str = ""
) -> None:
    """The decision about a file. Raises BACKEND_UNAVAILABLE."""
    project_id = answer.document.project_id
    folder = f"derived/{artifact_id}" if artifact_id else "raw"
    _require(answer.user_id, user_id, "user")
    _require(answer.document.document_id, document_id, "document")
    _require(answer.artifact.artifact_id, artifact_id, "artifact")
    tail = f"/projects/{project_id}/documents/{document_id}/{folder}/"
    _require_that(answer.storage_prefix.endswith(tail), "folder")
    if answer.file.storage_key:
        _require_file(answer.file, project_id, document_id, artifact_id)


def require_decisions(
    answer: BatchAuthorizeFilesResponse, *, user_id: str, document_ids: Sequence[str]
) -> None:
    """The decisions about current files, in the order asked. Raises BACKEND_UNAVAILABLE."""
    answered = [each.document_id for each in answer.results]
    _require_that(answered == list(document_ids), "list of documents")
    for each in answer.results:
        _require_that(each.WhichOneof("outcome") is not None, "outcome")
        if each.HasField("decision"):
            require_decided(each.decision, user_id=user_id, document_id=each.document_id)


def require_held(
    answer: GetEffectivePermissionsResponse, *, user_id: str, project_id: str
) -> None:
    """What a user holds on a project. Raises BACKEND_UNAVAILABLE."""
    _require(answer.effective_permissions.user_id, user_id, "user")
    _require(answer.effective_permissions.project_id, project_id, "project")


def require_attached(
    answer: AttachFileResponse, *, project_id: str, document_id: str, artifact_id: str
) -> None:
    """What has the file now. Raises BACKEND_UNAVAILABLE: nobody knows whether it has."""
    _require(answer.document.project_id, project_id, "project")
    _require(answer.document.document_id, document_id, "document")
    _require(answer.artifact.artifact_id, artifact_id, "artifact")


def require_project(project: Project, project_id: str) -> None:
    """A project that was read. Raises BACKEND_UNAVAILABLE."""
    _require(project.project_id, project_id, "project")


def require_listed(
    answer: ListProjectFilesResponse, *, project_id: str, document_id: str
) -> None:
    """A page of files, of one document alone unless `document_id` is ''. What this list
    lacks is removed or copied after it. Raises BACKEND_UNAVAILABLE."""
    _require_that(answer.storage_prefix.endswith(f"/projects/{project_id}/"), "folder")
    for each in answer.files:
        _require(each.document_id, document_id or each.document_id, "document")
        _require_file(each.file, project_id, each.document_id, each.artifact_id)


def _require_file(
    file: FileInfo, project_id: str, document_id: str, artifact_id: str
) -> None:
    try:
        key = parse_storage_key(file.storage_key)
    except WorkspaceError:
        raise _other("storage key") from None
    about = (key.project_id, key.document_id, key.artifact_id)
    _require_that(about == (project_id, document_id, artifact_id), "storage key")


def _require(answered: str, asked: str, what: str) -> None:
    _require_that(answered == asked, what)


def _require_that(fits: bool, what: str) -> None:
    if not fits:
        raise _other(what)


def _other(what: str) -> WorkspaceError:
    _LOG.error("project_svc answered about another %s than was asked", what)
    return WorkspaceError(
        Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
        "The project service gave no answer to this question; repeat the call.",
        metadata={"backend": "project"},
    )
