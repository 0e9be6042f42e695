"""Links and checkpoints as texts, and the algorithm that docs/operations/audit.md gives."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from workspace.common.v1.activity_pb2 import ActivityEvent

from services.events.cloud_event import cloud_event
from services.model.activity_chain import Chain, End
from services.model.activity_entries import Entry, FaultKind
from services.model.seals import Checkpoint, Link, link_of, opening, sealed_digest, without_nonce

HASH = "ab" * 32
PK, SK = "PROJECT#p_1", "EVENT#1763690000123.00000#n1.a#c0ffee"


def by_hand(*parts: Any) -> str:
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_link_is_what_the_page_says() -> None:
    body = '{"event_id":"c0ffee","note":"ä","seal_nonce":"00"}'
    digest = hashlib.sha256(f"workspace.activity.event.1\n{body}".encode()).hexdigest()
    assert sealed_digest(body) == digest
    made = link_of(PK, SK, sequence=7, previous=f"6:{HASH}", digest=digest)
    wanted = by_hand("workspace.activity.link.1", PK, SK, 7, f"6:{HASH}", digest)
    assert made == Link(7, wanted)
    first = by_hand("workspace.activity.opening.1", PK, 6, "beef")
    assert opening(PK, 6, "beef").dump() == f"6:{first}"


def test_erasure_keeps_the_digest_of_the_first_text() -> None:
    body = '{"note":"for roberta","seal_nonce":"00"}'
    once = without_nonce(body, {"note": "for nobody", "seal_nonce": "00"})
    assert once == {"note": "for nobody", "sealed_digest": sealed_digest(body)}
    assert without_nonce(json.dumps(once), once) == once
    assert without_nonce("{}", {"note": "of an earlier release"}) == {
        "note": "of an earlier release"
    }


@pytest.mark.case("H09")
def test_what_webhooks_and_buses_carry_has_no_seal() -> None:
    event = ActivityEvent(event_id="e", type="a.b", previous_link="0:0", seal_nonce="00")
    for whole in (True, False):
        sent = cloud_event(event, source="here", partition=PK, whole=whole)
        assert sent["data"] == {"eventId": "e", "type": "a.b"}


def test_an_erased_event_that_had_come_back_by_sync_was_not_put_there() -> None:
    def event(number: int, name: str, **members: str) -> Entry:
        said = {"event_id": name, "partition_sequence": str(number), **members}
        return Entry.of(PK, f"EVENT#{number:013}.00000#n1.a#{name}", json.dumps(said))

    first = opening(PK, 0, "").dump()
    wrote = event(1, "e1", previous_link=first, seal_nonce="00")
    back = event(1, "e2", previous_link=first, sealed_digest=HASH)
    end, told = End(1, "e1", wrote.link), frozenset({(back.sk, back.digest)})
    assert Chain(PK, [back, wrote], end, told=told).faults() == []
    assert [each.kind for each in Chain(PK, [back, wrote], end).faults()] == [FaultKind.EDITED]


def test_texts_come_back() -> None:
    kept = Checkpoint(PK, "n1", 9, Link(7, HASH), "2026-11-22T06:00:00.000000Z")
    assert Checkpoint.load(kept.dump()) == kept
    assert Link.load(Link(7, HASH).dump()) == Link(7, HASH)


@pytest.mark.parametrize(
    "text",
    ["", ":", f"7:{HASH}0", f"-7:{HASH}", f"{'9' * 17}:{HASH}", f"7:{HASH.upper()}",
     f"\u0667:{HASH}"],
)  # fmt: skip
def test_anything_else_is_no_link(text: str) -> None:
    with pytest.raises(ValueError, match="not a link"):
        Link.load(text)


@pytest.mark.parametrize(
    "text",
    ["", "activity-1", f"activity-2 {PK} n1 9 7:{HASH} -", f"activity-1 {PK} n1 x 7:{HASH} -",
     f"activity-1 {PK} n1 9 7:{HASH}", f"activity-1 {PK} n1 9 7 -"],
)  # fmt: skip
def test_anything_else_is_no_checkpoint(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        Checkpoint.load(text)
