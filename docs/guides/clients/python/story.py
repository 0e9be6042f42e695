"""The story of ../README.md in Python: the generated stubs, grpcio and httpx.

WM_SERVER=host:port WM_TOKEN=... WM_OTHER_TOKEN=... WM_CA=ca.pem python story.py
"""

# ruff: noqa: T201 -- it prints what happened

from __future__ import annotations

import hashlib
import json
import os
import ssl
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status
from workspace.common.v1 import consistency_pb2, permission_pb2
from workspace.identity.v1 import account_service_pb2 as accounts
from workspace.identity.v1 import identity_service_pb2 as identity
from workspace.identity.v1 import team_service_pb2 as teams
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.identity.v1.team_service_pb2_grpc import TeamServiceStub
from workspace.project.v1 import document_pb2, grant_pb2
from workspace.project.v1 import document_service_pb2 as documents
from workspace.project.v1 import grant_service_pb2 as grants
from workspace.project.v1 import history_service_pb2 as history
from workspace.project.v1 import permission_service_pb2 as permissions
from workspace.project.v1 import project_service_pb2 as projects
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1 import storage_service_pb2 as storage
from workspace.storage.v1 import transfer_pb2, upload_pb2
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

CALL_SECONDS = 10
STREAM_SECONDS = 30
FILES = {"beams.txt": "12 m of steel", "drawing.txt": "see north side", "ümlaut.txt": "größer"}
EVENT_TYPES = ["document.created", "document.file_attached", "grant.created", "project.assigned"]


def main() -> None:
    server, ca = os.environ["WM_SERVER"], os.environ.get("WM_CA", "")
    with open_channel(server, ca) as channel:
        alice = Person(channel, os.environ["WM_TOKEN"])
        bob = Person(channel, os.environ["WM_OTHER_TOKEN"])
        tell(alice, bob, Objects(ca))


def tell(alice: Person, bob: Person, objects: Objects) -> None:
    session = alice.call(alice.identity.GetSession, identity.GetSessionRequest())
    print(f"session: {session.session.user.email}")
    project_id, resume_token = make_project(alice)
    share(alice, bob, project_id)
    document_ids = upload_all(alice, project_id, objects)
    download(alice, document_ids["beams.txt"], objects)
    list_documents(alice, project_id)
    refusals(alice, bob, project_id, document_ids["drawing.txt"])
    repeat(alice, project_id)
    watch(alice, project_id, resume_token)
    done = projects.DeleteProjectRequest(project_id=project_id, request_id=request_id())
    print(f"deleted: {alice.call(alice.projects.DeleteProject, done).project.name}")


def make_project(alice: Person) -> tuple[str, str]:
    """An account, a team, a project; its id, and a token of the events from here on."""
    account = alice.call(
        alice.accounts.CreateAccount,
        accounts.CreateAccountRequest(
            name="Bridge Works", type="client_org", request_id=request_id()
        ),
    ).account
    print(f"account: {account.name} ({account.type})")
    team = alice.call(
        alice.teams.CreateTeam,
        teams.CreateTeamRequest(
            account_id=account.account_id, name="Structures", request_id=request_id()
        ),
    ).team
    print(f"team: {team.name}")
    project = alice.call(
        alice.projects.CreateProject,
        projects.CreateProjectRequest(
            name="North bridge", account_id=account.account_id, request_id=request_id()
        ),
    ).project
    events = alice.stream(alice.history.WatchEvents, watched(project.project_id))
    resume_token = next(iter(events)).resume_token  # the first message comes at once
    events.cancel()
    assigned = alice.call(
        alice.projects.AssignProject,
        projects.AssignProjectRequest(
            project_id=project.project_id, team_id=team.team_id, request_id=request_id()
        ),
    ).project
    in_team = yes(assigned.team_id == team.team_id)
    print(f"project: {assigned.name}, assigned to the team: {in_team}")
    return project.project_id, resume_token


