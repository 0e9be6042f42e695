"""How every bad token is answered: always the same, and nothing about the reason."""

from __future__ import annotations

import pytest

from services.model.errors import Reason, WorkspaceError
from services.tokens.authenticator import TokenAuthenticator


async def refuse(authenticator: TokenAuthenticator, token: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        await authenticator.authenticate(token)
    assert caught.value.reason == Reason.ERROR_REASON_UNAUTHENTICATED
    assert caught.value.message == "Valid credentials are required; sign in again."
    assert not caught.value.metadata
