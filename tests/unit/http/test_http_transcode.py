from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from workspace.common.v1.stamp_pb2 import Stamp
from workspace.identity.v1.account_pb2 import Account
from workspace.identity.v1.account_service_pb2 import (
    CreateAccountRequest,
    ListAccountsResponse,
    UpdateAccountRequest,
)
from workspace.identity.v1.invitation_service_pb2 import CreateInvitationRequest
from workspace.project.v1.document_service_pb2 import CreateDocumentRequest
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest, PreviewAccessChangeRequest
from workspace.project.v1.history_service_pb2 import AppendMetadataRecordRequest
from workspace.storage.v1.storage_service_pb2 import (
    CreateMultipartUploadRequest,
    SignUploadPartsRequest,
)

from services.http.errors import HttpError
from services.http.transcode import load_object, merge_object, to_json
from tests.unit.http.messages import messages, struct_of

ROUND_TRIPS: list[type[Message]] = [
    AppendMetadataRecordRequest,
    CreateAccountRequest,
    CreateDocumentRequest,
    CreateGrantRequest,
    CreateInvitationRequest,
    CreateMultipartUploadRequest,
    ListAccountsResponse,
    PreviewAccessChangeRequest,
    SignUploadPartsRequest,
    Stamp,
    UpdateAccountRequest,
]


def parse(raw: bytes, kind: type[Any]) -> Any:
    message = kind()
    merge_object(load_object(raw), message)
    return message


def refusal(raw: bytes, kind: type[Any]) -> tuple[str, str]:
    with pytest.raises(HttpError) as error:
        parse(raw, kind)
    assert error.value.status == 400
    violation = error.value.error.violations[0]
    return violation.field, violation.description


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), kind=st.sampled_from(ROUND_TRIPS))
def test_json_round_trip(data: st.DataObject, kind: type[Message]) -> None:
    descriptor: Any = kind.DESCRIPTOR
    message = data.draw(messages(descriptor))
    snake = to_json(message)
    again = parse(snake, kind)
    assert again == message
    assert json.loads(to_json(again)) == json.loads(snake)  # maps have no order
    camel = json_format.MessageToDict(message)
    assert parse(json.dumps(camel).encode(), kind) == message


def deep(levels: int) -> bytes:
    return b'{"name":' + b"[" * levels + b"]" * levels + b"}"


