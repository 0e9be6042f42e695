"""Machine tokens: `wmt_` + user + token + secret + checksum, all base32.

The secret (256 bits) is derived from the token's id by the instance key, so
that a repeated creation shows the same one; stored is its SHA-256. Ids make the
check one point read; the checksum finds typing errors, and leaks, without one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from workspace.identity.v1.machine_token_pb2 import MachineToken, MachineTokenStatus

from services.model.errors import WorkspaceError
from services.model.families import FAMILIES
from services.model.token_scopes import TokenScope
from services.records.port import Key
from services.records.record import Activity, Record, Write
from services.records.store import RecordStore
from services.rpc.context import Caller
from services.tokens.claims import TokenRefusedError

__all__ = [
    "MACHINE_PREFIX",
    "MACHINE_PROVIDER",
    "MachineSecret",
    "MachineTokenVerifier",
    "owner_of",
]

MACHINE_PREFIX: Final = "wmt_"
MACHINE_PROVIDER: Final = "machine"
_SHAPE: Final = re.compile(r"wmt_([a-z2-7]{26})([a-z2-7]{26})([a-z2-7]{52})([a-z2-7]{6})")
_TOKEN_ID: Final = re.compile(r"k_([a-z2-7]{26})_([a-z2-7]{26})")
_ACTIVE: Final = int(MachineTokenStatus.MACHINE_TOKEN_STATUS_ACTIVE)
_FAMILY: Final = FAMILIES["machine_token"]
_USED_SECONDS: Final = 3600
_log = logging.getLogger("workspace.tokens")


@dataclass(frozen=True, slots=True)
class MachineSecret:
    """A token in its parts. `secret` never leaves by `repr`."""

    user_id: str
    token_id: str
    secret: str

    def __repr__(self) -> str:
        return f"MachineSecret(token_id={self.token_id!r})"

    @classmethod
    def derive(cls, key: bytes, user_id: str, unique: str) -> MachineSecret:
        """The token of a user and an id `k_...` of the creating call."""
        token_id = f"k_{user_id.removeprefix('u_')}_{unique.removeprefix('k_')}"
        if _TOKEN_ID.fullmatch(token_id) is None or not key:
            raise ValueError("a machine token needs a key, and ids of the usual form")
        mac = hmac.new(key, b"machine-token\x00" + token_id.encode(), hashlib.sha256)
        return cls(user_id, token_id, _base32(mac.digest()))

    @classmethod
    def parse(cls, text: str) -> MachineSecret:
        """Raises TokenRefusedError for another form or a wrong checksum."""
        match = _SHAPE.fullmatch(text)
        if match is None:
            raise TokenRefusedError("shape")
        user, unique, secret, checksum = match.groups()
        if checksum != _checksum(user + unique + secret):
            raise TokenRefusedError("checksum")
        return cls(f"u_{user}", f"k_{user}_{unique}", secret)

    @property
    def text(self) -> str:
        """The bearer token."""
        user, unique = self.token_id.removeprefix("k_").split("_")
        body = user + unique + self.secret
        return MACHINE_PREFIX + body + _checksum(body)

    @property
    def sha256(self) -> bytes:
        """What is stored."""
        return hashlib.sha256(self.secret.encode("ascii")).digest()


def owner_of(token_id: str) -> str:
    """The user whose token this is, by its id; '' for no such id."""
    match = _TOKEN_ID.fullmatch(token_id)
    return f"u_{match[1]}" if match else ""


class MachineTokenVerifier:
    """Asked on every call, uncached: a revoked token ends with the commit."""

    def __init__(self, records: RecordStore, *, now: Callable[[], float]) -> None:
        self._records = records
        self._now = now

    async def verify(self, text: str) -> Caller:
        """The token's user, with its scope. Raises TokenRefusedError."""
        given = MachineSecret.parse(text)
        record = await self._record(given.user_id, given.token_id)
        stored = record.message if record else MachineToken(secret_sha256=bytes(32))
        if not hmac.compare_digest(stored.secret_sha256, given.sha256) or record is None:
            raise TokenRefusedError("secret")
        if stored.status != _ACTIVE:
            raise TokenRefusedError("revoked")
        if not self._in_time(stored):
            raise TokenRefusedError("exp")
        await self._note_use(record)
        return _caller(stored)

    async def works(self, token_id: str) -> bool:
        """Whether the token is neither revoked nor expired, for what was made in
        its name and outlives the call."""
        record = await self._record(owner_of(token_id), token_id)
        if record is None or record.message.status != _ACTIVE:
            return False
        return self._in_time(record.message)

    async def _record(self, user_id: str, token_id: str) -> Record[MachineToken] | None:
        return await self._records.get(_FAMILY, Key(f"USER#{user_id}", f"MACHINE#{token_id}"))

    def _in_time(self, token: MachineToken) -> bool:
        return token.expires_at.ToNanoseconds() > self._now() * 1e9

    async def _note_use(self, record: Record[MachineToken]) -> None:
        """`last_used_at`, to the hour. A note that is not taken refuses nobody."""
        hour = int(self._now()) // _USED_SECONDS * _USED_SECONDS
        if record.message.last_used_at.seconds >= hour:
            return
        token = record.edit()
        token.last_used_at.CopyFrom(Timestamp(seconds=hour))
        activity = Activity("machine_token.used", f"machineTokens/{token.token_id}")
        try:
            await self._records.commit(
                record.key.pk, [Write(_FAMILY, token, record)], activity=activity
            )
        except WorkspaceError as error:
            _log.info("the use of a machine token is not noted", extra={"reason": error.reason})


def _caller(token: MachineToken) -> Caller:
    return Caller(
        user_id=token.user_id,
        issuer=MACHINE_PROVIDER,
        subject=token.token_id,
        provider=MACHINE_PROVIDER,
        token_id=token.token_id,
        issued_at=token.created_at.seconds,
        expires_at=token.expires_at.seconds,
        scope=TokenScope.of(token.permissions, token.project_ids, token.account_ids),
    )


def _checksum(body: str) -> str:
    return _base32(hashlib.sha256(b"wmt\x00" + body.encode("ascii")).digest())[:6]


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").lower().rstrip("=")
