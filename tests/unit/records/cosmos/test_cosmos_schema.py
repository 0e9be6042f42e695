"""Which containers are ours, and the continuations of the SDK that we make ourselves."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from azure.cosmos._change_feed.change_feed_state import ChangeFeedStateV2

from services.model.errors import WorkspaceError
from services.records.cosmos.feed import sdk_continuation, sections_of
from services.records.cosmos.feed_cursor import Place, Section, read_cursor
from services.records.cosmos.schema import check_container, container_definition
from services.records.port import CursorLost

OURS = container_definition("c")
POLICY = OURS["indexingPolicy"]
KEY = OURS["partitionKey"]


def test_our_definition_is_ours() -> None:
    check_container(OURS)


@pytest.mark.parametrize(
    "policy",
    [
        {**POLICY, "includedPaths": [{"path": "/*"}], "excludedPaths": []},
        {**POLICY, "includedPaths": [*POLICY["includedPaths"], {"path": "/family/?"}]},
        {**POLICY, "indexingMode": "Consistent"},
        {key: value for key, value in POLICY.items() if key != "automatic"},
    ],
)
def test_more_indexes_do_no_harm(policy: dict[str, Any]) -> None:
    check_container({**OURS, "indexingPolicy": policy})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"partitionKey": None}, "partition key is none"),
        ({"partitionKey": {**KEY, "paths": ["/pk", "/sk"]}}, "/pk, /sk"),
        ({"partitionKey": {**KEY, "kind": "MultiHash"}}, "not hashed"),
        ({"partitionKey": {**KEY, "version": 1}}, "version 2"),
        ({"defaultTtl": None}, "time to live"),
        ({"defaultTtl": 60}, "time to live"),
        ({"uniqueKeyPolicy": {"uniqueKeys": [{"paths": ["/x"]}]}}, "unique keys"),
        ({"indexingPolicy": {**POLICY, "indexingMode": "lazy"}}, "not consistent"),
        ({"indexingPolicy": {**POLICY, "automatic": False}}, "not automatic"),
        ({"indexingPolicy": {**POLICY, "includedPaths": []}}, "/k"),
        (
            {
                "indexingPolicy": {
                    **POLICY, "includedPaths": [{"path": "/*"}],
                    "excludedPaths": [{"path": "/i3/?"}],
                }
            },
            "/i3",
        ),
        (
            {
                "indexingPolicy": {
                    **POLICY, "includedPaths": [{"path": "/*"}],
                    "excludedPaths": [{"path": "/*"}],
                }
            },
            "/k",
        ),
    ],
)  # fmt: skip
def test_a_container_of_another_form_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(WorkspaceError, match=said):
        check_container({**OURS, **change})


def test_continuations_are_those_of_the_sdk() -> None:
    section = Section("05C1", "FF", '"17"')
    made = sdk_continuation(section, "rid")
    state = ChangeFeedStateV2.from_json("dbs/d/colls/c", "rid", {"continuationFeedRange": made})
    assert state.to_dict() == json.loads(base64.b64decode(made))
    assert sections_of(made, section) == [section]


def test_parts_of_a_split_stay_within_their_section() -> None:
    """Sections of 00-50 and 50-FF, whose partitions were merged, and split at 30: for the
    first one the SDK names both new partitions, whole."""
    whole = Section("", "50", '"7"')
    ranges = [("", "30"), ("30", "FF")]
    tokens = [
        {"token": '"7"', "range": {"min": low, "max": high}} for low, high in ranges
    ]  # fmt: skip
    named = base64.b64encode(
        json.dumps({"continuation": {"continuation": tokens}}).encode()
    ).decode()
    parts = sections_of(named, whole)
    assert parts == [Section("", "30", '"7"'), Section("30", "50", '"7"')]
    cursor = Place([*parts, Section("50", "FF", '"9"')]).cursor("me", 1)
    assert len(read_cursor("me", cursor, 1.0).sections) == 3


def test_a_cursor_comes_back_with_its_turn() -> None:
    sections = [Section("", "3F", '"17"'), Section("3F", "8A", ""), Section("8A", "FF", "odd")]
    for turn in range(3):
        place = Place([*sections[turn:], *sections[:turn]])
        found = read_cursor("me", place.cursor("me", 1000), 1000.0)
        assert (list(found.sections), found.first) == (sections, turn)


def test_a_cursor_of_another_store_or_of_the_future_is_lost() -> None:
    cursor = Place([Section("", "FF", '"1"')]).cursor("me", 1_000_000)
    with pytest.raises(CursorLost, match="another store"):
        read_cursor("you", cursor, 1_000_000.0)
    with pytest.raises(CursorLost, match="newer"):
        read_cursor("me", cursor, 0.0)
