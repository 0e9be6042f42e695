"""States and rows as JSON texts, to be kept in a row and taken out again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from services.model.canonical import content_digest
from services.model.families import FAMILIES, Family
from services.model.stamp import Dot
from services.model.versions import State, Version
from services.records.codec import content_of
from services.records.port import Item, Key
from services.records.siblings import Rows

__all__ = ["pack_rows", "pack_state", "unpack_rows", "unpack_state"]


def pack_state(state: State) -> dict[str, Any]:
    """A screened state as JSON members."""
    versions = [
        {
            "dot": list(each.dot), "vv": dict(each.vv), "hlc": each.hlc, "digest": each.digest,
            "fields": {name: list(dot) for name, dot in each.fields.items()},
            "body": each.body, "deleted": each.deleted, "erased": each.erased,
        }
        for _, each in sorted(state.versions.items())
    ]
    return {"family": state.family, "clock": dict(state.clock), "versions": versions}


def unpack_state(members: Mapping[str, Any]) -> State:
    """Inverse of `pack_state`. A body out of which personal data was taken meanwhile
    (services/records/erasure.py rewrites texts in every row) is marked as erased."""
    family = FAMILIES[members["family"]]
    versions = [
        Version(
            _dot(each["dot"]), each["vv"], {n: _dot(d) for n, d in each["fields"].items()},
            each["hlc"], each["digest"], each["body"], each["deleted"], each["erased"],
        )
        for each in members["versions"]
    ]
    whole = [_erased_if_changed(family, each) for each in versions]
    return State(family.name, members["clock"], {each.dot: each for each in whole})


def pack_rows(rows: Rows) -> dict[str, Any]:
    """Rows as they were read, whatever is in them."""
    items = [*([rows.item] if rows.item else []), *rows.others.values()]
    return {"pk": rows.key.pk, "sk": rows.key.sk, "items": [_packed(item) for item in items]}


def unpack_rows(members: Mapping[str, Any]) -> Rows:
    """Inverse of `pack_rows`."""
    key = Key(members["pk"], members["sk"])
    items = {item.key: item for item in map(_unpacked, members["items"])}
    return Rows(key, items.pop(key, None), items)


def _erased_if_changed(family: Family, version: Version) -> Version:
    content = content_of(family, json.loads(version.body))
    digest = content_digest(family.name, version.deleted, content)
    return version if digest == version.digest else replace(version, digest=digest, erased=True)


def _packed(item: Item) -> dict[str, Any]:
    return {
        "pk": item.key.pk, "sk": item.key.sk, "token": item.token, "family": item.family,
        "body": item.body, "stamp": item.stamp, "deleted": item.deleted,
    }


def _unpacked(members: Mapping[str, Any]) -> Item:
    rest = {name: value for name, value in members.items() if name not in ("pk", "sk")}
    return Item(Key(members["pk"], members["sk"]), **rest)


def _dot(pair: list[Any]) -> Dot:
    return (pair[0], pair[1])
