"""Calls of any RPC by its name, with JSON for messages: what a story tells one release and
reads from another needs no code for each message."""

from __future__ import annotations

import hashlib
import importlib
import re
import urllib.request
import uuid
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.json_format import MessageToDict, ParseDict

from services.rpc.errors import error_info, peer_status

__all__ = ["Person", "Refused"]

Json = dict[str, Any]


class Refused(Exception):
    """A call failed; the text is `STATUS reason`."""


class Person:
    """Somebody who is signed in at a server, by the local secret of its keys."""

    def __init__(self, grpc_address: str, email: str = "", *, secret: str = "") -> None:
        self._channel = grpc.insecure_channel(grpc_address)
        self._metadata: list[tuple[str, str]] = []
        self.email, self.user_id, self.workspace_id = email, "", ""
        if email:
            issued = self(
                "identity.v1.IdentityService.IssueLocalToken", email=email,
                name=email.partition("@")[0], local_secret=secret,
            )
            self._metadata = [("authorization", f"Bearer {issued['access_token']}")]
            me = self("identity.v1.IdentityService.NormalizeIdentity")
            self.user_id = me["user"]["user_id"]
            self.workspace_id = me["personal_workspace"]["account_id"]

    def __call__(self, rpc: str, /, **body: Any) -> Json:
        """The answer to `package.Service.Method`. Raises Refused."""
        package, service, name = rpc.rsplit(".", 2)
        module = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", service).lower()
        found: Any = importlib.import_module(f"workspace.{package}.{module}_pb2")
        method = found.DESCRIPTOR.services_by_name[service].methods_by_name[name]
        asked = message_factory.GetMessageClass(method.input_type)
        answered = message_factory.GetMessageClass(method.output_type)
        if "request_id" in method.input_type.fields_by_name:
            body = {"request_id": str(uuid.uuid4())} | body
        invoke: Any = self._channel.unary_unary(
            f"/workspace.{package}.{service}/{name}",
            request_serializer=asked.SerializeToString,
            response_deserializer=answered.FromString,
        )
        try:
            answer = invoke(ParseDict(body, asked()), metadata=self._metadata, timeout=60)
        except grpc.RpcError as error:
            raise Refused(_reason(error)) from error
        return MessageToDict(answer, preserving_proto_field_name=True)

    def all(self, rpc: str, member: str, /, **body: Any) -> list[Json]:
        """All pages of a list."""
        rows: list[Json] = []
        token = ""
        while True:
            page = self(rpc, page_size=100, page_token=token, **body)
            rows += page.get(member, [])
            token = page.get("next_page_token", "")
            if not token:
                return rows

    def download(self, **file: Any) -> str:
        """The SHA-256 of what the URL of a file gives."""
        made = self("storage.v1.StorageService.CreateDownload", **file)
        return hashlib.sha256(_http("GET", made["transfer"])).hexdigest()

    def upload(self, data: bytes, **file: Any) -> Json:
        """Announce, send and complete a file."""
        made = self(
            "storage.v1.StorageService.CreateUpload", size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            **{"content_type": "text/plain", "filename": "file.txt"} | file,
        )
        _http("PUT", made["transfer"], data)
        upload_id = made["upload"]["upload_id"]
        return self("storage.v1.StorageService.CompleteUpload", upload_id=upload_id)

    def send_part(self, upload_id: str, number: int, data: bytes) -> None:
        """One part of a multipart upload."""
        signed = self(
            "storage.v1.StorageService.SignUploadParts", upload_id=upload_id,
            part_numbers=[number], part_sha256={number: hashlib.sha256(data).hexdigest()},
        )
        (part,) = signed["parts"]
        _http("PUT", part.get("transfer", part), data)

    def close(self) -> None:
        self._channel.close()


def _http(method: str, transfer: Json, data: bytes | None = None) -> bytes:
    request = urllib.request.Request(transfer["url"], data=data, method=method)
    for name, value in transfer.get("headers", {}).items():
        request.add_header(name, value)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def _reason(error: Any) -> str:
    ours = peer_status(error)
    info = error_info(ours) if ours is not None else None
    return f"{error.code().name} {info.reason if info else ''}: {error.details()}"