def share(alice: Person, bob: Person, project_id: str) -> None:
    """Alice lets Bob look; Bob asks what he may do, as fresh as the grant."""
    user = bob.call(bob.identity.GetSession, identity.GetSessionRequest()).session.user
    given = alice.call(
        alice.grants.CreateGrant,
        grants.CreateGrantRequest(
            project_id=project_id,
            target_type=grant_pb2.GRANT_TARGET_TYPE_USER,
            target_id=user.user_id,
            preset=permission_pb2.PERMISSION_PRESET_VIEWER,
            request_id=request_id(),
        ),
    )
    names = [permission_pb2.Permission.Name(right) for right in given.grant.permissions]
    print(f"grant: {', '.join(names)}")
    fresh = consistency_pb2.Consistency(
        at_least_as_fresh=consistency_pb2.Consistency.AtLeastAsFresh(
            tokens=[given.consistency_token]
        )
    )
    for name in ("PERMISSION_VIEW", "PERMISSION_WRITE"):
        asked = permissions.CheckPermissionRequest(
            project_id=project_id,
            permission=permission_pb2.Permission.Value(name),
            consistency=fresh,
        )
        allowed = bob.call(bob.permissions.CheckPermission, asked).allowed
        print(f"check: {name} {yes(allowed)}")


def upload_all(alice: Person, project_id: str, objects: Objects) -> dict[str, str]:
    """The id of the document of every file."""
    ids = {}
    for name, text in FILES.items():
        made = documents.CreateDocumentRequest(
            project_id=project_id, name=name, request_id=request_id()
        )
        ids[name] = alice.call(alice.documents.CreateDocument, made).document.document_id
        upload(alice, ids[name], name, text.encode(), objects)
    return ids


def upload(alice: Person, document_id: str, name: str, data: bytes, objects: Objects) -> None:
    announced = alice.call(
        alice.storage.CreateUpload,
        storage.CreateUploadRequest(
            document_id=document_id,
            filename=name,
            content_type="text/plain",
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            request_id=request_id(),
        ),
    )
    objects.send(announced.transfer, data)
    done = alice.call(
        alice.storage.CompleteUpload,
        storage.CompleteUploadRequest(
            upload_id=announced.upload.upload_id, request_id=request_id()
        ),
    )
    status = upload_pb2.FileStatus.Name(done.file.status)
    print(f"upload: {name}, {done.file.size_bytes} bytes, {status}")


def download(alice: Person, document_id: str, objects: Objects) -> None:
    signed = alice.call(
        alice.storage.CreateDownload, storage.CreateDownloadRequest(document_id=document_id)
    )
    data = objects.fetch(signed.transfer)
    same = hashlib.sha256(data).hexdigest() == signed.sha256
    print(f"download: {signed.filename}, {data.decode()}, same SHA-256: {yes(same)}")


def list_documents(alice: Person, project_id: str) -> None:
    """Pages of two until there is no token; the order is the server's."""
    names: list[str] = []
    request = documents.ListDocumentsRequest(project_id=project_id, page_size=2)
    while True:
        page = alice.call(alice.documents.ListDocuments, request)
        print(f"page: {len(page.documents)}")
        names += [document.name for document in page.documents]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    print(f"documents: {', '.join(sorted(names))}")


def refusals(alice: Person, bob: Person, project_id: str, document_id: str) -> None:
    """What an error says to a program: code, reason, field."""
    asked = documents.GetDocumentRequest(document_id=document_id)
    read = alice.call(alice.documents.GetDocument, asked).document
    changed = alice.call(alice.documents.UpdateDocument, titled(read, "Plan")).document
    print(f"title: {changed.title}")
    stale = refusal(alice, alice.documents.UpdateDocument, titled(read, "Stale"))
    print(f"stale etag: {stale}")
    nameless = documents.CreateDocumentRequest(project_id=project_id, request_id=request_id())
    print(f"bad field: {refusal(alice, alice.documents.CreateDocument, nameless)}")
    read.etag = ""
    print(f"Bob writes: {refusal(bob, bob.documents.UpdateDocument, titled(read, 'Bob'))}")


def titled(read: document_pb2.Document, title: str) -> documents.UpdateDocumentRequest:
    """A new title for exactly the version that was read."""
    changed = document_pb2.Document(document_id=read.document_id, etag=read.etag, title=title)
    return documents.UpdateDocumentRequest(
        document=changed, update_mask=FieldMask(paths=["title"]), request_id=request_id()
    )


