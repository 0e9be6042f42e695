"""IssueLocalToken: a token for whoever can read the local secret."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from workspace.identity.v1.identity_service_pb2 import (
    IssueLocalTokenRequest,
    IssueLocalTokenResponse,
)

from identity_svc.directory import USER_ACTIVE, Directory, user_pk
from identity_svc.settling import settle
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, invalid_field
from services.model.ids import canonical_email, random_id, user_id
from services.model.names import validate_name
from services.model.times import to_timestamp
from services.records.record import Activity
from services.rpc.headers import unauthenticated
from services.tokens.local import LocalIdentity, LocalIssuer
from services.tokens.local_secret import LocalSecret

__all__ = ["LocalTokens"]

_PRINCIPAL = "local-secret"


class LocalTokens:
    """The request row keeps who the token was for, never the token."""

    def __init__(
        self, kernel: Kernel, directory: Directory, issuer: LocalIssuer, secret: LocalSecret
    ) -> None:
        self._kernel = kernel
        self._directory = directory
        self._issuer = issuer
        self._secret = secret

    async def issue(self, request: IssueLocalTokenRequest) -> IssueLocalTokenResponse:
        if not self._secret.matches(request.local_secret):
            raise unauthenticated()
        email = canonical_email(request.email)
        name = validate_name("name", request.name or email.partition("@")[0])
        seconds = self._seconds(request)
        user = user_id(self._issuer.issuer, email)
        leads_to, not_before = await self._admitted(user)
        answer = await self._recorded(request, user)
        answer.user_id = leads_to
        issued_at = max(int(self._kernel.now()), not_before)
        answer.access_token = self._issuer.issue(
            LocalIdentity(email, name),
            token_id=random_id("j"),
            issued_at=issued_at,
            seconds=seconds,
        )
        answer.expires_at.CopyFrom(_at(issued_at + seconds))
        return answer

    def _seconds(self, request: IssueLocalTokenRequest) -> int:
        most = self._kernel.settings.local_token_seconds
        if not request.HasField("lifetime"):
            return most
        if request.lifetime.seconds > most:
            raise invalid_field("lifetime", f"at most {most} s in this deployment; ask for less")
        return request.lifetime.seconds

    async def _admitted(self, user: str) -> tuple[str, int]:
        """Who the identity leads to, and the first whole second whose tokens are
        good, for someone whose sessions were revoked a moment ago. Raises
        USER_DISABLED."""
        record = await self._directory.user(user)
        if record is not None and record.message.linked_to_user_id:
            record = await self._directory.user(record.message.linked_to_user_id)
        if record is None:
            return user, 0
        if record.message.status != USER_ACTIVE:
            raise WorkspaceError(
                Reason.ERROR_REASON_USER_DISABLED,
                "this user is disabled; ask a platform admin to enable it",
                metadata={"user_id": user},
            )
        limit = record.message.tokens_not_before
        return record.message.user_id, math.ceil(limit.seconds + limit.nanos / 1e9)

    async def _recorded(
        self, request: IssueLocalTokenRequest, user: str
    ) -> IssueLocalTokenResponse:
        kept = IssueLocalTokenRequest()
        kept.CopyFrom(request)
        kept.ClearField("local_secret")  # not even its hash is stored
        mutation = self._kernel.mutations.begin(kept, principal=_PRINCIPAL)

        async def attempt() -> IssueLocalTokenResponse:
            return await mutation.commit(
                user_pk(user),
                [],
                activity=Activity("local_token.issued", f"users/{user}"),
                answer=lambda _: IssueLocalTokenResponse(user_id=user),
            )

        return await settle(mutation, user_pk(user), IssueLocalTokenResponse, attempt)


def _at(seconds: int) -> Timestamp:
    return to_timestamp(datetime.fromtimestamp(seconds, UTC))
