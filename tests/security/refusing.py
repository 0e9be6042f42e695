"""How every bad token is answered: always the same, and nothing about the reason."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from services.model.errors import Reason, WorkspaceError
from services.tokens.authenticator import TokenAuthenticator

WORDS: Final = "Valid credentials are required; sign in again."


async def refuse(authenticator: TokenAuthenticator, token: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        await authenticator.authenticate(token)
    assert caught.value.reason == Reason.ERROR_REASON_UNAUTHENTICATED
    assert caught.value.message == WORDS
    assert not caught.value.metadata


def by_name(*values: str) -> Any:
    """The parameters of a test, marked with the id in front of the last one's name
    ("T05 padded header")."""
    found = re.match(r"T[0-9]{2}\b", values[-1])
    return pytest.param(*values, marks=[pytest.mark.case(found[0])] if found else [])
