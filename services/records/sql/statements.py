"""The statements of both SQL drivers, built with SQLAlchemy Core.

Each is compiled to text once per driver; the drivers run the text on their
own connections, so nothing of SQLAlchemy is on the path of a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    BindParameter,
    Column,
    ColumnElement,
    Dialect,
    Integer,
    Select,
    Text,
    bindparam,
    cast,
    delete,
    func,
    literal_column,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.sql import ClauseElement

from services.records.port import Index
from services.records.sql.schema import INDEX_COLUMNS, XID8, items, items_rev

__all__ = ["READ_COLUMNS", "PostgresStatements", "SqliteStatements", "Statements"]

READ_COLUMNS: tuple[str, ...] = (
    "pk", "sk", "rev", "family", "body", "stamp", "deleted", "expires_at", "seq",
    *(name for pair in INDEX_COLUMNS.values() for name in pair),
)  # fmt: skip
_WRITTEN = tuple(column.name for column in items.columns if column.name not in ("rev", "seq"))
_KEYS = ("pk", "sk")
_NONE: ColumnElement[int] = literal_column("0")  # the SQLite dialect binds one otherwise


def _text(name: str) -> BindParameter[str]:
    return bindparam(name, type_=Text())


def _number(name: str) -> BindParameter[int]:
    return bindparam(name, type_=BigInteger())


def _limit() -> BindParameter[int]:
    return bindparam("limit", type_=Integer())


def _unexpired() -> ColumnElement[bool]:
    expires_at = items.c.expires_at
    return or_(expires_at.is_(None), expires_at > _number("now"))


def _read() -> Select[Any]:
    return select(*(items.c[name] for name in READ_COLUMNS))


def _point() -> Select[Any]:
    return _read().where(items.c.pk == _text("pk"), items.c.sk == _text("sk"), _unexpired())


def _scan(*, after: bool) -> Select[Any]:
    statement = _read().where(_unexpired())
    if after:
        position = tuple_(_text("pk"), _text("sk"))
        statement = statement.where(tuple_(items.c.pk, items.c.sk) > position)
    return statement.order_by(items.c.pk, items.c.sk).limit(_limit()).offset(_NONE)


def _query(index: Index, *, after: bool, upper: bool, descending: bool) -> Select[Any]:
    """One page of an index partition.

    With `after` the bound on that side is left out: the position is the
    tighter one, and SQLite uses only one bound a side to enter the index.
    """
    partition, columns = _order(index)
    sort = columns[0]
    statement = _read().where(partition == _text("partition"), _unexpired())
    if descending or not after:
        statement = statement.where(sort >= _text("lower"))
    if upper and not (descending and after):
        statement = statement.where(sort < _text("upper"))
    if after:
        statement = statement.where(_beyond(columns, descending=descending))
    order = [column.desc() if descending else column.asc() for column in columns]
    return statement.order_by(*order).limit(_limit()).offset(_NONE)


def _order(index: Index) -> tuple[Column[Any], Sequence[Column[Any]]]:
    """The partition column and the columns that order the partition."""
    if index is Index.BASE:
        return items.c.pk, (items.c.sk,)
    partition, sort = INDEX_COLUMNS[index]
    return items.c[partition], (items.c[sort], items.c.pk, items.c.sk)


def _beyond(columns: Sequence[Column[Any]], *, descending: bool) -> ColumnElement[bool]:
    names = ("after_sort", "after_pk", "after_sk")[: len(columns)]
    here = tuple_(*columns)
    position = tuple_(*(_text(name) for name in names))
    return here < position if descending else here > position


def _collect(*, lock: bool) -> ClauseElement:
    """Remove expired rows. `lock`: re-check a row that a writer just renewed."""
    due = select(items.c.pk, items.c.sk).where(items.c.expires_at <= _number("now"))
    due = due.order_by(items.c.expires_at).limit(_limit()).offset(_NONE)
    if lock:
        due = due.with_for_update(skip_locked=True)
    chosen = tuple_(items.c.pk, items.c.sk).in_(due)
    return delete(items).where(chosen).returning(items.c.pk, items.c.sk)


class Statements:
    """Compiled texts common to both dialects. `query` texts are made on first use."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._queries: dict[tuple[Index, bool, bool, bool], str] = {}
        self.point = self._compile(_point())
        self.scan_first = self._compile(_scan(after=False))
        self.scan_after = self._compile(_scan(after=True))

    def query(self, index: Index, *, after: bool, upper: bool, descending: bool) -> str:
        shape = (index, after, upper, descending)
        text = self._queries.get(shape)
        if text is None:
            statement = _query(index, after=after, upper=upper, descending=descending)
            text = self._queries[shape] = self._compile(statement)
        return text

    def _compile(self, statement: ClauseElement) -> str:
        return str(statement.compile(dialect=self._dialect))


