"""A workspace that trusts one sign-in provider, called over its socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import grpc.aio
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from tests.cognito_pool import CognitoPool
from tests.entra_tenant import EntraTenant
from tests.harness import BearerChannel, Workspace

I = TypeVar("I", CognitoPool, EntraTenant)  # noqa: E741


class Deployment(Generic[I]):
    """The workspace, and the issuer whose tokens it takes."""

    def __init__(self, ws: Workspace, issuer: I, channel: grpc.aio.Channel) -> None:
        self.ws = ws
        self.issuer = issuer
        self._channel = channel

    def stub(self, bearer: str) -> Any:
        return IdentityServiceStub(BearerChannel(self._channel, bearer))

    async def sign_in(self, bearer: str) -> Any:
        return await self.stub(bearer).NormalizeIdentity(ids.NormalizeIdentityRequest())

    async def session(self, bearer: str) -> Any:
        return (await self.stub(bearer).GetSession(ids.GetSessionRequest())).session


@asynccontextmanager
async def opened(issuer: I, folder: Path, **trust: Any) -> AsyncIterator[Deployment[I]]:
    """A workspace in the folder, with this trust in the issuer."""
    async with AsyncExitStack() as stack:
        stack.enter_context(issuer.serving())
        ws = await stack.enter_async_context(Workspace.open(folder, **issuer.settings(**trust)))
        channel = grpc.aio.insecure_channel(ws.process.grpc_address)
        yield Deployment(ws, issuer, await stack.enter_async_context(channel))
