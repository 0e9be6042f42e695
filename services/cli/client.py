"""A session with a workspace: one channel, a token that renews itself, calls."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from workspace.identity.v1.identity_service_pb2 import GetSessionRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from services.cli.bearers import login_of, token_of_environment
from services.cli.endpoint import read_endpoint
from services.cli.exit_codes import ExitCode
from services.cli.failures import CliError
from services.cli.options import Options
from services.cli.profile import Login, Profiles
from services.cli.signing_in import issue_token
from services.cli.trust import Reached
from services.rpc.errors import peer_status

__all__ = ["DEFAULT_SERVER", "Session", "in_session", "open_channel", "reach", "server_of"]

S = TypeVar("S")
T = TypeVar("T")

DEFAULT_SERVER = "127.0.0.1:50051"
CALL_SECONDS = 30.0
_PATIENCE = 3.0
"""How long a server may be away, in seconds, beyond what the channel repeats."""
_PAUSE = 0.2
_HOPELESS = ("handshake", "certificate", "check peer")
_RENEW_SECONDS = 60
_PAGE = 500
_RETRIES = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_metadata_size", 32 * 1024),
    ("grpc.absolute_max_metadata_size", 32 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 300_000),
    # Every call is safe to repeat: mutating ones carry a request_id.
    ("grpc.service_config", json.dumps(_RETRIES)),
]


def server_of(options: Options, profiles: Profiles) -> str:
    """The server to talk to: --server or WM_SERVER, the process of the data
    folder, the last one signed in to, the default."""
    if options.server:
        return options.server.removeprefix("grpc://")
    endpoint = read_endpoint(options.data_dir)
    if endpoint is not None:
        scheme = "https://" if endpoint.http.startswith("https://") else ""
        return scheme + endpoint.grpc
    return profiles.last_server or DEFAULT_SERVER


def reach(options: Options, profiles: Profiles) -> Reached:
    """The server to talk to, and its authority: --ca or WM_CA, else what the sign-in
    there kept."""
    server = server_of(options, profiles)
    kept = profiles.authority(server)
    ca_file = options.ca or (Path(kept) if kept else None)
    options.reached = Reached(server, ca_file)
    return options.reached


def open_channel(reached: Reached) -> grpc.aio.Channel:
    """Plain text or TLS, as `Reached.tls` says. Raises CliError for its authority's file."""
    if not reached.tls:
        return grpc.aio.insecure_channel(reached.target, options=_CHANNEL_OPTIONS)
    credentials = grpc.ssl_channel_credentials(reached.pem())
    return grpc.aio.secure_channel(reached.target, credentials, options=_CHANNEL_OPTIONS)


