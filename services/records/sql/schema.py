"""Tables of the SQL drivers, as SQLAlchemy Core metadata.

`items` holds one row a key. `rev` is unique for every write and is the token;
`seq` is the position in the change feed: the same counter on SQLite, and the
writing transaction (`xid8`) on PostgreSQL.

The four secondary indexes are pairs of nullable columns with partial indexes,
not rows of a second table: a put stays one statement, a rewrite needs no
delete by key (which would want an index of its own), and an index query needs
no join. Measured on SQLite 3.40, 20,000 items with two of four indexes set:
15 us a put against 18, 16 us a rewrite against 21, 72 us a page of 100 against
103 for a second table (synchronous=OFF, to leave out the disk).

`items` keeps its rowid: bodies reach 350 KiB, and WITHOUT ROWID would put them
into the inner pages of the key's b-tree (https://sqlite.org/withoutrowid.html).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    MetaData,
    Sequence,
    Table,
    Text,
)
from sqlalchemy import Index as SqlIndex
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import UserDefinedType

from services.records.port import Index

__all__ = ["FORMAT", "INDEX_COLUMNS", "XID8", "items", "items_rev", "meta", "metadata"]

FORMAT = 1
"""The schema version this code writes (`meta.format`), equal to the number of
the newest migration."""


class XID8(UserDefinedType[str]):
    """PostgreSQL's 64-bit transaction id, which never wraps around."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


_KEY = Text().with_variant(Text(collation="C"), "postgresql")
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
_FLAG = Boolean().with_variant(Integer(), "sqlite")
_POSITION = Integer().with_variant(XID8(), "postgresql")

INDEX_COLUMNS: dict[Index, tuple[str, str]] = {
    index: (f"{index.name.lower()}_pk", f"{index.name.lower()}_sk")
    for index in Index
    if index is not Index.BASE
}

metadata = MetaData()
items_rev = Sequence("items_rev", metadata=metadata)


def _index_columns() -> list[SchemaItem]:
    return [Column(name, _KEY) for pair in INDEX_COLUMNS.values() for name in pair]


items = Table(
    "items",
    metadata,
    Column("pk", _KEY, primary_key=True),
    Column("sk", _KEY, primary_key=True),
    Column("family", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("stamp", Text, nullable=False),
    Column("deleted", _FLAG, nullable=False),
    Column("expires_at", _NUMBER),
    Column("rev", _NUMBER, nullable=False),
    Column("seq", _POSITION, nullable=False),
    *_index_columns(),
    sqlite_strict=True,
)

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

SqlIndex("items_feed", items.c.seq, items.c.pk, items.c.sk)
_EXPIRES = items.c.expires_at.is_not(None)
SqlIndex("items_expiry", items.c.expires_at, sqlite_where=_EXPIRES, postgresql_where=_EXPIRES)
for _pk, _sk in INDEX_COLUMNS.values():
    _present = items.c[_pk].is_not(None)
    SqlIndex(
        f"items_{_pk.removesuffix('_pk')}",
        items.c[_pk],
        items.c[_sk],
        items.c.pk,
        items.c.sk,
        sqlite_where=_present,
        postgresql_where=_present,
    )
