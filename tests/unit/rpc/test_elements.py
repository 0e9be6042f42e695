"""Elements of a request, counted on the wire."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import struct_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.common.v1.consistency_pb2 import Consistency
from workspace.identity.v1.identity_service_pb2 import GetSessionRequest
from workspace.project.v1.document_service_pb2 import (
    BatchUpdateDocumentsRequest,
    CreateDocumentRequest,
)
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest
from workspace.project.v1.permission_service_pb2 import BatchCheckPermissionsRequest

from services.model.errors import Reason, WorkspaceError
from services.rpc.elements import MAX_ELEMENTS, ElementLimit, allowance
from services.rpc.received import Decoder

LINK = b"\xba\x01\x00"  # field 23, `links`, empty


def refusal(kind: Any, data: bytes, at_most: int = MAX_ELEMENTS) -> WorkspaceError:
    with pytest.raises(WorkspaceError) as caught:
        ElementLimit(kind.DESCRIPTOR, at_most).check(data)
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_FIELD
    return caught.value


@pytest.mark.case("A01")
def test_the_limit_and_one_more() -> None:
    limit = ElementLimit(FieldMask.DESCRIPTOR)  # whose list has no limit of its own
    assert limit.maximum == MAX_ELEMENTS
    path = b"\x0a\x00"
    limit.check(path * limit.maximum)
    error = refusal(FieldMask, path * (limit.maximum + 1))
    assert error.metadata == {"field": "paths"}
    assert "5000" in error.message
    assert "several requests" in error.message


@pytest.mark.case("A01")
def test_a_list_has_its_own_limit() -> None:
    item = b"\x0a\x16" + b"\x0a\x14" + b"p" * 20
    limit = ElementLimit(BatchCheckPermissionsRequest.DESCRIPTOR)
    limit.check(item * 500)
    error = refusal(BatchCheckPermissionsRequest, item * 501)
    assert error.metadata == {"field": "items"}
    assert "500 elements" in error.message


def test_what_the_contract_allows_is_never_refused() -> None:
    assert allowance(GetSessionRequest.DESCRIPTOR) < MAX_ELEMENTS
    assert ElementLimit(CreateDocumentRequest.DESCRIPTOR).maximum > 33_000  # free JSON
    numbers = struct_pb2.Struct()
    numbers.update({"n": [1] * 32_000})  # as JSON a little less than the 64 KiB of a snapshot
    ElementLimit(CreateDocumentRequest.DESCRIPTOR).check(
        CreateDocumentRequest(raw_metadata=numbers).SerializeToString()
    )
    assert ElementLimit(BatchUpdateDocumentsRequest.DESCRIPTOR).maximum == 50_000


def test_the_list_is_named_where_it_lies() -> None:
    assert refusal(CreateDocumentRequest, LINK * 60_000).metadata == {"field": "links"}
    values = struct_pb2.Struct()
    values.update({"a": [None] * 60_000})
    data = CreateDocumentRequest(raw_metadata=values).SerializeToString()
    field = refusal(CreateDocumentRequest, data).metadata["field"]
    assert field == "raw_metadata.fields.value.list_value.values"


def test_packed_numbers_are_elements_too() -> None:
    field = next(f for f in CreateGrantRequest.DESCRIPTOR.fields if f.name == "permissions")
    assert field.is_packed
    many = CreateGrantRequest(permissions=[1] * 60_000).SerializeToString()
    assert refusal(CreateGrantRequest, many).metadata == {"field": "permissions"}


def test_fields_that_make_no_element_are_bounded_too() -> None:
    again = b"\x0a\x00" * 50_000  # the same text field again and again, or one nobody knows
    assert refusal(GetSessionRequest, again).metadata == {"field": "request"}
    unknown = b"\xf8\x3f\x01" * 50_000
    assert refusal(GetSessionRequest, unknown).metadata == {"field": "request"}


@pytest.mark.parametrize(
    "end",
    [
        b"\x0a\x05",  # a length behind the end
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0b\x0c",  # a group
        b"\x0f",  # a wire type that is none
        b"\xff" * 12,  # a number without an end
        b"\x09\x00",  # half of a fixed one
    ],
)
def test_bytes_that_are_no_message(end: bytes) -> None:
    data = b"\x10\x01" * 30 + end
    error = refusal(Consistency, data, 0)
    assert "not a valid message" in error.message


def test_messages_in_messages_without_end() -> None:
    data = b""
    for _ in range(150):  # Value.list_value.values, each in the one before
        data = b"\x0a" + _length(data) + data
        data = b"\x32" + _length(data) + data
    padding = b"\x7a\xc0\xb8\x02" + bytes(40_000)  # or it is too short to be looked at
    assert "not a valid message" in refusal(struct_pb2.Value, padding + data).message


def _length(data: bytes) -> bytes:
    size = len(data)
    return bytes([size]) if size < 128 else bytes([size % 128 + 128, size // 128])


def test_nothing_is_decoded_before_it_is_asked_for() -> None:
    asked: list[bytes] = []

    def decode(data: bytes) -> Consistency:
        asked.append(data)
        return Consistency.FromString(data)

    decoder = Decoder(decode, 3)
    asked.clear()
    received = decoder.later(Consistency(minimize_latency=True).SerializeToString())
    assert asked == []
    assert received.message() is received.message()
    assert len(asked) == 1
    with pytest.raises(WorkspaceError, match="elements; send them"):
        decoder(
            Consistency(
                at_least_as_fresh=Consistency.AtLeastAsFresh(tokens=["a"] * 40)
            ).SerializeToString()
        )
