"""Mutual TLS on real sockets: who is refused, and rotation while calls go on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from google.protobuf.wrappers_pb2 import StringValue

from services.model.errors import WorkspaceError
from services.rpc.channels import PeerChannel, open_channel
from services.rpc.limits import Limits
from services.rpc.tls import ClientTls, ServerTls
from tests.unit.rpc.peer_certificates import (
    DAY,
    Peer,
    TestAuthority,
    client_tls,
    method,
    raw,
    refused,
    renewing,
    server_tls,
    serving,
    until,
    who,
)

KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]
LOOP_LIMITS = Limits(max_connection_age=0.2, max_connection_age_grace=20.0)
"""Connections end all the time, so new ones are made with what the files hold."""


@pytest.fixture
def authority(tmp_path: Path) -> TestAuthority:
    return TestAuthority(tmp_path)


@pytest.fixture
def server(tmp_path: Path, authority: TestAuthority) -> ServerTls:
    authority.issue("identity")
    return server_tls(tmp_path / "identity")


@pytest.fixture
def client(tmp_path: Path, authority: TestAuthority) -> ClientTls:
    authority.issue("project")
    return client_tls(tmp_path / "project")


def _unavailable(error: grpc.aio.AioRpcError) -> bool:
    return error.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.case("S02")
async def test_a_client_without_its_certificate_is_refused(
    server: ServerTls, client: ClientTls, tmp_path: Path
) -> None:
    async with serving(server) as target:
        assert _unavailable(await refused(target, raw(tmp_path / "project", show=())))
        async with open_channel(target, tls=client) as channel:
            assert await who(channel)


@pytest.mark.case("S05")
@pytest.mark.parametrize("begin", [-3 * DAY, DAY], ids=["expired", "not yet valid"])
async def test_a_client_outside_of_its_certificates_life_is_refused(
    server: ServerTls, authority: TestAuthority, tmp_path: Path, begin: Any
) -> None:
    authority.issue("project", begin=begin, days=1)
    with pytest.raises(WorkspaceError, match=r"tls\.crt: (expired at|is not valid before) 2"):
        open_channel("localhost:1", tls=client_tls(tmp_path / "project"))
    async with serving(server) as target:
        assert _unavailable(await refused(target, raw(tmp_path / "project")))
        serial = authority.issue("project")
        async with open_channel(target, tls=client_tls(tmp_path / "project")) as channel:
            assert await who(channel) == serial


@pytest.mark.case("S05")
async def test_a_client_of_another_authority_is_refused(
    server: ServerTls, client: ClientTls, tmp_path: Path
) -> None:
    other = TestAuthority(tmp_path / "other")
    other.folder.mkdir()
    other.issue("project")
    (other.folder / "project" / "ca.crt").write_bytes((tmp_path / "project/ca.crt").read_bytes())
    async with serving(server) as target:
        assert _unavailable(await refused(target, raw(other.folder / "project")))
        async with open_channel(target, tls=client) as channel:
            assert await who(channel)


@pytest.mark.case("S05")
async def test_a_server_of_another_authority_is_refused(
    server: ServerTls, client: ClientTls, tmp_path: Path
) -> None:
    other = TestAuthority(tmp_path / "other")
    other.folder.mkdir()
    other.issue("identity")
    (other.folder / "identity" / "ca.crt").write_bytes((tmp_path / "project/ca.crt").read_bytes())
    async with serving(server_tls(other.folder / "identity")) as target:
        assert _unavailable(await refused(target, raw(tmp_path / "project")))
    async with serving(server) as target, open_channel(target, tls=client) as channel:
        assert await who(channel)


@contextlib.asynccontextmanager
async def _serving_raw(folder: Path) -> AsyncIterator[str]:
    """A server that does not look at its own certificate."""
    pair = ((folder / "tls.key").read_bytes(), (folder / "tls.crt").read_bytes())
    credentials = grpc.ssl_server_credentials([pair], (folder / "ca.crt").read_bytes(), True)
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    Peer().add(None, server)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield f"localhost:{port}"
    finally:
        await server.stop(None)


@pytest.mark.case("S05")
async def test_a_server_with_an_expired_certificate_is_refused(
    client: ClientTls, authority: TestAuthority, tmp_path: Path
) -> None:
    authority.issue("identity", begin=-3 * DAY, days=1)
    with pytest.raises(WorkspaceError, match=r"tls\.crt: expired at"):
        server_tls(tmp_path / "identity").credentials()
    async with _serving_raw(tmp_path / "identity") as target:
        assert _unavailable(await refused(target, raw(tmp_path / "project")))
    authority.issue("identity")
    async with (
        _serving_raw(tmp_path / "identity") as target,
        open_channel(target, tls=client) as channel,
    ):
        assert await who(channel)


@pytest.mark.case("S05")
async def test_a_server_of_another_name_is_refused(
    client: ClientTls, authority: TestAuthority, tmp_path: Path
) -> None:
    """Its service identity does not help: the host of the target is what counts."""
    authority.issue("identity", x509.DNSName("identity"), x509.DNSName("localhost.elsewhere"))
    tls = server_tls(tmp_path / "identity")
    async with serving(tls) as target:
        assert _unavailable(await refused(target, raw(tmp_path / "project")))
        authority.issue("identity", x509.DNSName("localhost"))
        async with open_channel(target, tls=client) as channel:
            assert await who(channel)


class Load:
    """Callers that do not stop; `failures` is what went wrong."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.failures: list[BaseException] = []
        self.serials: list[int] = []
        self._channel = channel

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        tasks = [asyncio.create_task(self._call()) for _ in range(4)]
        yield self
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _call(self) -> None:
        while True:
            try:
                self.serials.append(await who(self._channel))
            except grpc.aio.AioRpcError as error:
                self.failures.append(error)

    async def more(self, count: int = 50) -> None:
        wanted = len(self.serials) + count
        await until(lambda: len(self.serials) >= wanted or self.failures)

    async def shows(self, serial: int) -> None:
        """Until the server has seen this certificate, and it alone from then on."""
        await until(lambda: self.serials[-20:] == [serial] * 20 or self.failures)