def refusal(person: Person, rpc: Callable[..., Any], request: Any) -> str:
    """Code, reason of ErrorInfo and fields of BadRequest of a call that must fail."""
    try:
        person.call(rpc, request)
    except grpc.RpcError as error:
        words = [error.code().name]
        status = rpc_status.from_call(error)
        for detail in status.details if status else ():
            info, bad = ErrorInfo(), BadRequest()
            if detail.Unpack(info):
                words.append(info.reason)
            elif detail.Unpack(bad):
                words += [violation.field for violation in bad.field_violations]
        return " ".join(words)
    return "not refused"


def repeat(alice: Person, project_id: str) -> None:
    """The same request_id twice: one document."""
    request = documents.CreateDocumentRequest(
        project_id=project_id, name="once.txt", request_id=request_id()
    )
    first, second = (alice.call(alice.documents.CreateDocument, request).document for _ in range(2))
    print(f"repeated: same document: {yes(first.document_id == second.document_id)}")


def watch(alice: Person, project_id: str, resume_token: str) -> None:
    """What happened since the token, until every type was seen; then the stream is cancelled."""
    seen: set[str] = set()
    events = alice.stream(alice.history.WatchEvents, watched(project_id, resume_token))
    for message in events:
        if message.checkpoint:
            continue
        seen.add(message.event.type)
        if seen == set(EVENT_TYPES):
            break
    events.cancel()
    print(f"events: {', '.join(sorted(seen))}")
    print(f"stream: {events.code().name}")


def watched(project_id: str, resume_token: str = "") -> history.WatchEventsRequest:
    return history.WatchEventsRequest(
        project_ids=[project_id], event_types=EVENT_TYPES, resume_token=resume_token
    )


class Person:
    """The stubs of one channel, with the bearer token of one person on every call."""

    def __init__(self, channel: grpc.Channel, token: str) -> None:
        self._metadata = (("authorization", f"Bearer {token}"),)
        self.identity = IdentityServiceStub(channel)
        self.accounts = AccountServiceStub(channel)
        self.teams = TeamServiceStub(channel)
        self.projects = ProjectServiceStub(channel)
        self.grants = GrantServiceStub(channel)
        self.permissions = PermissionServiceStub(channel)
        self.documents = DocumentServiceStub(channel)
        self.storage = StorageServiceStub(channel)
        self.history = HistoryServiceStub(channel)

    def call(self, rpc: Callable[..., Any], request: Any) -> Any:
        """One unary call under a deadline."""
        return rpc(request, timeout=CALL_SECONDS, metadata=self._metadata)

    def stream(self, rpc: Callable[..., Any], request: Any) -> Any:
        """One server stream under a deadline of its own."""
        return rpc(request, timeout=STREAM_SECONDS, metadata=self._metadata)


class Objects:
    """Files go to and from the object store directly, as a Transfer says."""

    def __init__(self, ca: str) -> None:
        self._tls = ssl.create_default_context(cafile=ca or None)

    def send(self, transfer: transfer_pb2.Transfer, data: bytes) -> None:
        self._do(transfer, data)

    def fetch(self, transfer: transfer_pb2.Transfer) -> bytes:
        return self._do(transfer, None)

    def _do(self, transfer: transfer_pb2.Transfer, data: bytes | None) -> bytes:
        answer = httpx.request(
            transfer.method,
            transfer.url,
            headers=dict(transfer.headers),
            content=data,
            verify=self._tls,
            timeout=CALL_SECONDS,
        )
        return answer.raise_for_status().content


def open_channel(server: str, ca: str) -> grpc.Channel:
    """TLS with the given CA; without one plain text, which only this machine may use."""
    options = [("grpc.service_config", service_config())]
    if not ca:
        return grpc.insecure_channel(server, options=options)
    credentials = grpc.ssl_channel_credentials(Path(ca).read_bytes())
    return grpc.secure_channel(server, credentials, options=options)


def service_config() -> str:
    """The published retry policies, which lie beside the stubs, as one service config."""
    folders = [Path(str(module.__file__)).parent for module in (identity, projects, storage)]
    methods = [
        method
        for folder in folders
        for file in sorted(folder.glob("*_service_config.json"))
        for method in json.loads(file.read_text(encoding="utf-8"))["methodConfig"]
    ]
    return json.dumps({"loadBalancingConfig": [{"round_robin": {}}], "methodConfig": methods})


def request_id() -> str:
    """Makes a mutating call safe to repeat, and so the retry policy safe to have."""
    return str(uuid.uuid4())


def yes(value: bool) -> str:
    return "yes" if value else "no"


if __name__ == "__main__":
    main()