class Session:
    """Calls as one signed-in person."""

    def __init__(
        self, *, channel: grpc.aio.Channel, reached: Reached, login: Login, profiles: Profiles,
        patience: float = _PATIENCE,
    ) -> None:
        self._channel = channel
        self._patience = patience
        self._login = login
        self._profiles = profiles
        self._renewing = asyncio.Lock()
        self._stubs: dict[Any, Any] = {}
        self.reached = reached
        self.server = reached.server

    @property
    def login(self) -> Login:
        return self._login

    @property
    def user_id(self) -> str:
        """The caller's user id."""
        return self._login.user_id

    async def find_out(self) -> None:
        """Ask the server who the token is for."""
        stub = self.stub(IdentityServiceStub)
        answer = await self.call(stub.GetSession, GetSessionRequest(page_size=1))
        self._login = replace(self._login, user_id=answer.session.user.user_id)

    async def renew(self) -> None:
        """A token of now, where this machine can get one (local provider)."""
        if self._login.data_dir:
            await self._renew()

    async def token_of(self, email: str) -> str:
        """The token of another sign-in kept here, of now where that can be."""
        login = self._profiles.find(self.server, email)
        if login is None:
            raise _signed_out(self.server, email)
        if not login.data_dir:
            return login.token
        return (await issue_token(self._channel, login.data_dir, email=email)).token

    def stub(self, kind: Callable[[Any], S]) -> S:
        """The generated stub of a service, made once."""
        if kind not in self._stubs:
            self._stubs[kind] = kind(self._channel)
        found: S = self._stubs[kind]
        return found

    async def call(
        self, method: Callable[..., Any], request: Any, *, timeout: float = CALL_SECONDS
    ) -> Any:
        """One call with the caller's token. A mutating request without a
        `request_id` gets one, so that it may be repeated: by the channel, and here while
        nobody answers, as when a server is started again."""
        if "request_id" in request.DESCRIPTOR.fields_by_name and not request.request_id:
            request.request_id = str(uuid.uuid4())
        token = await self._token()
        metadata = (("authorization", f"Bearer {token}"),)
        end = time.monotonic() + self._patience
        while True:
            try:
                return await method(request, metadata=metadata, timeout=timeout)
            except grpc.aio.AioRpcError as error:
                if not _may_come_back(error) or time.monotonic() >= end:
                    raise
            await asyncio.sleep(_PAUSE)

    async def stream(self, method: Callable[..., Any], request: Any) -> AsyncIterator[Any]:
        """The messages of a server stream, until it ends or the caller stops."""
        if "request_id" in request.DESCRIPTOR.fields_by_name and not request.request_id:
            request.request_id = str(uuid.uuid4())
        call = method(request, metadata=(("authorization", f"Bearer {await self._token()}"),))
        try:
            async for message in call:
                yield message
        finally:
            call.cancel()

    async def pages(
        self, method: Callable[..., Any], request: Any, key: str, *, limit: int = 0
    ) -> list[Any]:
        """All items of a list call, or the first `limit` (0: all)."""
        return [item async for item in self.each(method, request, key, limit=limit)]

    async def each(
        self, method: Callable[..., Any], request: Any, key: str, *, limit: int = 0
    ) -> AsyncIterator[Any]:
        """The items of a list call, page by page."""
        request = _copy(request)
        request.page_size = min(limit or _PAGE, _PAGE)
        count = 0
        while True:
            answer = await self.call(method, request)
            for item in getattr(answer, key):
                yield item
                count += 1
                if count == limit:
                    return
            request.page_token = answer.next_page_token
            if not request.page_token:
                return

    async def _token(self) -> str:
        if self._login.expires_at - time.time() > _RENEW_SECONDS:
            return self._login.token
        async with self._renewing:
            if self._login.expires_at - time.time() <= _RENEW_SECONDS:
                await self._renew()
        return self._login.token

    async def _renew(self) -> None:
        login = self._login
        if not login.data_dir:
            raise _signed_out(self.server)
        try:
            self._login = await issue_token(
                self._channel, login.data_dir, email=login.email, name=login.name
            )
        except CliError:
            raise _signed_out(self.server) from None
        self._profiles.save(self.server, self._login, current=False)


@asynccontextmanager
async def open_session(options: Options) -> AsyncIterator[Session]:
    """A session as the person chosen by --as, or the current one."""
    profiles = Profiles()
    reached = reach(options, profiles)
    # Who is named is meant: WM_TOKEN stands for nobody in particular.
    token = "" if options.as_email else token_of_environment()
    login = login_of(token) if token else profiles.find(
        reached.server, options.as_email
    )
    if login is None:
        raise _signed_out(reached.server, options.as_email)
    channel = open_channel(reached)
    try:
        session = Session(channel=channel, reached=reached, login=login, profiles=profiles)
        if not login.user_id:
            await session.find_out()
        yield session
    finally:
        await channel.close()


def in_session(options: Options, work: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
    """Run `work` with a session, in an event loop of its own."""

    async def run() -> T:
        async with open_session(options) as session:
            return await work(session)

    return asyncio.run(run())


def _may_come_back(error: grpc.aio.AioRpcError) -> bool:
    """No connection, and no answer of ours; but a handshake that failed will fail again."""
    details = (error.details() or "").lower()
    lost = error.code() is grpc.StatusCode.UNAVAILABLE and peer_status(error) is None
    return lost and not any(word in details for word in _HOPELESS)


def _copy(request: Message) -> Any:
    copy = type(request)()
    copy.CopyFrom(request)
    return copy


def _signed_out(server: str, email: str = "") -> CliError:
    who = f"{email} is" if email else "you are"
    return CliError(
        f"{who} not signed in to {server}",
        remedy=f"sign in: wm login --as {email or 'you@example.com'}",
        exit_code=ExitCode.NOT_SIGNED_IN,
    )
