from __future__ import annotations

import json

import grpc
import grpc.aio
import pytest
from google.protobuf import any_pb2
from google.rpc import code_pb2, status_pb2

from services.http.errors import HTTP_STATUS, error_response, seen_status, status_object
from services.model.errors import Reason, WorkspaceError, invalid_field, permission_denied
from services.rpc.errors import DETAILS_HEADER, to_status

# google/rpc/code.proto, "HTTP Mapping"
CODE_PROTO = {
    "OK": 200, "CANCELLED": 499, "UNKNOWN": 500, "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504, "NOT_FOUND": 404, "ALREADY_EXISTS": 409, "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 401, "RESOURCE_EXHAUSTED": 429, "FAILED_PRECONDITION": 400,
    "ABORTED": 409, "OUT_OF_RANGE": 400, "UNIMPLEMENTED": 501, "INTERNAL": 500,
    "UNAVAILABLE": 503, "DATA_LOSS": 500,
}  # fmt: skip


def rpc_error(
    code: grpc.StatusCode, text: str, details: status_pb2.Status | None = None
) -> grpc.aio.AioRpcError:
    trailers = ((DETAILS_HEADER, details.SerializeToString()),) if details else ()
    return grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), details=text
    )


def test_table_is_that_of_code_proto() -> None:
    assert {code.name: status for code, status in HTTP_STATUS.items()} == CODE_PROTO
    assert set(CODE_PROTO) == set(code_pb2.Code.keys())


def test_status_of_a_service_passes_unchanged() -> None:
    status = to_status(permission_denied("write", "projects/p1"), "r1")
    error = rpc_error(grpc.StatusCode.PERMISSION_DENIED, status.message, status)
    response = error_response(error, "r1")
    assert response.status_code == 403
    shown = json.loads(bytes(response.body))
    assert shown["code"] == 7
    assert shown["details"] == [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "ERROR_REASON_PERMISSION_DENIED",
            "domain": "workspace",
            "metadata": {"permission": "write", "resource": "projects/p1"},
        }
    ]


@pytest.mark.parametrize(
    ("code", "reason", "status"),
    [
        (grpc.StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE", 503),
        (grpc.StatusCode.CANCELLED, "BACKEND_UNAVAILABLE", 503),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", 504),
        (grpc.StatusCode.UNIMPLEMENTED, "NOT_SERVED", 501),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED", 429),
        (grpc.StatusCode.INTERNAL, "INTERNAL", 500),
        (grpc.StatusCode.UNKNOWN, "INTERNAL", 500),
    ],
)
def test_texts_of_grpc_itself_are_not_shown(
    code: grpc.StatusCode, reason: str, status: int
) -> None:
    response = error_response(rpc_error(code, "ipv4:10.0.0.7:50051 refused"), "r1")
    assert response.status_code == status
    text = bytes(response.body).decode()
    assert "10.0.0.7" not in text
    assert json.loads(text)["details"][0]["reason"] == f"ERROR_REASON_{reason}"


def test_unexpected_exceptions_are_not_shown() -> None:
    response = error_response(ZeroDivisionError("secret"), "r-77")
    assert response.status_code == 500
    text = bytes(response.body).decode()
    assert "secret" not in text
    assert "r-77" in text


def test_retry_info_becomes_whole_seconds() -> None:
    error = WorkspaceError(Reason.ERROR_REASON_LIMIT_EXCEEDED, "slow down", retry_after=1.2)
    assert error_response(error, "r").headers["retry-after"] == "2"
    error = WorkspaceError(Reason.ERROR_REASON_CONFLICTING_WRITE, "again")
    assert error_response(error, "r").headers["retry-after"] == "1"
    assert "retry-after" not in error_response(invalid_field("name", "is bad"), "r").headers


def test_field_violations_are_shown() -> None:
    shown = json.loads(bytes(error_response(invalid_field("name", "is bad"), "r").body))
    assert shown["details"][1]["field_violations"] == [{"field": "name", "description": "is bad"}]


def test_unauthenticated_names_the_scheme() -> None:
    error = WorkspaceError(Reason.ERROR_REASON_UNAUTHENTICATED, "no")
    assert error_response(error, "r").headers["www-authenticate"] == "Bearer"


def test_details_of_unknown_types_are_left_out() -> None:
    status = seen_status(invalid_field("name", "is bad"), "r")
    status.details.append(any_pb2.Any(type_url="type.googleapis.com/x.Unknown", value=b"\x01"))
    kinds = [detail["@type"].rpartition(".")[2] for detail in status_object(status)["details"]]
    assert kinds == ["ErrorInfo", "BadRequest"]
