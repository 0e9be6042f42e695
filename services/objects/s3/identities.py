"""The credentials that URLs and requests are signed with.

Temporary credentials are renewed by the SDK, which may ask a server for it: never on
the event loop. A signature takes those of memory, and has them renewed in a thread when
they come near their end.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, NoCredentialsError

from services.aws.clients import AwsClients
from services.objects.s3.signing import Identity

__all__ = ["MARGIN_SECONDS", "Identities"]

MARGIN_SECONDS = 60
"""What a URL ends before its credentials do."""
_FRESH_SECONDS = 30.0
_AGAIN_SECONDS = 5.0
_LOG = logging.getLogger("workspace.objects.s3")


class Identities:
    """`now` returns unix seconds. `load` asks the SDK and blocks; `current` does not,
    once there was a first one."""

    def __init__(self, clients: AwsClients, now: Callable[[], float]) -> None:
        self._clients = clients
        self._now = now
        self._loaded: tuple[Identity, float] | None = None
        self._loading = threading.Lock()
        self._tried = float("-inf")

    def load(self) -> Identity:
        """Blocking. Raises what the SDK raises."""
        found = self._clients.credentials()
        if found is None:
            raise NoCredentialsError
        before = _end_of(found)
        frozen = found.get_frozen_credentials()
        after = _end_of(found)
        # Renewed in between: the earlier end may be the one of what was taken.
        ends = [end for end in (before, after) if end is not None]
        identity = Identity(
            str(frozen.access_key), str(frozen.secret_key), str(frozen.token or ""),
            min(ends, default=None),
        )
        self._loaded = (identity, self._now())
        return identity

    def current(self) -> Identity:
        """What to sign with now. Blocks only where all that is known has ended, as after
        a sleep of the machine."""
        loaded = self._loaded
        if loaded is None:
            return self.load()
        identity, since = loaded
        now = self._now()
        ended = identity.expires_at is not None and identity.expires_at <= now + MARGIN_SECONDS
        if ended and abs(now - self._tried) > _AGAIN_SECONDS:
            self._tried = now
            return self.load()
        if identity.token and abs(now - since) > _FRESH_SECONDS:
            self._renew_behind()
        return identity

    def _renew_behind(self) -> None:
        if self._loading.acquire(blocking=False):
            threading.Thread(target=self._renew, name="aws-credentials", daemon=True).start()

    def _renew(self) -> None:
        try:
            self.load()
        except BotoCoreError as error:
            _LOG.warning("credentials were not renewed: %s", type(error).__name__)
        finally:
            self._loading.release()


def _end_of(credentials: Any) -> float | None:
    end = getattr(credentials, "_expiry_time", None)
    return None if end is None else float(end.timestamp())