BAD_BODIES: list[tuple[bytes, type[Message], str, str]] = [
    (b'{"nam":"x"}', CreateAccountRequest, "nam", "not a field"),
    (b'{"account":{"nope":1}}', UpdateAccountRequest, "account.nope", "not a field"),
    (b'{"name":"a","name":"b"}', CreateAccountRequest, "name", "twice"),
    (b'{"name":"a","n\\u0061me":"b"}', CreateAccountRequest, "name", "twice"),
    (b'{"billing_plan":"a","billingPlan":"b"}', CreateAccountRequest, "billing_plan", "twice"),
    (b'{"account":{"quotaBytes":"1","quota_bytes":"1"}}', UpdateAccountRequest,
     "account.quota_bytes", "twice"),
    (b'{"billing_plan":null,"billingPlan":"b"}', CreateAccountRequest, "billing_plan", "twice"),
    (b'\xef\xbb\xbf{"name":"a"}', CreateAccountRequest, "body", "byte order mark"),
    (b'{"name":"\xff"}', CreateAccountRequest, "body", "UTF-8"),
    ('{"name":"a"}'.encode("utf-16"), CreateAccountRequest, "body", "UTF-8"),
    (b'{"quota_bytes":NaN}', Account, "body", "NaN"),
    (b'{"quota_bytes":Infinity}', Account, "body", "Infinity"),
    (b'{"quota_bytes":-Infinity}', Account, "body", "Infinity"),
    (b'{"metadata_confidence":"NaN"}', CreateDocumentRequest, "metadata_confidence", "finite"),
    (b'{"metadata_confidence":1e400}', CreateDocumentRequest, "metadata_confidence", "finite"),
    (b'{"metadata_confidence":true}', CreateDocumentRequest, "metadata_confidence", "finite"),
    (b'{"metadata_confidence":"1_0"}', CreateDocumentRequest, "metadata_confidence", "finite"),
    (b'{"name":"a\\u0000b"}', CreateAccountRequest, "name", "NUL"),
    (b'{"name":"\\ud800"}', CreateAccountRequest, "name", "surrogate"),
    (b'{"raw_metadata":{"a":["\\u0000"]}}', CreateDocumentRequest, "raw_metadata.a[0]", "NUL"),
    (b'{"raw_metadata":{"a\\u0000":1}}', CreateDocumentRequest, "raw_metadata", "NUL"),
    (b'{"raw_metadata":{"n":9007199254740993}}', CreateDocumentRequest, "raw_metadata.n", "digits"),
    (b'{"raw_metadata":[]}', CreateDocumentRequest, "raw_metadata", "object"),
    (b'{"name":"a"} x', CreateAccountRequest, "body", "not JSON"),
    (b'{"name":"a"}{}', CreateAccountRequest, "body", "not JSON"),
    (b"{'name':'a'}", CreateAccountRequest, "body", "not JSON"),
    (b'{"name":"a",}', CreateAccountRequest, "body", "not JSON"),
    (b"/**/{}", CreateAccountRequest, "body", "not JSON"),
    (b" ", CreateAccountRequest, "body", "not JSON"),
    (b"[]", CreateAccountRequest, "body", "object"),
    (b"null", CreateAccountRequest, "body", "object"),
    (b'"x"', CreateAccountRequest, "body", "object"),
    (b"1", CreateAccountRequest, "body", "object"),
    (deep(101), CreateAccountRequest, "name", "string"),
    (deep(100_000), CreateAccountRequest, "body", "deep"),
    (b'{"name":1}', CreateAccountRequest, "name", "string"),
    (b'{"account":[]}', UpdateAccountRequest, "account", "object"),
    (b'{"account":"x"}', UpdateAccountRequest, "account", "object"),
    (b'{"legal_hold":"true"}', Account, "legal_hold", "true or false"),
    (b'{"legal_hold":1}', Account, "legal_hold", "true or false"),
    (b'{"quota_bytes":1.5}', Account, "quota_bytes", "integer"),
    (b'{"quota_bytes":true}', Account, "quota_bytes", "integer"),
    (b'{"quota_bytes":"1_0"}', Account, "quota_bytes", "integer"),
    (b'{"quota_bytes":" 1"}', Account, "quota_bytes", "integer"),
    (b'{"quota_bytes":""}', Account, "quota_bytes", "integer"),
    (b'{"quota_bytes":9223372036854775808}', Account, "quota_bytes", "integer"),
    (b'{"quota_bytes":1e300}', Account, "quota_bytes", "integer"),
    (b'{"quota_bytes":' + b"9" * 5000 + b"}", Account, "body", "digits"),
    (b'{"status":"ACTIVE"}', Account, "status", "AccountStatus"),
    (b'{"status":99}', Account, "status", "AccountStatus"),
    (b'{"created_at":"yesterday"}', Account, "created_at", "2026"),
    (b'{"created_at":"0000-01-01T00:00:00Z"}', Account, "created_at", "2026"),
    (b'{"created_at":1}', Account, "created_at", "string"),
    (b'{"lifetime":"1 day"}', CreateInvitationRequest, "lifetime", "seconds"),
    (b'{"update_mask":"a b"}', UpdateAccountRequest, "update_mask", "commas"),
    (b'{"update_mask":"*"}', UpdateAccountRequest, "update_mask", "commas"),
    (b'{"update_mask":{"paths":["name"]}}', UpdateAccountRequest, "update_mask", "string"),
    (b'{"accounts":{}}', ListAccountsResponse, "accounts", "array"),
    (b'{"accounts":[null]}', ListAccountsResponse, "accounts[0]", "null"),
    (b'{"accounts":[{},{"x":1}]}', ListAccountsResponse, "accounts[1].x", "not a field"),
    (b'{"part_sha256":{"x":"a"}}', SignUploadPartsRequest, 'part_sha256["x"]', "integer"),
    (b'{"part_sha256":{"1":"a","01":"b"}}', SignUploadPartsRequest, 'part_sha256["01"]', "twice"),
    (b'{"part_sha256":[]}', SignUploadPartsRequest, "part_sha256", "object"),
    (b'{"[workspace.x]":1}', CreateAccountRequest, "[workspace.x]", "not a field"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "kind", "field", "words"), BAD_BODIES)
