from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.status_pb2 import Status

from services.model.errors import Reason, WorkspaceError
from services.rpc.field_masks import apply_mask
from tests.unit.rpc.interceptor_harness import ticket_class

Ticket = ticket_class()
SERVER = frozenset({"created_by", "owner.role"})


def stored() -> Any:
    return Ticket(
        name="old",
        description="old",
        etag="e1",
        created_by="u_1",
        owner={"name": "old", "role": "owner"},
        owners=[{"name": "x"}],
        tags=["a", "b"],
        labels={"k": "v"},
    )


HOSTILE = {"etag": "e2", "created_by": "u_2", "owner": {"name": "new", "role": "root"}}


@pytest.mark.parametrize("mask", [None, FieldMask()])
def test_no_mask_means_the_populated_fields(mask: FieldMask | None) -> None:
    record = stored()
    paths = apply_mask(record, Ticket(name="new", tags=["c"], **HOSTILE), mask, server_set=SERVER)
    assert sorted(paths) == ["name", "owner.name", "tags"]
    expected = stored()
    expected.name = "new"
    expected.owner.name = "new"
    expected.tags[:] = ["c"]
    assert record == expected


def test_a_star_replaces_all_that_a_client_may_set() -> None:
    record = stored()
    apply_mask(record, Ticket(name="new", **HOSTILE), FieldMask(paths=["*"]), server_set=SERVER)
    owner = {"name": "new", "role": "owner"}
    assert record == Ticket(name="new", etag="e1", created_by="u_1", owner=owner)


def test_named_fields_only_and_absent_ones_are_cleared() -> None:
    record = stored()
    mask = FieldMask(paths=["description", "labels", "tags", "name", "name"])
    incoming = Ticket(name="new", labels={"n": "1"}, owners=[{"name": "no"}])
    paths = apply_mask(record, incoming, mask, server_set=SERVER)
    assert paths == ["description", "labels", "tags", "name"]
    expected = stored()
    expected.name = "new"
    expected.ClearField("description")
    del expected.tags[:]
    expected.labels.clear()
    expected.labels["n"] = "1"
    assert record == expected


def test_a_message_with_a_server_set_part_keeps_that_part() -> None:
    record = stored()
    apply_mask(record, Ticket(**HOSTILE), FieldMask(paths=["owner"]), server_set=SERVER)
    assert (record.owner.name, record.owner.role) == ("new", "owner")
    apply_mask(record, Ticket(), FieldMask(paths=["owner"]), server_set=SERVER)
    assert (record.owner.name, record.owner.role) == ("", "owner")


def test_a_message_as_a_whole() -> None:
    record = stored()
    apply_mask(record, Ticket(), FieldMask(paths=["owner"]), server_set=frozenset())
    assert not record.HasField("owner")


@pytest.mark.parametrize(
    "path",
    [
        "etag",
        "created_by",
        "owner.role",
        "unknown",
        "createdBy",
        "Name",
        "",
        ".",
        "name.",
        "name.x",
        "owner.unknown",
        "owners.name",
        "tags.0",
        "labels.k",
        "labels.key",
        "*",
        "owner.*",
    ],
)
def test_a_bad_path_is_named_and_nothing_is_changed(path: str) -> None:
    record = stored()
    mask = FieldMask(paths=["name", path])
    with pytest.raises(WorkspaceError) as caught:
        apply_mask(record, Ticket(name="new", **HOSTILE), mask, server_set=SERVER)
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_MASK
    assert caught.value.metadata == {"field": path}
    assert f"'{path}'" in caught.value.message
    assert record == stored()


def test_two_kinds_of_message_are_a_programming_error() -> None:
    with pytest.raises(TypeError):
        apply_mask(stored(), Status(), None, server_set=SERVER)
