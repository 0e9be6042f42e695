"""Items, their feed, expiry and secondary indexes; facts about the store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import UserDefinedType

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_PAIRS = ("account", "team", "user", "project")


class _Xid8(UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


def upgrade() -> None:
    _items()
    op.create_table(
        "meta",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("items_feed", "items", ["seq", "pk", "sk"])
    _partial_index("items_expiry", ["expires_at"])
    for name in _PAIRS:
        _partial_index(f"items_{name}", [f"{name}_pk", f"{name}_sk", "pk", "sk"])


def _items() -> None:
    key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    flag = sa.Boolean().with_variant(sa.Integer(), "sqlite")
    position = sa.Integer().with_variant(_Xid8(), "postgresql")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE SEQUENCE items_rev")
    op.create_table(
        "items",
        sa.Column("pk", key, primary_key=True),
        sa.Column("sk", key, primary_key=True),
        sa.Column("family", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("stamp", sa.Text, nullable=False),
        sa.Column("deleted", flag, nullable=False),
        sa.Column("expires_at", number),
        sa.Column("rev", number, nullable=False),
        sa.Column("seq", position, nullable=False),
        *(sa.Column(f"{name}_{part}", key) for name in _PAIRS for part in ("pk", "sk")),
        sqlite_strict=True,
    )


def _partial_index(name: str, columns: list[str]) -> None:
    present = sa.text(f"{columns[0]} IS NOT NULL")
    op.create_index(name, "items", columns, sqlite_where=present, postgresql_where=present)


def downgrade() -> None:
    """Drops everything; for development only, a release never calls it."""
    op.drop_table("items")
    op.drop_table("meta")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP SEQUENCE items_rev")
