"""Request rows: one request id, one effect, one answer (AIP-155).

The row `REQ#{sha256(principal, method, request_id)}` lies in the effect's
partition and commits with it. Ids of created roots derive from the same
three values, so that a replay finds the same partition.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass

from google.protobuf.message import Message

from services.model.errors import FieldViolation, Reason, WorkspaceError
from services.model.ids import derived_id
from services.records.large_answers import storable
from services.records.port import Item

__all__ = ["REQUEST_SECONDS", "Once", "StoredAnswer"]

REQUEST_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A serialised answer. `cut`: its records are keys only (large_answers).
    `pseq` and `time_ms` are those of the commit that gave it."""

    data: bytes
    cut: bool
    pseq: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Once:
    """One mutating call: who, which method, which request id, which payload.

    `digest` is the SHA-256 of the request without its `request_id`.
    """

    principal: str
    method: str
    request_id: str
    digest: str
    instance_key: bytes

    @classmethod
    def of(
        cls, request: Message, *, principal: str, method: str, request_id: str, instance_key: bytes
    ) -> Once:
        """`request_id` is the caller's, or the server's when there was none."""
        payload = type(request)()
        payload.CopyFrom(request)
        payload.ClearField("request_id")
        digest = hashlib.sha256(payload.SerializeToString(deterministic=True)).hexdigest()
        return cls(principal, method, request_id, digest, instance_key)

    @property
    def sk(self) -> str:
        text = json.dumps([self.principal, self.method, self.request_id])
        return "REQ#" + hashlib.sha256(text.encode()).hexdigest()

    def derived_id(self, prefix: str) -> str:
        """Id of a created root: the same for every replay of this call."""
        return derived_id(
            prefix, self.instance_key, self.principal, self.method, self.request_id
        )

    def body(self, answer: Message | None, *, pseq: int, time_ms: int) -> str:
        """The row: digest, answer (at most 16 KiB) and its type (for erasure),
        whether it was cut, and the commit, so that a replay gives the same
        consistency token."""
        data, cut = storable(answer) if answer else (b"", False)
        members: dict[str, object] = {
            "digest": self.digest,
            "type": answer.DESCRIPTOR.full_name if answer else "",
            "answer": base64.b64encode(data).decode(),
            "pseq": pseq,
            "time_ms": time_ms,
        }
        return json.dumps(members | ({"cut": True} if cut else {}))

    def answer_in(self, item: Item) -> StoredAnswer:
        """The stored answer. Raises REQUEST_ID_REUSED for another payload."""
        stored = json.loads(item.body)
        if stored["digest"] != self.digest:
            raise WorkspaceError(
                Reason.ERROR_REASON_REQUEST_ID_REUSED,
                "request_id was used before with another payload; choose a new UUID",
                metadata={"field": "request_id"},
                violations=[FieldViolation("request_id", "used before with another payload")],
            )
        return StoredAnswer(
            base64.b64decode(stored["answer"]),
            stored.get("cut", False),
            stored["pseq"],
            stored["time_ms"],
        )
