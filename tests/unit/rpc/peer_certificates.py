"""An authority for tests of mutual TLS, and a server that says who calls it."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.wrappers_pb2 import StringValue

from services.rpc.channels import PeerChannel
from services.rpc.limits import Limits
from services.rpc.renewing_channel import RenewingChannel
from services.rpc.server import Listener, RpcServer
from services.rpc.tls import ClientTls, ServerTls
from services.tls_authority.files import install_folder, install_pair
from services.tls_authority.profile import key_pem, new_key, sign_authority, sign_leaf

__all__ = [
    "DAY", "Peer", "TestAuthority", "client_tls", "method", "raw", "refused",
    "renewing", "server_tls", "serving", "until", "uri", "who",
]  # fmt: skip

DAY = datetime.timedelta(days=1)


def uri(target: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(f"spiffe://workspace/{target}")


class TestAuthority:
    """Issues into `folder/<name>/{tls.crt,tls.key,ca.crt}`."""

    __test__ = False

    def __init__(self, folder: Path, *, begin: datetime.timedelta = -40 * DAY) -> None:
        self.folder = folder
        self._key = new_key()
        self._cert = sign_authority(self._key, datetime.datetime.now(datetime.UTC) + begin)
        self.pem = self._cert.public_bytes(Encoding.PEM)

    def issue(
        self,
        name: str,
        *names: x509.GeneralName,
        begin: datetime.timedelta = -DAY,
        days: int = 30,
    ) -> int:
        """The serial number of the new certificate, which begins at now + `begin`."""
        key = new_key()
        alternatives = names or (x509.DNSName("localhost"), uri(name))
        now = datetime.datetime.now(datetime.UTC) + begin
        cert = sign_leaf(
            self._cert, self._key, key.public_key(), name=name,
            names=alternatives, days=days, now=now,
        )
        pem = cert.public_bytes(Encoding.PEM)
        folder = self.folder / name
        if folder.exists():
            install_pair(folder, cert=pem, key=key_pem(key))
        else:
            install_folder(folder, cert=pem, key=key_pem(key), authority=self.pem)
        return cert.serial_number


def server_tls(folder: Path) -> ServerTls:
    return ServerTls(
        cert_file=folder / "tls.crt", key_file=folder / "tls.key", client_ca_file=folder / "ca.crt"
    )


def client_tls(folder: Path) -> ClientTls:
    return ClientTls(
        ca_file=folder / "ca.crt", cert_file=folder / "tls.crt", key_file=folder / "tls.key"
    )


class Peer:
    """`Who` answers with the serial number of the certificate of the caller; `Hold`
    answers so to each message until there are no more."""

    def __init__(self) -> None:
        self.metadata: list[tuple[str, str]] = []
        self.connections: set[str] = set()

    async def one(self, request: StringValue, context: Any) -> StringValue:
        self.connections.add(context.peer())
        self.metadata = [(key, value) for key, value in context.invocation_metadata()]
        return StringValue(value=_serial(context))

    async def each(self, requests: Any, context: Any) -> Any:
        async for _ in requests:
            yield StringValue(value=_serial(context))

    async def many(self, request: StringValue, context: Any) -> Any:
        yield StringValue(value=_serial(context))

    async def collect(self, requests: Any, context: Any) -> StringValue:
        async for _ in requests:
            pass
        return StringValue(value=_serial(context))

    def add(self, _servicer: object, server: Any) -> None:
        codec = (StringValue.FromString, StringValue.SerializeToString)
        handlers = {
            "unary_unary": grpc.unary_unary_rpc_method_handler(self.one, *codec),
            "unary_stream": grpc.unary_stream_rpc_method_handler(self.many, *codec),
            "stream_unary": grpc.stream_unary_rpc_method_handler(self.collect, *codec),
            "stream_stream": grpc.stream_stream_rpc_method_handler(self.each, *codec),
        }
        server.add_registered_method_handlers("test.v1.Peer", handlers)


def _serial(context: Any) -> str:
    auth = context.auth_context()
    return str(x509.load_pem_x509_certificate(auth["x509_pem_cert"][0]).serial_number)


@asynccontextmanager
async def serving(
    tls: ServerTls, *, peer: Peer | None = None, limits: Limits | None = None
) -> AsyncIterator[str]:
    """The target of a server that wants certificates of clients."""
    server = RpcServer(listeners=[Listener("127.0.0.1:0", tls)], limits=limits)
    (peer or Peer()).add(None, server._server)
    await server.start()
    try:
        yield f"localhost:{server.ports[0]}"
    finally:
        await server.stop()


def renewing(target: str, tls: ClientTls, **times: float) -> RenewingChannel:
    """Looks at its files at every call."""
    options = Limits().channel_options()
    return RenewingChannel(
        tls,
        lambda credentials: grpc.aio.secure_channel(target, credentials, options=options),
        **({"every": 0.0} | times),
    )


def method(channel: grpc.aio.Channel, kind: str = "unary_unary") -> Any:
    return getattr(channel, kind)(
        f"/test.v1.Peer/{kind}",
        request_serializer=StringValue.SerializeToString,
        response_deserializer=StringValue.FromString,
    )


async def who(channel: grpc.aio.Channel, kind: str = "unary_unary") -> int:
    """The serial number of the certificate that the server saw."""
    call = method(channel, kind)(
        iter([StringValue()]) if kind.startswith("stream") else StringValue(), timeout=20
    )
    if kind.endswith("stream"):
        (answer,) = [each async for each in call]
    else:
        answer = await call
    return int(answer.value)


async def until(true: Callable[[], Any]) -> None:
    """Wait until something holds; the time limit of the test is the end of it."""
    while True:
        found = true()
        if await found if asyncio.iscoroutine(found) else found:
            return
        await asyncio.sleep(0.01)


async def refused(target: str, credentials: grpc.ChannelCredentials) -> grpc.aio.AioRpcError:
    """The failure of a call over a channel with these credentials."""
    channel = grpc.aio.secure_channel(target, credentials)
    async with PeerChannel(channel) as peer:
        try:
            await who(peer)
        except grpc.aio.AioRpcError as error:
            return error
    raise AssertionError("the call went through")


def raw(folder: Path, *, show: Iterable[str] = ("tls.key", "tls.crt")) -> Any:
    """Credentials of files as they are, without a look at them."""
    shown = [(folder / name).read_bytes() for name in show]
    return grpc.ssl_channel_credentials((folder / "ca.crt").read_bytes(), *shown)

