"""Pages of an index as conditions on keys, and the positions between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.records.dynamodb.codec import index_entry
from services.records.dynamodb.schema import gsi_keys, gsi_name
from services.records.port import Index, Key
from services.records.port_texts import position_texts

__all__ = ["KeyRange", "key_range"]


@dataclass(frozen=True, slots=True)
class KeyRange:
    """One index partition between two sort texts: `low` (left out itself when
    `beyond`) up to but not including `high`."""

    index: Index
    partition: str
    low: str
    beyond: bool
    high: str | None
    descending: bool

    @property
    def empty(self) -> bool:
        """Nothing can lie in it (DynamoDB refuses such a range)."""
        return self.high is not None and self.low.encode() >= self.high.encode()

    @property
    def sort_attribute(self) -> str:
        return "SK" if self.index is Index.BASE else gsi_keys(self.index)[1]

    def admits(self, entry: Mapping[str, Any]) -> bool:
        """Whether a row that the query found is inside: BETWEEN takes its ends in."""
        text = entry[self.sort_attribute]["S"]
        return text != self.high and not (self.beyond and text == self.low)

    def parameters(self) -> dict[str, Any]:
        """Those of Query that choose the rows; reads of the table are strong."""
        names = ("PK", "SK") if self.index is Index.BASE else gsi_keys(self.index)
        condition, values = "#p = :p", {":p": {"S": self.partition}}
        if self.low and self.high is not None:
            condition += " AND #s BETWEEN :low AND :high"
            values |= {":low": {"S": self.low}, ":high": {"S": self.high}}
        elif self.high is not None:
            condition += " AND #s < :high"
            values[":high"] = {"S": self.high}
        elif self.low:
            condition += f" AND #s {'>' if self.beyond else '>='} :low"
            values[":low"] = {"S": self.low}
        bounded = len(values) > 1
        base = self.index is Index.BASE
        return {
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": {"#p": names[0], **({"#s": names[1]} if bounded else {})},
            "ExpressionAttributeValues": values,
            "ScanIndexForward": not self.descending,
            **({"ConsistentRead": True} if base else {"IndexName": gsi_name(self.index)}),
        }


def key_range(
    index: Index,
    partition: str,
    lower: str,
    upper: str | None,
    after: str | None,
    *,
    descending: bool,
) -> KeyRange:
    """lower <= sort < upper, and beyond the position `after` of an earlier page. Raises
    ValueError when that is not one."""
    if after is None:
        return KeyRange(index, partition, lower, False, upper, descending)
    sort, pk, sk = position_texts(after)
    here = sk if index is Index.BASE else index_entry(sort, Key(pk, sk))
    if descending:
        inside = upper is None or sort < upper
        return KeyRange(index, partition, lower, False, here if inside else upper, descending)
    inside = sort >= lower
    return KeyRange(index, partition, here if inside else lower, inside, upper, descending)