async def test_the_servers_certificate_changes_under_load(
    server: ServerTls, client: ClientTls, authority: TestAuthority
) -> None:
    peer = Peer()
    async with (
        serving(server, peer=peer, limits=LOOP_LIMITS) as target,
        renewing(target, client) as channel,
        Load(channel).running() as load,
    ):
        for _ in range(3):
            serial = authority.issue("identity")
            peer.connections.clear()
            assert await asyncio.to_thread(_served, target, client) == serial
            await until(lambda: len(peer.connections) > 1 or load.failures)
    assert load.failures == []


def _served(target: str, tls: ClientTls) -> int:
    """The serial number of the certificate of a server."""
    assert tls.cert_file is not None
    host, _, port = target.partition(":")
    context = ssl.create_default_context(cafile=tls.ca_file)
    context.load_cert_chain(tls.cert_file, tls.key_file)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port))) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        pem = connection.getpeercert(binary_form=True)
        assert pem is not None
        return x509.load_der_x509_certificate(pem).serial_number


async def test_the_clients_certificate_changes_under_load(
    server: ServerTls, client: ClientTls, authority: TestAuthority
) -> None:
    async with serving(server) as target, renewing(target, client) as channel:
        async with Load(channel).running() as load:
            await load.more()
            for _ in range(3):
                await load.shows(authority.issue("project"))
        await until(lambda: not channel._retiring)
    assert load.failures == []
    assert len(set(load.serials)) == 4


async def test_the_authority_changes_under_load(
    server: ServerTls, client: ClientTls, authority: TestAuthority, tmp_path: Path
) -> None:
    """First both are trusted, then the certificates change, then the old one goes."""
    folders = [tmp_path / "identity", tmp_path / "project"]
    new = TestAuthority(tmp_path)
    async with serving(server, limits=LOOP_LIMITS) as target:
        async with renewing(target, client) as channel, Load(channel).running() as load:
            for folder in folders:
                (folder / "ca.crt").write_bytes(authority.pem + new.pem)
            await load.more()
            new.issue("identity")
            serial = new.issue("project")
            await load.shows(serial)
            for folder in folders:
                (folder / "ca.crt").write_bytes(new.pem)
            await load.more()
        assert load.failures == []
        authority.issue("old")
        (tmp_path / "old" / "ca.crt").write_bytes(new.pem)
        assert _unavailable(await refused(target, raw(tmp_path / "old")))
        (tmp_path / "project" / "ca.crt").write_bytes(authority.pem)
        assert _unavailable(await refused(target, raw(tmp_path / "project")))
        (tmp_path / "project" / "ca.crt").write_bytes(new.pem)
        async with open_channel(target, tls=client) as control:
            assert await who(control) == serial


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_call_follows_the_files(
    server: ServerTls, client: ClientTls, authority: TestAuthority, kind: str
) -> None:
    async with serving(server) as target, PeerChannel(renewing(target, client)) as peer:
        first = await who(peer, kind)
        second = authority.issue("project")
        await until(lambda: _is(second, peer, kind))
        assert first != second


async def _is(serial: int, channel: grpc.aio.Channel, kind: str = "unary_unary") -> bool:
    return await who(channel, kind) == serial


async def test_a_channel_as_it_is_opened_follows_the_files(
    server: ServerTls, client: ClientTls, authority: TestAuthority
) -> None:
    async with serving(server) as target, open_channel(target, tls=client) as channel:
        stub = method(channel)
        first = (await stub(StringValue())).value
        second = str(authority.issue("project"))

        async def changed() -> bool:
            return bool((await stub(StringValue())).value == second)

        await until(changed)
        assert first != second


async def test_a_stream_ends_on_the_channel_it_began_on(
    server: ServerTls, client: ClientTls, authority: TestAuthority
) -> None:
    async with serving(server) as target, renewing(target, client) as channel:
        stream = method(channel, "stream_stream")()
        await stream.write(StringValue())
        first = (await stream.read()).value
        second = authority.issue("project")
        await until(lambda: _is(second, channel))
        await stream.write(StringValue())
        assert (await stream.read()).value == first
        assert len(channel._retiring) == 1
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK
        await until(lambda: not channel._retiring)


