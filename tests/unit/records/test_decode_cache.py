"""What the cache learns of a commit is what decoding the committed row gives."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from workspace.project.v1.document_pb2 import Document

from services.model.clocks import HybridClock
from services.model.families import FAMILIES, Family
from services.model.stamp import Stamp, stamp_write
from services.records.cache import DecodeCache
from services.records.codec import as_decoded, decode, dump, encode
from services.records.port import Item, Key
from services.records.record import Activity, Record, Write
from services.records.sql import SqliteDriver
from services.records.store import RecordStore

_TEXTS = ("", "a", "x-1", "Größe", "\u2028", "\x00", "日本", "😀", '"\\/')
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (0, 1, -1, 2**31 - 1, -(2**31)),
    FieldDescriptor.CPPTYPE_UINT32: (0, 1, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63)),
    FieldDescriptor.CPPTYPE_UINT64: (0, 1, 2**53 + 1, 2**64 - 1),
}
_FRACTIONS = (0.0, -0.0, 1.0, 0.1, 1e-7, 1e300, -2.5)


def _value(field: FieldDescriptor, rng: random.Random) -> Any:
    kind = field.cpp_type
    if kind in _INTEGERS:
        return rng.choice(_INTEGERS[kind])
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        assert field.enum_type is not None
        return rng.choice([*(value.number for value in field.enum_type.values), 999])
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return rng.choice(_FRACTIONS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.randbytes(rng.randrange(4))
    return rng.choice(_TEXTS)


def _fill(message: Message, rng: random.Random, depth: int = 0) -> None:
    """Every kind of field, each set or not by chance."""
    if isinstance(message, Timestamp):
        message.seconds, message.nanos = rng.randrange(2**33), rng.choice((0, 1, 10**6, 10**8))
        return
    if isinstance(message, Duration):
        message.seconds, message.nanos = rng.randrange(2**33), rng.choice((0, 1, 10**6))
        return
    if isinstance(message, AnyMessage):  # of a type that JSON knows
        message.Pack(Timestamp(seconds=rng.randrange(2**33)))
        return
    if isinstance(message, Struct):
        message.update({"a": rng.choice((None, True, -0.0, 0.5, "x", [1, {}], {"b": []}))})
        return
    for field in message.DESCRIPTOR.fields:
        if rng.random() < 0.3:
            continue
        target = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = field.message_type.fields
            for _ in range(rng.randrange(3)):
                if value.message_type is None:
                    target[_value(key, rng)] = _value(value, rng)
                elif depth < 3:
                    _fill(target[_value(key, rng)], rng, depth + 1)
        elif field.message_type is not None:
            if depth == 3:
                continue
            many = field.is_repeated
            for one in [target.add() for _ in range(rng.randrange(3))] if many else [target]:
                one.SetInParent()
                _fill(one, rng, depth + 1)
        elif field.is_repeated:
            target.extend(_value(field, rng) for _ in range(rng.randrange(3)))
        else:
            setattr(message, field.name, _value(field, rng))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
@given(seed=st.integers(0, 2**32))
def test_the_copy_equals_what_decoding_gives(family: Family, seed: int) -> None:
    message = family.message()
    _fill(message, random.Random(seed))
    before = message.SerializeToString(deterministic=True)
    learned = as_decoded(family, message)
    decoded = decode(family.message, dump(encode(family, message, {})))
    if learned is not None:
        assert learned.SerializeToString(deterministic=True) == decoded.SerializeToString(
            deterministic=True
        )
        assert learned == decoded
    assert message.SerializeToString(deterministic=True) == before


def test_unknown_fields_and_computed_ones_are_left_out() -> None:
    family = FAMILIES["document"]
    message = Document(document_id="d_1", etag='"x"', storage_provider="local")
    message.MergeFromString(b"\xfa\xff\x01\x03new")  # a field of a newer version
    learned = as_decoded(family, message)
    assert learned == decode(Document, dump(encode(family, message, {})))
    assert learned is not None
    assert not learned.etag
    assert b"new" not in learned.SerializeToString()


def test_fractions_and_free_json_are_left_to_decoding() -> None:
    family = FAMILIES["document"]
    free = Document(document_id="d_1")
    free.raw_metadata["a"] = -0.0
    for message in (free, Document(document_id="d_1", metadata_confidence=0.5)):
        assert as_decoded(family, message) is None
    assert as_decoded(family, free, deleted=True) == Document()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RecordStore]:
    driver = await SqliteDriver.open(tmp_path / "workspace.sqlite")
    opened = RecordStore(driver, actor="n_test.1", clock=HybridClock(lambda: 1))
    yield opened
    await opened.close()


def _facts(record: Record[Any] | None) -> tuple[Message, Item, Stamp]:
    assert record is not None
    return record.message, record.item, record.stamp


async def _write(store: RecordStore, document: Document, **more: Any) -> Record[Any]:
    done = await store.commit(
        "DOCUMENT#d_1",
        [Write(FAMILIES["document"], document, **more)],
        activity=Activity("document.changed", "documents/d_1"),
    )
    return done.records[0]


async def test_a_read_after_a_commit_is_as_if_the_row_were_decoded(store: RecordStore) -> None:
    family = FAMILIES["document"]
    document = Document(document_id="d_1", project_id="p_1", name="a", etag='"x"')
    record = await _write(store, document)
    for deleted in (False, False, True):
        document.title += "changed after the commit"  # the caller's message is the caller's
        fresh = RecordStore(store.driver, actor="n_test.1", clock=HybridClock(lambda: 1))
        learned = await store.get(family, record.key, deleted=True)
        assert _facts(learned) == _facts(await fresh.get(family, record.key, deleted=True))
        record = await _write(store, document, base=learned, deleted=deleted)
    fresh = RecordStore(store.driver, actor="n_test.1", clock=HybridClock(lambda: 1))
    assert await store.get(family, record.key) is None
    learned = await store.get(family, record.key, deleted=True)
    assert _facts(learned) == _facts(await fresh.get(family, record.key, deleted=True))


def test_what_is_kept_is_bounded_by_bytes() -> None:
    family = FAMILIES["project"]
    stamp = stamp_write(None, {}, {}, digest="d", deleted=False, actor="n.a", hlc="h").dump()
    cache = DecodeCache(most=1000)

    def row(number: int) -> Item:
        body = dump({"project_id": f"p_{number}", "name": "x" * 100})
        return Item(Key(f"PROJECT#p_{number}", "x"), "1", "project", body, stamp)

    first = [cache.record(family, row(n)).message for n in range(50)]
    assert cache.record(family, row(49)).message is first[49]
    assert cache.record(family, row(0)).message is not first[0]
    assert cache.record(family, row(0)).message == first[0]
