"""Whether a user holds records: anything beyond what signing in made."""

from __future__ import annotations

from typing import Final

from identity_svc.directory import ACCOUNT_MEMBER, TEAM_MEMBER, Directory, user_pk
from services.model.families import FAMILIES, Family
from services.model.indexes import Index

__all__ = ["Holdings"]

# Of each the rows about the user: by family, index, prefix.
_ROWS: Final[tuple[tuple[Family, Index, str], ...]] = (
    (TEAM_MEMBER, Index.USER, "MEMBER#TEAM#"),
    (FAMILIES["project_grant"], Index.USER, "GRANT#"),
    (FAMILIES["upload"], Index.USER, "UPLOAD#"),
    (FAMILIES["machine_token"], Index.BASE, "MACHINE#"),
    (FAMILIES["platform_admin"], Index.USER, "ADMIN#"),
)


class Holdings:
    """Memberships, grants, uploads, machine tokens and projects of a user; what
    was revoked or removed counts as well, because its history names the user."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._records = directory.records

    async def of(self, user: str) -> bool:
        """Whether there is anything. A user who never signed in holds nothing."""
        record = await self._directory.user(user)
        if record is None:
            return False
        for family, index, prefix in _ROWS:
            if await self._any(family, index, user_pk(user), prefix):
                return True
        home = record.message.personal_workspace_id
        if home and await self._any(
            FAMILIES["project"], Index.ACCOUNT, f"WORKSPACE#{home}", "PROJECT#"
        ):
            return True
        return await self._other_accounts(user, home)

    async def _any(self, family: Family, index: Index, partition: str, prefix: str) -> bool:
        page = await self._records.query(family, index, partition, prefix=prefix, limit=1)
        return bool(page.records)

    async def _other_accounts(self, user: str, home: str) -> bool:
        page = await self._records.query(
            ACCOUNT_MEMBER, Index.USER, user_pk(user), prefix="MEMBER#ACCOUNT#", limit=2
        )
        return any(row.message.account_id != home for row in page.records)
