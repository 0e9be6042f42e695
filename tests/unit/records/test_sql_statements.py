"""SQLite answers every statement from an index, without sorting."""

from __future__ import annotations

import itertools
import re
import sqlite3

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from services.records.port import Index
from services.records.sql.rows import SEQ
from services.records.sql.schema import metadata
from services.records.sql.statements import READ_COLUMNS, SqliteStatements


@pytest.fixture
def connection() -> sqlite3.Connection:
    raw = sqlite3.connect(":memory:")
    metadata.create_all(create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool))
    return raw


def plan(connection: sqlite3.Connection, text: str) -> str:
    names = dict.fromkeys(re.findall(r":(\w+)", text), 1)
    return " | ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", names))


@pytest.mark.parametrize(
    ("index", "after", "upper", "descending"),
    list(itertools.product(Index, *[[False, True]] * 3)),
)
def test_a_page_enters_its_index_at_its_position(
    connection: sqlite3.Connection, index: Index, after: bool, upper: bool, descending: bool
) -> None:
    text = SqliteStatements().query(index, after=after, upper=upper, descending=descending)
    found = plan(connection, text)
    wanted = "sqlite_autoindex_items_1" if index is Index.BASE else f"items_{index.name.lower()}"
    assert f"SEARCH items USING INDEX {wanted} " in found
    assert "TEMP B-TREE" not in found
    bounds = found.split("(", 1)[1]
    assert ">" in bounds
    assert ("<" in bounds) == (upper or (descending and after))
    if after and index is not Index.BASE:  # the whole position, not its first part
        assert (",pk,sk)<(" if descending else ",pk,sk)>(") in bounds


def test_the_feed_and_the_scan_follow_an_index(connection: sqlite3.Connection) -> None:
    statements = SqliteStatements()
    assert "items_feed (seq>?)" in plan(connection, statements.changes)
    assert "items_expiry (expires_at<?)" in plan(connection, statements.collect)
    for text in (statements.scan_first, statements.scan_after):
        assert "sqlite_autoindex_items_1" in plan(connection, text)
        assert "TEMP B-TREE" not in plan(connection, text)


def test_the_feed_position_is_where_rows_say() -> None:
    assert READ_COLUMNS[SEQ] == "seq"
