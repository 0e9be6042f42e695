"""Rows of another surface, made as our own software makes them, to be spoiled."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from google.protobuf.message import Message
from workspace.common.v1.activity_pb2 import ActivityEvent
from workspace.project.v1.document_pb2 import Document, DocumentStatus, FileInfo
from workspace.project.v1.project_pb2 import Project, ProjectStatus

from services.model.canonical import content_digest
from services.model.families import FAMILIES
from services.model.stamp import Stamp, stamp_write
from services.model.versions import State
from services.records.codec import content_of, dump, encode
from services.records.port import Item, Key
from services.records.siblings import SIBLING, Rows, sibling_key
from sync_svc.engine.screening import Refusal, screen

US = "nus.life1"
PEER = "npeer.life1"
NOW_MS = 1_790_000_000_000
HLC = f"{NOW_MS - 1000:013d}.00000"
FILE = "accounts/a_1/projects/p_1/documents/d_1/raw/plan.pdf"


def project(**fields: Any) -> Project:
    given = {
        "project_id": "p_1", "name": "Bridge", "account_id": "a_1", "created_by": "u_1",
        "status": ProjectStatus.PROJECT_STATUS_ACTIVE,
    }
    return Project(**(given | fields))


def document(**fields: Any) -> Document:
    given = {
        "document_id": "d_1", "project_id": "p_1", "name": "plan.pdf",
        "status": DocumentStatus.DOCUMENT_STATUS_AVAILABLE,
        "file": FileInfo(filename="plan.pdf", storage_key=FILE, size_bytes=3, sha256="0" * 64),
    }
    return Document(**(given | fields))


def rows(
    family: str,
    message: Message,
    *,
    base: Rows | None = None,
    actor: str = PEER,
    hlc: str = HLC,
    deleted: bool = False,
    **more: Any,
) -> Rows:
    """The row that `actor` writes over `base`; `more` are members of no schema."""
    kind = FAMILIES[family]
    body = {} if deleted else encode(kind, message, {}) | more
    before = json.loads(base.item.body) if base and base.item else {}
    old, new = content_of(kind, before), content_of(kind, body)
    stamp = stamp_write(
        Stamp.load(base.item.stamp) if base and base.item else None, old, new,
        digest=content_digest(family, deleted, new), deleted=deleted, actor=actor, hlc=hlc,
    )
    key = Key(*kind.key_of(message))
    return Rows(key, Item(key, "t", family, dump(body), stamp.dump(), deleted=deleted))


def event(key: Key | None = None, *, actor: str = PEER, **fields: Any) -> Rows:
    """An activity event of a project, at its own place unless `key` says another."""
    kind = FAMILIES["activity_event"]
    message = ActivityEvent(event_id="e1", type="project.created", project_id="p_1", **fields)
    body = encode(kind, message, {})
    stamp = stamp_write(
        None, {}, body, digest=content_digest(kind.name, False, body), deleted=False, actor=actor,
        hlc=HLC,
    )
    at = key or Key("PROJECT#p_1", f"EVENT#{HLC}#{actor}#e1")
    return Rows(at, Item(at, "t", kind.name, dump(body), stamp.dump()))


def with_stamp(given: Rows, **changes: Any) -> Rows:
    assert given.item is not None
    stamp = replace(Stamp.load(given.item.stamp), **changes)
    return with_item(given, stamp=stamp.dump())


def with_item(given: Rows, **changes: Any) -> Rows:
    assert given.item is not None
    return replace(given, item=replace(given.item, **changes))


def with_members(given: Rows, **members: Any) -> Rows:
    """Other members, digest made anew: what a hostile surface can always do."""
    assert given.item is not None
    body = {n: v for n, v in (json.loads(given.item.body) | members).items() if v is not None}
    kind = FAMILIES[given.item.family]
    digest = content_digest(kind.name, given.item.deleted, content_of(kind, body))
    return with_stamp(with_item(given, body=dump(body)), digest=digest)


def side_by_side(*versions: Rows) -> Rows:
    """One record with these versions, as siblings."""
    first = versions[0]
    assert first.item is not None
    states = [each.state for each in versions]
    clock: dict[str, int] = {}
    live = {}
    for state in states:
        assert state is not None
        clock |= {a: max(n, clock.get(a, 0)) for a, n in state.clock.items()}
        live |= state.versions
    others = {}
    for dot, version in live.items():
        stamp = Stamp(
            version.vv, version.dot, version.vv, version.fields, version.hlc, version.digest,
            version.deleted,
        )
        key = sibling_key(first.key, dot)
        body = json.dumps({"family": first.item.family, "body": version.body}, sort_keys=True)
        others[key] = Item(key, "t", SIBLING, body, stamp.dump())
    main = with_stamp(first, clock=clock, siblings=tuple(sorted(live)), partial=True)
    return Rows(first.key, main.item, others)


def state(given: Rows) -> State:
    found = given.state
    assert found is not None
    return found


def screened(given: Rows, local: Rows | None = None) -> Refusal | None:
    mine = state(local) if local else None
    return screen(given, local=mine, own_actor=US, now_ms=NOW_MS)
