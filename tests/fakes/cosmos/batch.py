"""Transactional batches (Microsoft Learn, "Transactional batch operations"): everything or
nothing in one logical partition, at most 100 operations and 2 MB."""

from __future__ import annotations

from typing import Any

from tests.fakes.cosmos.containers import Container
from tests.fakes.cosmos.errors import Refused, bad_request
from tests.fakes.cosmos.items import Item
from tests.fakes.cosmos.values import dumped
from tests.fakes.cosmos.writes import Operation, Transaction

__all__ = ["BATCH_OPERATIONS", "execute"]

BATCH_OPERATIONS = 100
_KINDS = {"Create": 1, "Upsert": 1, "Replace": 2, "Delete": 0, "Read": 0}


def execute(container: Container, key: Any, wanted: Any, *, minimal: bool) -> tuple[int, bytes]:
    """The status (200, or 207 when one operation failed and nothing was done) and the
    results. `minimal`: without the items that were written."""
    operations = _checked(wanted)
    transaction = Transaction(container, key, strict_ids=False)
    done: list[bytes] = []
    for position, operation in enumerate(operations):
        try:
            status, item = transaction.perform(operation)
        except Refused as refused:
            return 207, _failed(len(operations), position, refused)
        done.append(_result(status, item, minimal=minimal and operation.kind != "Read"))
    transaction.apply()
    return 200, b"[" + b",".join(done) + b"]"


def _checked(wanted: Any) -> list[Operation]:
    """Limits and shapes, before anything is done."""
    if not isinstance(wanted, list) or not wanted:
        raise bad_request("The batch request has no operations.")
    if len(wanted) > BATCH_OPERATIONS:
        raise bad_request("Batch request has more operations than what is supported.")
    return [_operation(each) for each in wanted]


def _operation(given: Any) -> Operation:
    kind = given.get("operationType") if isinstance(given, dict) else None
    if kind not in _KINDS:
        raise bad_request(f"The operation '{kind}' of the batch is not supported by this fake.")
    if _KINDS[kind] != 1 and not isinstance(given.get("id"), str):
        raise bad_request(f"The operation '{kind}' of the batch needs an id.")
    return Operation(
        kind,
        id=given.get("id", ""),
        body=given.get("resourceBody"),
        if_match=given.get("ifMatch") or "",
        if_none_match=given.get("ifNoneMatch") or "",
    )


def _result(status: int, item: Item | None, *, minimal: bool) -> bytes:
    result: dict[str, Any] = {"statusCode": status, "requestCharge": 1.0}
    if item is None:
        return dumped(result)
    result["eTag"] = item.etag
    text = dumped(result)
    if minimal:
        return text
    return text[:-1] + b',"resourceBody":' + item.text + b"}"


def _failed(count: int, position: int, refused: Refused) -> bytes:
    results: list[dict[str, Any]] = [{"statusCode": 424, "requestCharge": 0}] * count
    results[position] = {"statusCode": refused.status, "requestCharge": 1.0}
    if refused.sub:
        results[position]["subStatusCode"] = refused.sub
    return dumped(results)
