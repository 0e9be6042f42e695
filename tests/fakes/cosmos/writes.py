"""Operations on the items of one logical partition, alone or in a transaction.

A `Transaction` keeps what its operations would write; nothing is seen before `apply`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tests.fakes.cosmos.containers import Container, rid_text
from tests.fakes.cosmos.errors import Refused, bad_request, not_found
from tests.fakes.cosmos.items import Item, LogicalPartition
from tests.fakes.cosmos.values import dumped

__all__ = ["ITEM_LIMIT", "KEY_LIMIT", "Operation", "Transaction", "check_id"]

ITEM_LIMIT = 2 * 1024 * 1024
"""Bytes of an item as JSON, and of a request."""
KEY_LIMIT = 2048
"""Bytes of the value of a partition key."""
_ID_LIMIT = 1023
_ILLEGAL = re.compile(r"[/\\#?\t\r\n]")
_MISMATCH = (
    "PartitionKey extracted from document doesn't match the one specified in the header."
)


@dataclass(frozen=True, slots=True)
class Operation:
    """`kind`: Create, Upsert, Replace, Delete, Read."""

    kind: str
    id: str = ""
    body: Any = None
    if_match: str = ""
    if_none_match: str = ""


class Transaction:
    """Operations in their order, each seeing what those before it did."""

    def __init__(self, container: Container, key: Any, *, strict_ids: bool) -> None:
        self._container, self._key, self._strict_ids = container, key, strict_ids
        name = dumped(key).decode()
        self._part = container.partitions.get(name) or container.partition(key)
        self._staged: dict[str, Item | None] = {}

    @property
    def partition(self) -> LogicalPartition:
        return self._part

    def perform(self, operation: Operation) -> tuple[int, Item | None]:
        """The status and the item; raises Refused."""
        if operation.kind in ("Create", "Upsert", "Replace"):
            return self._written(operation)
        item = self._found(operation.id)
        if item is None:
            raise not_found(operation.id)
        if operation.kind == "Read":
            if operation.if_none_match in (item.etag, "*"):
                raise Refused(304, "", headers={"etag": item.etag})
            return 200, item
        _check_match(operation, item)
        self._stage(item.id, None)
        return 204, None

    def apply(self) -> int:
        """The number of the transaction in its physical partition."""
        if not self._staged:
            return self._part.range.lsn
        return self._container.store(self._part, self._staged)

    def _written(self, operation: Operation) -> tuple[int, Item]:
        body = operation.body
        identifier = check_id(body, strict=self._strict_ids)
        if self._container.key_of(body) != self._key:
            raise bad_request(_MISMATCH, 1001)
        if operation.kind == "Replace" and operation.id != identifier:
            raise bad_request("The id of an item cannot be changed by replacing it.")
        old = self._found(identifier)
        if operation.kind == "Create" and old is not None:
            raise Refused(409, "Entity with the specified id already exists in the system.")
        if operation.kind == "Replace" and old is None:
            raise not_found(identifier)
        if old is not None:
            _check_match(operation, old)
        item = self._item(body, old)
        self._stage(identifier, item)
        return (201 if old is None else 200), item

    def _found(self, identifier: str) -> Item | None:
        if identifier in self._staged:
            return self._staged[identifier]
        return self._part.items.get(identifier)

    def _stage(self, identifier: str, item: Item | None) -> None:
        self._staged.pop(identifier, None)  # the order is that of the last change
        self._staged[identifier] = item

    def _item(self, given: dict[str, Any], old: Item | None) -> Item:
        container = self._container
        now = int(container.clock())
        sequence = old.sequence if old else next(container.sequence)
        rid = rid_text(container.rid + sequence.to_bytes(8, "big"))
        body = {
            **given, "_rid": rid, "_self": f"{container.self_link}docs/{rid}/",
            "_etag": container.etags(), "_attachments": "attachments/", "_ts": now,
        }  # fmt: skip
        text = dumped(body)
        if len(text) > ITEM_LIMIT:
            raise Refused(413, "Request size is too large")
        expires = _expiry(container.default_ttl, body, now)
        return Item(body, text, partition=self._part, sequence=sequence, expires=expires)


def check_id(body: Any, *, strict: bool) -> str:
    """The id of an item; `strict` refuses what cannot be in a path. Raises 400."""
    if not isinstance(body, dict):
        raise bad_request("The request payload is invalid: an item is a JSON object.")
    identifier = body.get("id")
    if not isinstance(identifier, str) or not identifier:
        raise bad_request(
            "The input content is invalid because the required properties - 'id; ' - are missing"
        )
    if len(identifier.encode()) > _ID_LIMIT:
        raise bad_request(f"The id is longer than {_ID_LIMIT} bytes.")
    if strict and _ILLEGAL.search(identifier):
        raise bad_request("Id contains illegal chars.")
    return identifier


def _check_match(operation: Operation, item: Item) -> None:
    if operation.if_match and operation.if_match not in (item.etag, "*"):
        raise Refused(412, "Operation cannot be performed because one of the specified "
                           "precondition is not met.")  # fmt: skip


def _expiry(default: int | None, body: dict[str, Any], now: int) -> float | None:
    own = body.get("ttl")
    if own is not None and (
        not isinstance(own, int) or isinstance(own, bool) or own == 0 or own < -1
    ):
        raise bad_request(
            f"The input ttl '{own}' is invalid. Ensure to provide a nonzero positive integer or -1"
        )
    if default is None:
        return None
    seconds = default if own is None else own
    return None if seconds == -1 else now + seconds
