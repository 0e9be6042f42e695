"""A verifier's clock, and what it refuses for."""

from __future__ import annotations

import pytest

from services.tokens.claims import TokenRefusedError
from services.tokens.verifier import StrictJwtVerifier

NOW, HOUR, DAY = 1_800_000_000, 3600, 86_400


class Clock:
    """It stands still."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


async def refused(verifier: StrictJwtVerifier, text: str) -> str:
    """The check that refuses this token."""
    with pytest.raises(TokenRefusedError) as caught:
        await verifier.verify(text)
    return caught.value.check