@pytest.mark.case("A11", "A12", "Z12", "Z13")
def test_bad_bodies(raw: bytes, kind: type[Message], field: str, words: str) -> None:
    named, description = refusal(raw, kind)
    assert named.startswith(field)
    assert words in description


def test_two_members_of_a_oneof() -> None:
    descriptor: Any = CreateInvitationRequest.DESCRIPTOR
    first, second = descriptor.oneofs_by_name["target"].fields[:2]
    raw = f'{{"{first.name}":"x","{second.name}":"x"}}'.encode()
    field, description = refusal(raw, CreateInvitationRequest)
    assert field == second.name
    assert first.name in description


def test_refusals_do_not_repeat_values() -> None:
    with pytest.raises(HttpError) as error:
        parse(b'{"quota_bytes":"hunter2"}', Account)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("text", ["1", '"1"', "1.0", "1e0", '"01"'])
def test_spellings_of_an_integer(text: str) -> None:
    assert parse(f'{{"quota_bytes":{text}}}'.encode(), Account).quota_bytes == 1


@pytest.mark.parametrize("number", [-(2**63), 2**63 - 1, 2**53 + 1])
@pytest.mark.case("A12")
def test_64_bit_integers_are_exact(number: int) -> None:
    for text in (str(number), f'"{number}"'):
        message = parse(f'{{"quota_bytes":{text}}}'.encode(), Account)
        assert json.loads(to_json(message))["quota_bytes"] == str(number)


def test_null_is_absent() -> None:
    assert parse(b'{"name":null,"created_at":null}', Account) == Account()


def test_mask_paths_in_both_spellings() -> None:
    for text in ("billing_plan,name", "billingPlan,name"):
        message = parse(json.dumps({"update_mask": text}).encode(), UpdateAccountRequest)
        assert list(message.update_mask.paths) == ["billing_plan", "name"]


def test_answers_show_what_is_false_or_empty() -> None:
    shown = json.loads(to_json(Account(account_id="a1")))
    assert shown["account_id"] == "a1"
    assert shown["legal_hold"] is False
    assert shown["quota_bytes"] == "0"
    assert shown["status"] == "ACCOUNT_STATUS_UNSPECIFIED"
    assert "created_at" not in shown
    assert json.loads(to_json(ListAccountsResponse()))["accounts"] == []


def test_a_struct_as_deep_as_allowed_survives_binary() -> None:
    value: Any = "x"
    for _ in range(28):
        value = {"k": value}
    body = json.dumps({"raw_metadata": value}).encode()
    message = parse(body, CreateDocumentRequest)
    assert CreateDocumentRequest.FromString(message.SerializeToString()) == message
    nested = json.dumps({"raw_metadata": {"a": {"b": value}, "c": struct_depth(40)}}).encode()
    assert "deep" in refusal(nested, CreateDocumentRequest)[1]


def struct_depth(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_struct_helper_and_parser_agree() -> None:
    value = {"a": 1, "b": [True, None, "x"], "c": {"d": 1.5}}
    message = parse(json.dumps({"raw_metadata": value}).encode(), CreateDocumentRequest)
    assert message.raw_metadata == struct_of(value)
