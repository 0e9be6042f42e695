"""The clients of the SDK, made once and called off the event loop.

boto3's clients may be used by several threads, its sessions may not, and making a
client takes 30 ms to 300 ms: so one client for each service, made under a lock. The
SDK's own retries are off: what may be repeated is for the drivers, which know what a
lost answer may have done.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from services.aws.place import AwsKeys, AwsPlace
from services.model.errors import Reason, WorkspaceError

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ProfileNotFound
except ImportError as error:  # an extra; this module is imported on first use only
    raise WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        "AWS needs boto3: pip install 'workspace-management[aws]'",
        metadata={"extra": "aws"},
    ) from error

__all__ = ["AwsClients", "ClientsClosed"]

_T = TypeVar("_T")
_WORKERS = 32
_CONNECT_SECONDS = 3.0


class ClientsClosed(ConnectionError):
    """The process ends: nothing was sent."""


class AwsClients:
    """Clients of one place. `workers` bounds the calls under way at once. With `keys`
    no other credentials are looked for."""

    def __init__(
        self, place: AwsPlace, *, workers: int = _WORKERS, keys: AwsKeys | None = None
    ) -> None:
        self.place = place
        self._keys = keys
        self._workers = workers
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="aws")
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, bool], Any] = {}
        self._session: Any = None
        self._closed = False

    def client(self, service: str, *, path_style: bool = False) -> Any:
        """The SDK's client of a service, for S3 with virtual or path addressing."""
        with self._lock:
            found = self._clients.get((service, path_style))
            if found is None:
                found = self._clients[(service, path_style)] = self._made(service, path_style)
            return found

    async def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """One call, tried once. Raises what the SDK raises: see `failures.failure_of`."""
        return await self.run(self._called, service, operation, parameters)

    async def run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Blocking `work` in a thread of these clients. Raises ClientsClosed."""
        if self._closed:
            raise ClientsClosed("these clients of AWS are closed")
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, partial(work, *arguments)
        )

    def credentials(self) -> Any:
        """The credentials in use (botocore's; temporary ones renew themselves); None
        when there are none."""
        with self._lock:
            return self._opened().get_credentials()

    async def close(self) -> None:
        """End the threads, once their calls have ended, and the connections."""
        self._closed = True
        await asyncio.to_thread(self._executor.shutdown)
        for client in self._clients.values():
            client.close()

    def _called(self, service: str, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(self.client(service), operation)(**parameters)
        return answer

    def _made(self, service: str, path_style: bool) -> Any:
        seconds = self.place.call_seconds
        config = Config(
            signature_version="s3v4" if service == "s3" else None,
            s3={"addressing_style": "path" if path_style else "virtual"},
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=min(_CONNECT_SECONDS, seconds),
            read_timeout=seconds,
            max_pool_connections=self._workers,
            user_agent_extra="workspace-management",
            # A fifth of a call's processor time, for items that our codec makes.
            parameter_validation=service != "dynamodb",
            # Only our own settings say where a service is.
            ignore_configured_endpoint_urls=True,
        )
        return self._opened().client(
            service, region_name=self.place.region or None,
            endpoint_url=self.place.endpoint_of(service), config=config,
        )

    def _opened(self) -> Any:
        if self._session is None:
            try:
                self._session = self._new_session()
            except ProfileNotFound:
                raise WorkspaceError(
                    Reason.ERROR_REASON_INVALID_STATE,
                    f"the AWS configuration has no profile '{self.place.profile}'; make it with "
                    "`aws configure sso`, or name another with AWS_PROFILE",
                    metadata={"field": "AWS_PROFILE"},
                ) from None
        return self._session

    def _new_session(self) -> Any:
        keys = self._keys
        if keys is None:
            return boto3.Session(profile_name=self.place.profile or None)
        return boto3.Session(
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            aws_session_token=keys.session_token or None,
        )
