"""What project_svc decides for this service: may this person, which key, and
the hand-over of a completed file.

No URL is signed and no byte is touched before one of these calls has answered.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc.aio
from workspace.common.v1.consistency_pb2 import Consistency
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1.document_pb2 import FileInfo
from workspace.project.v1.document_service_pb2 import (
    AttachFileRequest,
    AttachFileResponse,
    AuthorizeFileRequest,
    AuthorizeFileResponse,
    BatchAuthorizeFilesRequest,
    BatchAuthorizeFilesResult,
    FileDisposition,
    FilePurpose,
    ListProjectFilesRequest,
    MoveFileKeyRequest,
    ProjectFile,
)
from workspace.project.v1.permission_service_pb2 import GetEffectivePermissionsRequest
from workspace.project.v1.project_pb2 import Project
from workspace.project.v1.project_service_pb2 import GetProjectRequest
from workspace.storage.v1.upload_pb2 import FileStatus, Upload

from services.model.errors import Reason, permission_denied
from services.model.ids import NO_PROJECT
from services.model.permissions import permission_names
from services.records.deciding import Still
from services.records.record import Record
from services.records.store import RecordStore
from services.rpc.context import current_call
from services.rpc.errors import error_info, peer_status
from storage_svc.bound import (
    require_attached,
    require_decided,
    require_decisions,
    require_held,
    require_listed,
    require_project,
)
from storage_svc.upload_rows import UPLOADS, upload_key

if TYPE_CHECKING:  # the generated classes exist for type checkers only
    from workspace.project.v1.document_service_pb2_grpc import DocumentServiceAsyncStub
    from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceAsyncStub
    from workspace.project.v1.project_service_pb2_grpc import ProjectServiceAsyncStub

__all__ = ["Files", "ProjectGate", "reason_of", "revision_number"]

_PAGE = 100
_FRESH = Consistency(fully_consistent=True)
_REQUEST_IDS = uuid.UUID("5a0d0f5e-7d2c-4f5b-9a4e-8f0f6c1d2b3a")


def reason_of(error: grpc.aio.AioRpcError) -> int:
    """The reason that a peer gave; UNSPECIFIED when it gave none of ours."""
    status = peer_status(error)
    info = error_info(status) if status is not None else None
    return int(Reason.Value(info.reason)) if info is not None else 0


def revision_number(grant_revision: str) -> int:
    """The opaque grant revision as the number a URL carries (48 bits)."""
    return int.from_bytes(hashlib.sha256(grant_revision.encode()).digest()[:6], "big")


@dataclass(slots=True)
class Files:
    """Files of a project; `prefix` of its present home; `held`: what is under a
    legal hold, '' for nothing."""

    files: list[ProjectFile]
    prefix: str
    held: str


class ProjectGate:
    """Calls to project_svc; the user acts through the forwarded token.

    Errors of project_svc pass through unchanged (AioRpcError): the caller of
    this service sees project_svc's reason. An answer that is not about what was
    asked is none: BACKEND_UNAVAILABLE.
    """

    def __init__(
        self,
        *,
        documents: DocumentServiceAsyncStub,
        permissions: PermissionServiceAsyncStub,
        projects: ProjectServiceAsyncStub,
    ) -> None:
        self._projects = projects
        self._documents = documents
        self._permissions = permissions

    async def authorize(
        self,
        document_id: str,
        purpose: FilePurpose.ValueType,
        *,
        artifact_id: str = "",
        file_revision: int = 0,
    ) -> AuthorizeFileResponse:
        """The decision about a transfer and all that is needed for it."""
        answer = await self._documents.AuthorizeFile(
            AuthorizeFileRequest(
                document_id=document_id,
                purpose=purpose,
                artifact_id=artifact_id,
                file_revision=file_revision,
            )
        )
        user_id = current_call().user_id
        require_decided(answer, user_id=user_id, document_id=document_id, artifact_id=artifact_id)
        return answer

    async def authorize_downloads(
        self, document_ids: Sequence[str]
    ) -> Sequence[BatchAuthorizeFilesResult]:
        """The decisions about the current files of documents, in order."""
        answer = await self._documents.BatchAuthorizeFiles(
            BatchAuthorizeFilesRequest(document_ids=document_ids)
        )
        user_id = current_call().user_id
        require_decisions(answer, user_id=user_id, document_ids=document_ids)
        return answer.results

    async def authorize_upload(self, upload: Upload) -> AuthorizeFileResponse:
        """As `authorize`, for an upload that exists. A denial names the upload,
        so that it equals that of an upload which does not exist."""
        try:
            return await self.authorize(
                upload.document_id,
                FilePurpose.FILE_PURPOSE_UPLOAD,
                artifact_id=upload.artifact_id,
            )
        except grpc.aio.AioRpcError as error:
            if reason_of(error) == Reason.ERROR_REASON_PERMISSION_DENIED:
                raise permission_denied("write", f"uploads/{upload.upload_id}") from None
            raise

    async def require_write(self, project_id: str, resource: str) -> None:
        """Raises PERMISSION_DENIED about `resource` unless the caller holds
        `write` on the project now."""
        await self.require(Permission.PERMISSION_WRITE, project_id, resource)

    async def writable_upload(self, records: RecordStore, upload_id: str) -> Record[Upload]:
        """The upload, if the caller holds `write` on its project. An absent one is refused
        like a forbidden one, after the same calls."""
        resource = f"uploads/{upload_id}"
        found: Record[Upload] | None = await records.get(UPLOADS, upload_key(upload_id))
        await self.require_write(found.message.project_id if found else NO_PROJECT, resource)
        if found is None:
            raise permission_denied("write", resource)
        return found

    def still_writes(self, project_id: str, resource: str) -> Still:
        """`require_write`, for a commit: the right lies in another service."""
        return lambda: self.require_write(project_id, resource)

    async def require(
        self, permission: Permission.ValueType, project_id: str, resource: str
    ) -> None:
        """The same for another permission. What is held is asked for, since that
        answer says of whom and of what it is; a plain yes could be anybody's."""
        held, _ = await self.permissions_of(current_call().user_id, project_id)
        if permission not in held:
            raise permission_denied(permission_names([permission])[0], resource)

    async def permissions_of(
        self, user_id: str, project_id: str, document_id: str = ""
    ) -> tuple[frozenset[int], int]:
        """(permissions, revision number) of a user: the caller's, or anybody's where
        this service asks for itself. None are held on a document that is in the trash."""
        answer = await self._permissions.GetEffectivePermissions(
            GetEffectivePermissionsRequest(
                project_id=project_id,
                user_id=user_id,
                document_id=document_id,
                consistency=_FRESH,
            )
        )
        require_held(answer, user_id=user_id, project_id=project_id)
        held = frozenset(map(int, answer.effective_permissions.permissions))
        return held, revision_number(answer.grant_revision)

    async def attach(
        self, upload: Upload, file: FileInfo, disposition: FileDisposition.ValueType
    ) -> FileStatus.ValueType:
        """Give a verified file to its document; what state it has then. The
        request id derives from the upload and the payload from its record: every
        repeat is the same call, whoever makes it."""
        name = f"{upload.upload_id}/{FileDisposition.Name(disposition)}"
        answer = await self._documents.AttachFile(
            AttachFileRequest(
                document_id=upload.document_id,
                artifact_id=upload.artifact_id,
                upload_id=upload.upload_id,
                file=file,
                disposition=disposition,
                request_id=str(uuid.uuid5(_REQUEST_IDS, name)),
            )
        )
        require_attached(
            answer,
            project_id=upload.project_id,
            document_id=upload.document_id,
            artifact_id=upload.artifact_id,
        )
        return _status_of(answer, upload)

    async def project(self, project_id: str) -> Project:
        """The project as the caller sees it."""
        answer = await self._projects.GetProject(GetProjectRequest(project_id=project_id))
        require_project(answer.project, project_id)
        return answer.project

    async def files(self, project_id: str, *, document_id: str = "") -> Files:
        """Every file of a project, or of one document of it, and where it is."""
        found = Files([], "", "")
        request = ListProjectFilesRequest(
            project_id=project_id, document_id=document_id, page_size=_PAGE
        )
        while True:
            answer = await self._documents.ListProjectFiles(request)
            require_listed(answer, project_id=project_id, document_id=document_id)
            found.files.extend(answer.files)
            found.prefix, found.held = answer.storage_prefix, answer.held
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    async def move_key(self, file: ProjectFile, target: str) -> bool:
        """Have the records name the copy; False if they did already."""
        answer = await self._documents.MoveFileKey(
            MoveFileKeyRequest(
                document_id=file.document_id,
                storage_key=file.file.storage_key,
                new_storage_key=target,
                sha256=file.file.sha256,
            )
        )
        return answer.moved


def _status_of(answer: AttachFileResponse, upload: Upload) -> FileStatus.ValueType:
    held = answer.artifact if upload.artifact_id else answer.document
    if held.pending_file.upload_id == upload.upload_id:
        return FileStatus.FILE_STATUS_SCANNING
    return FileStatus.FILE_STATUS_AVAILABLE
