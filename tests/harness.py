"""A whole workspace for a test: real ports, real files, several people.

    async with Workspace.open(tmp_path) as ws:
        ann = ws.stub(ProjectServiceStub, as_="ann@example.com")
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc.aio
import httpx
from workspace.identity.v1.identity_service_pb2 import (
    IssueLocalTokenRequest,
    NormalizeIdentityRequest,
)
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from services.config import load_settings
from services.processes.workspace import WorkspaceProcess
from services.rpc.local import LocalChannel
from tests.chosen_records import settings_of
from tests.hygiene.log_watch import plant

S = TypeVar("S")


class BearerChannel(grpc.aio.Channel):
    """A channel that sends one bearer token with every call."""

    def __init__(self, channel: grpc.aio.Channel, bearer: str) -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {bearer}"),) if bearer else ()

    async def __aenter__(self) -> BearerChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._with_bearer(self._channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._with_bearer(self._channel.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._with_bearer(self._channel.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._with_bearer(self._channel.stream_stream(*args, **kwargs))

    def _with_bearer(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def invoke(request: Any = None, *, metadata: Any = None, **kwargs: Any) -> Any:
            return call(request, metadata=(*(metadata or ()), *self._metadata), **kwargs)

        return invoke


class Workspace:
    """A started process, and people who are signed in to it by e-mail."""

    def __init__(self, process: WorkspaceProcess) -> None:
        self.process = process
        self.http = process.http_url
        self._tokens: dict[str, str] = {}
        self._users: dict[str, str] = {}
        self._channels: list[grpc.aio.Channel] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, data_dir: Path, **settings: Any) -> AsyncIterator[Workspace]:
        """Start on free ports with the data in `data_dir`; stop at the end."""
        given = {"data_dir": data_dir / "wm-data", "grpc_port": 0, "http_port": 0} | settings
        if "records" not in given:
            given |= settings_of(given["data_dir"])
        process = WorkspaceProcess(load_settings(**given))
        await process.start()
        workspace = cls(process)
        try:
            yield workspace
        finally:
            for channel in workspace._channels:
                await channel.close()
            await process.stop()

    @property
    def records(self) -> Any:
        return self.process.kernel.records

    async def sign_in(self, email: str, name: str = "") -> str:
        """Sign in (at first sight the user is created); returns the user id."""
        if email not in self._users:
            secret = plant((self.process.kernel.keys_dir / "local.secret").read_text().strip())
            anonymous = self._stub(IdentityServiceStub, "", "")
            issued = await anonymous.IssueLocalToken(
                IssueLocalTokenRequest(email=email, name=name or email, local_secret=secret)
            )
            self._tokens[email] = issued.access_token
            me = await self.stub(IdentityServiceStub, as_=email).NormalizeIdentity(
                NormalizeIdentityRequest()
            )
            self._users[email] = me.user.user_id
        return self._users[email]

    def token(self, email: str) -> str:
        """Bearer token of someone who has signed in."""
        return self._tokens[email]

    def stub(self, stub: Callable[[Any], S], *, as_: str = "") -> S:
        """A generated stub over the in-process channel, as a signed-in person."""
        return self._stub(stub, self._tokens[as_] if as_ else "", "")

    def service_stub(self, stub: Callable[[Any], S], *, service: str, as_: str = "") -> S:
        """A stub that also presents a service identity."""
        return self._stub(stub, self._tokens[as_] if as_ else "", service)

    def socket_stub(self, stub: Callable[[Any], S], *, as_: str = "") -> S:
        """A stub over a real loopback socket."""
        channel = grpc.aio.insecure_channel(self.process.grpc_address)
        self._channels.append(channel)
        return stub(BearerChannel(channel, self._tokens[as_] if as_ else ""))

    def client(self, as_: str = "") -> httpx.AsyncClient:
        """An HTTP client of the gateway, as a signed-in person."""
        headers = {"authorization": f"Bearer {self._tokens[as_]}"} if as_ else {}
        return httpx.AsyncClient(base_url=self.http, headers=headers, timeout=30)

    def _stub(self, stub: Callable[[Any], S], bearer: str, service: str) -> S:
        return stub(BearerChannel(LocalChannel(self.process.local, service=service), bearer))