async def test_a_stream_does_not_keep_an_old_channel_for_ever(
    server: ServerTls, client: ClientTls, authority: TestAuthority
) -> None:
    async with serving(server) as target, renewing(target, client, linger=0.05) as channel:
        stream = method(channel, "stream_stream")()
        await stream.write(StringValue())
        await stream.read()
        second = authority.issue("project")
        await until(lambda: _is(second, channel))
        assert await stream.code() is grpc.StatusCode.CANCELLED
        await until(lambda: not channel._retiring)


async def test_closing_ends_old_channels_too(
    server: ServerTls, client: ClientTls, authority: TestAuthority
) -> None:
    async with serving(server) as target:
        channel = renewing(target, client)
        stream = method(channel, "stream_stream")()
        await stream.write(StringValue())
        await stream.read()
        second = authority.issue("project")
        await until(lambda: _is(second, channel))
        await channel.close()
        assert await stream.code() is grpc.StatusCode.CANCELLED
        with pytest.raises(grpc.aio.UsageError):
            await who(channel)


async def test_a_bad_replacement_is_logged_once_and_the_last_good_one_kept(
    server: ServerTls,
    client: ClientTls,
    authority: TestAuthority,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    key = (tmp_path / "project" / "tls.key").read_text()
    async with serving(server) as target, renewing(target, client) as channel:
        first = await who(channel)
        authority.issue("stranger")
        (tmp_path / "project" / "tls.key").write_bytes(
            (tmp_path / "stranger" / "tls.key").read_bytes()
        )
        with caplog.at_level(logging.WARNING):
            for _ in range(5):
                assert await who(channel) == first
        (line,) = [each.getMessage() for each in caplog.records]
        assert "tls.key: is not the key of the certificate" in line
        assert key.splitlines()[1] not in caplog.text
        second = authority.issue("project")
        await until(lambda: _is(second, channel))


async def test_while_new_files_do_not_connect_calls_stay_on_what_works(
    server: ServerTls, client: ClientTls, authority: TestAuthority, tmp_path: Path
) -> None:
    """The client has a certificate of an authority that the server does not know yet."""
    new = TestAuthority(tmp_path)
    async with serving(server) as target, renewing(target, client) as channel:
        first = await who(channel)
        second = new.issue("project")
        await until(lambda: _has_failed(channel))
        assert await who(channel) == first
        (tmp_path / "identity" / "ca.crt").write_bytes(authority.pem + new.pem)
        await until(lambda: _is(second, channel))


def _has_failed(channel: Any) -> bool:
    channel.current()
    candidate = channel._candidate
    failed = grpc.ChannelConnectivity.TRANSIENT_FAILURE
    return candidate is not None and candidate.channel.get_state() is failed


async def test_in_the_end_the_files_win(
    server: ServerTls, client: ClientTls, tmp_path: Path
) -> None:
    """A trust that was taken away has to end, even if connections of before work."""
    async with serving(server) as target, renewing(target, client, patience=0.05) as channel:
        assert await who(channel)
        (tmp_path / "project" / "ca.crt").write_bytes(TestAuthority(tmp_path).pem)
        errors: list[grpc.aio.AioRpcError] = []

        async def fails() -> bool:
            try:
                await who(channel)
            except grpc.aio.AioRpcError as error:
                errors.append(error)
            return bool(errors)

        await until(fails)
        assert _unavailable(errors[0])


async def test_waiting_for_a_peer_notices_new_files(
    server: ServerTls, authority: TestAuthority, tmp_path: Path
) -> None:
    stranger = TestAuthority(tmp_path)
    stranger.issue("project")
    failed = grpc.ChannelConnectivity.TRANSIENT_FAILURE
    async with (
        serving(server) as target,
        renewing(target, client_tls(tmp_path / "project"), every=0.05) as channel,
    ):
        ready = asyncio.create_task(channel.channel_ready())
        await until(lambda: channel.get_state() is failed)
        assert not ready.done()
        (tmp_path / "project" / "ca.crt").write_bytes(authority.pem)
        serial = authority.issue("project")
        await ready
        assert await who(channel) == serial


async def test_a_channel_says_as_which_service_it_calls(
    server: ServerTls, client: ClientTls
) -> None:
    peer = Peer()
    async with serving(server, peer=peer) as target:
        async with open_channel(target, tls=client, asking="project_svc") as channel:
            forwarded = (("x-workspace-service", "identity_svc"), ("x-own", "1"))
            await method(channel)(StringValue(), metadata=forwarded)
        claims = [value for key, value in peer.metadata if key == "x-workspace-service"]
        assert claims == ["project_svc"]
        assert ("x-own", "1") in peer.metadata
        async with open_channel(target, tls=client) as channel:
            await method(channel)(StringValue(), metadata=forwarded)
        assert "x-workspace-service" not in dict(peer.metadata)
