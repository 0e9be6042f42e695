"""What the suite needs of a deployment: processes of this machine, or containers."""

from __future__ import annotations

import ssl
import uuid
from abc import ABC, abstractmethod
from pathlib import Path

import grpc
import grpc.aio
import httpx
from workspace.identity.v1.identity_service_pb2 import (
    BootstrapPlatformAdminRequest,
    IssueLocalTokenRequest,
    NormalizeIdentityRequest,
)
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from services.rpc.channels import load_service_config
from tests.harness import BearerChannel

__all__ = ["ROOT", "Deployment"]

ROOT = Path(__file__).parents[2]
_CONTRACTS = ROOT / "protos" / "workspace"
_SECONDS = 30.0
_OPTIONS = [
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
]


class Deployment(ABC):
    """Clients come to its published ports alone."""

    def __init__(self) -> None:
        self._channels: list[grpc.aio.Channel] = []

    @property
    @abstractmethod
    def http(self) -> str:
        """Base URL of the gateway."""

    @property
    @abstractmethod
    def grpc_target(self) -> str:
        """Where the gateway speaks gRPC."""

    @property
    @abstractmethod
    def authority(self) -> Path:
        """PEM of the authority of its certificates."""

    @abstractmethod
    def local_secret(self) -> str:
        """What lets an operator sign in as anybody."""

    @abstractmethod
    def connection_settings(self) -> dict[str, str]:
        """Settings of a `postgres` connection to stores that nobody uses yet."""

    def channel(self, token: str = "") -> BearerChannel:
        """gRPC to the gateway, with the published retry policy and nothing else that helps."""
        return self.open_channel(self.grpc_target, token)

    def open_channel(
        self, target: str, token: str, shown: tuple[bytes, bytes] | tuple[()] = ()
    ) -> BearerChannel:
        """To any of its ports; `shown` is the key and the certificate of the client."""
        credentials = grpc.ssl_channel_credentials(self.authority.read_bytes(), *shown)
        config = ("grpc.service_config", load_service_config([_CONTRACTS]))
        channel = grpc.aio.secure_channel(target, credentials, options=[*_OPTIONS, config])
        self._channels.append(channel)
        return BearerChannel(channel, token)

    def client(self, token: str = "") -> httpx.AsyncClient:
        """HTTP to the gateway."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.AsyncClient(
            base_url=self.http, headers=headers, timeout=30, verify=self.trust()
        )

    def trust(self) -> ssl.SSLContext:
        """Of that authority alone: for signed URLs."""
        return ssl.create_default_context(cafile=str(self.authority))

    async def sign_in(self, email: str) -> str:
        """A token of a user who exists from now on."""
        request = IssueLocalTokenRequest(
            email=email, name=email, local_secret=self.local_secret()
        )
        stub = IdentityServiceStub(self.channel())
        token = str((await stub.IssueLocalToken(request, timeout=_SECONDS)).access_token)
        hello = NormalizeIdentityRequest(request_id=str(uuid.uuid4()))
        await IdentityServiceStub(self.channel(token)).NormalizeIdentity(hello, timeout=_SECONDS)
        return token

    async def make_admin(self, email: str) -> None:
        """Make the first platform administrator, as an operator does."""
        request = BootstrapPlatformAdminRequest(bootstrap_secret=self.local_secret())
        stub = IdentityServiceStub(self.channel(await self.sign_in(email)))
        await stub.BootstrapPlatformAdmin(request, timeout=_SECONDS)

    async def close_channels(self) -> None:
        channels, self._channels = self._channels, []
        for channel in channels:
            await channel.close()