class SqliteStatements(Statements):
    """Texts with `:name` parameters for the standard library's sqlite3."""

    def __init__(self) -> None:
        super().__init__(SQLiteDialect_pysqlite(paramstyle="named"))
        key = (items.c.pk == _text("pk"), items.c.sk == _text("sk"))
        self.check = self._compile(select(items.c.rev, items.c.expires_at).where(*key))
        insert = sqlite_insert(items).values({c.name: bindparam(c.name) for c in items.columns})
        changed = {c.name: insert.excluded[c.name] for c in items.columns if c.name not in _KEYS}
        self.put = self._compile(
            insert.on_conflict_do_update(index_elements=_KEYS, set_=changed)
        )
        feed = _read().where(items.c.seq > _number("seq"), _unexpired())
        self.changes = self._compile(feed.order_by(items.c.seq).limit(_limit()).offset(_NONE))
        self.collect = self._compile(_collect(lock=False))


class PostgresStatements(Statements):
    """Texts with `%(name)s` parameters for psycopg 3."""

    def __init__(self) -> None:
        super().__init__(PGDialect_psycopg())  # type: ignore[no-untyped-call]
        pks = bindparam("pks", type_=ARRAY(Text()))
        sks = bindparam("sks", type_=ARRAY(Text()))
        wanted = func.unnest(pks, sks).table_valued("pk", "sk").render_derived("wanted")
        self.points = self._compile(
            _read().join(
                wanted, (items.c.pk == wanted.c.pk) & (items.c.sk == wanted.c.sk)
            ).where(_unexpired())
        )
        of_keys = (items.c.pk == _text("pk"), items.c.sk == func.any(sks))
        self.check = self._compile(
            select(items.c.sk, items.c.rev).where(*of_keys, _unexpired())
        )
        self.put = self._compile(self._put())
        self.changes = self._compile(self._changes())
        self.collect = self._compile(_collect(lock=True))

    @staticmethod
    def _put() -> ClauseElement:
        values: dict[str, Any] = {name: bindparam(name, type_=items.c[name].type)
                                  for name in _WRITTEN}
        values["rev"] = items_rev.next_value()
        values["seq"] = func.pg_current_xact_id()
        insert = postgres_insert(items).values(values)
        changed = {c.name: insert.excluded[c.name] for c in items.columns if c.name not in _KEYS}
        upsert = insert.on_conflict_do_update(index_elements=_KEYS, set_=changed)
        return upsert.returning(items.c.rev)

    @staticmethod
    def _changes() -> ClauseElement:
        """Changes of transactions that are older than any that still runs.

        Transactions commit out of the order of their ids. Without this bound a
        reader passes an id whose transaction is still open, and never sees it.
        The last column says whether this very snapshot has changes that are held
        back by the bound; without any change there is one row with a null key.
        """
        after = tuple_(cast(_text("seq"), XID8()), _text("pk"), _text("sk"))
        feed = _read().where(tuple_(items.c.seq, items.c.pk, items.c.sk) > after, _unexpired())
        oldest = func.pg_snapshot_xmin(func.pg_current_snapshot())
        feed = feed.where(items.c.seq < oldest)
        feed = feed.order_by(items.c.seq, items.c.pk, items.c.sk).limit(_limit()).offset(_NONE)
        page = feed.subquery("page")
        held_back = select(items.c.pk).where(items.c.seq >= oldest).exists()
        told = select(held_back.label("held_back")).subquery("told")
        both = select(*page.c, told.c.held_back).select_from(told.outerjoin(page, true()))
        return both.order_by(page.c.seq, page.c.pk, page.c.sk)
