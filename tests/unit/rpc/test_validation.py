from __future__ import annotations

import grpc
import grpc.aio
import pytest
from google.protobuf import struct_pb2
from google.rpc import error_details_pb2
from workspace.common.v1.consistency_pb2 import Consistency

from services.model.errors import FieldViolation
from services.rpc.validation import Validator, invalid_request
from tests.unit.rpc.interceptor_harness import (
    KINDS,
    VALID,
    Echo,
    detail,
    reason_of,
    status_of,
    ticket_class,
)

BAD = Consistency(at_least_as_fresh=Consistency.AtLeastAsFresh(tokens=["ok", "", "x" * 513]))
Ticket = ticket_class()


@pytest.fixture(autouse=True, params=["socket", "local"])
def _transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Echo, "local", request.param == "local")


def test_violations_have_paths_and_say_what_is_wanted() -> None:
    found = Validator().violations(BAD)
    assert [item.field for item in found] == [
        "at_least_as_fresh.tokens[1]",
        "at_least_as_fresh.tokens[2]",
    ]
    assert "at least 1" in found[0].description
    assert "at most 512" in found[1].description
    assert Validator().violations(VALID) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_bad_request_never_reaches_the_handler(kind: str) -> None:
    acted = []

    async def act(request: object, context: object) -> object:
        acted.append(request)
        return request

    async with Echo(act).running() as echo:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.call(kind, BAD)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(caught.value) == "INVALID_FIELD"
    bad = detail(status_of(caught.value), error_details_pb2.BadRequest)
    assert [v.field for v in bad.field_violations] == [
        "at_least_as_fresh.tokens[1]",
        "at_least_as_fresh.tokens[2]",
    ]
    assert acted == []


@pytest.mark.parametrize("kind", KINDS)
async def test_bytes_that_are_no_message_are_the_clients_mistake(kind: str) -> None:
    async with Echo().running() as echo:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.call(kind, b"\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(caught.value) == "INVALID_FIELD"


@pytest.mark.parametrize("code", [0x00, 0x07, 0x09, 0x0A, 0x0D, 0x1B, 0x1F, 0x7F, 0x85, 0x9F])
def test_control_characters_are_refused_wherever_text_is(code: int) -> None:
    bad = f"a{chr(code)}b"
    message = Ticket(
        name=bad,
        description=bad,
        tags=["ok", bad],
        owner={"name": bad},
        owners=[{}, {"role": bad}],
        labels={"k": bad},
    )
    fields = {item.field for item in Validator().violations(message)}
    expected = {"name", "tags[1]", "owner.name", "owners[1].role", 'labels["k"]'}
    if chr(code) not in "\n\t":
        expected.add("description")
    assert fields == expected


def test_keys_of_maps_are_text_too_and_are_shown_safely() -> None:
    (found,) = Validator().violations(Ticket(labels={"a\nb" + "c" * 200: "v"}))
    assert found.field == 'labels["a?b' + "c" * 61 + '"]'


def test_recursive_messages_are_scanned_to_the_bottom() -> None:
    message = struct_pb2.Struct()
    message.update({"a": {"b": ["fine", "not\x00fine"]}})
    (found,) = Validator().violations(message)
    assert found.field.endswith("values[1].string_value")


def test_ordinary_text_of_any_language_passes() -> None:
    message = Ticket(name="Überblick 日本語 🙂 e\u0301", description="a\n\tb", tags=["\u00a0"])
    assert Validator().violations(message) == []


def test_rules_are_compiled_at_start() -> None:
    validator = Validator()
    validator.warm([Consistency.DESCRIPTOR, struct_pb2.Struct.DESCRIPTOR])
    assert len(validator.violations(BAD)) == 2


def test_the_text_names_the_first_field() -> None:
    error = invalid_request([FieldViolation("a", "is bad"), FieldViolation("b", "too")])
    assert error.message == "a: is bad (and 1 more)"
    assert error.metadata == {"field": "a"}
    assert invalid_request([FieldViolation("", "is bad")]).metadata == {"field": "request"}
