"""TLS on real sockets: rotation without restart, mutual TLS, unusable files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from google.protobuf.wrappers_pb2 import StringValue

from services.model.errors import WorkspaceError
from services.rpc.channels import open_channel
from services.rpc.server import Listener, RpcServer
from services.rpc.tls import ClientTls, ServerTls
from tests.authority import Authority
from tests.unit.rpc.peer_certificates import DAY, TestAuthority, client_tls

SPIFFE = "spiffe://workspace.test/project"


class Peer:
    """Registered as test.v1.Peer; answers with what TLS says about the client."""

    async def Who(self, request: StringValue, context: Any) -> StringValue:  # noqa: N802
        names = context.auth_context().get("x509_subject_alternative_name", [b"nobody"])
        return StringValue(value=b",".join(names).decode())


def add_peer(servicer: Any, server: Any) -> None:
    handlers = {
        "Who": grpc.unary_unary_rpc_method_handler(
            servicer.Who, StringValue.FromString, StringValue.SerializeToString
        )
    }
    server.add_registered_method_handlers("test.v1.Peer", handlers)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "first")


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> ServerTls:
    tls = ServerTls(cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key")
    authority.issue(tls.cert_file, tls.key_file, x509.DNSName("localhost"))
    return tls


async def _serve(tls: ServerTls) -> tuple[RpcServer, str]:
    server = RpcServer(listeners=[Listener("127.0.0.1:0", tls)])
    server.register(add_peer, Peer())
    await server.start()
    return server, f"localhost:{server.ports[0]}"


async def _who(target: str, tls: ClientTls) -> str:
    async with open_channel(target, tls=tls) as channel:
        method = channel.unary_unary(
            "/test.v1.Peer/Who", StringValue.SerializeToString, StringValue.FromString
        )
        answer: StringValue = await method(StringValue())
        return answer.value


@pytest.fixture
async def served(files: ServerTls) -> AsyncIterator[str]:
    server, target = await _serve(files)
    yield target
    await server.stop()


async def test_replaced_certificate_is_served_without_restart(
    served: str, files: ServerTls, authority: Authority, tmp_path: Path
) -> None:
    assert await _who(served, ClientTls(ca_file=authority.ca_file)) == "nobody"
    other = Authority(tmp_path, "second")
    other.issue(files.cert_file, files.key_file, x509.DNSName("localhost"))
    assert await _who(served, ClientTls(ca_file=other.ca_file)) == "nobody"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _who(served, ClientTls(ca_file=authority.ca_file))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_half_replaced_files_keep_the_last_good_pair(
    served: str, files: ServerTls, authority: Authority, tmp_path: Path
) -> None:
    authority.issue(files.cert_file, tmp_path / "elsewhere.key", x509.DNSName("localhost"))
    assert await _who(served, ClientTls(ca_file=authority.ca_file)) == "nobody"
    files.key_file.unlink()
    assert await _who(served, ClientTls(ca_file=authority.ca_file)) == "nobody"


async def test_mutual_tls_names_the_client(
    files: ServerTls, authority: Authority, tmp_path: Path
) -> None:
    mutual = ServerTls(
        cert_file=files.cert_file, key_file=files.key_file, client_ca_file=authority.ca_file
    )
    server, target = await _serve(mutual)
    cert_file, key_file = tmp_path / "client.crt", tmp_path / "client.key"
    client = ClientTls(ca_file=authority.ca_file, cert_file=cert_file, key_file=key_file)
    authority.issue(cert_file, key_file, x509.UniformResourceIdentifier(SPIFFE))
    assert await _who(target, client) == SPIFFE
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _who(target, ClientTls(ca_file=authority.ca_file))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    Authority(tmp_path, "stranger").issue(
        cert_file, key_file, x509.UniformResourceIdentifier(SPIFFE)
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _who(target, client)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await server.stop()


def test_unusable_files_name_the_field(
    files: ServerTls, authority: Authority, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.write_text("not a certificate")
    foreign = tmp_path / "foreign.key"
    authority.issue(tmp_path / "foreign.crt", foreign, x509.DNSName("localhost"))
    cases = [
        ("cert_file", ServerTls(cert_file=tmp_path / "none", key_file=files.key_file)),
        ("cert_file", ServerTls(cert_file=text, key_file=files.key_file)),
        ("key_file", ServerTls(cert_file=files.cert_file, key_file=text)),
        ("key_file", ServerTls(cert_file=files.cert_file, key_file=foreign)),
        (
            "client_ca_file",
            ServerTls(cert_file=files.cert_file, key_file=files.key_file, client_ca_file=text),
        ),
    ]
    for field, tls in cases:
        with pytest.raises(WorkspaceError) as caught:
            tls.credentials()
        assert caught.value.metadata == {"field": field}


def test_client_certificate_needs_its_key(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="set both"):
        ClientTls(cert_file=tmp_path / "client.crt").credentials()


async def test_a_bad_replacement_is_told_once_and_not_at_each_connection(
    served: str,
    files: ServerTls,
    authority: Authority,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    authority.issue(files.cert_file, tmp_path / "elsewhere.key", x509.DNSName("localhost"))
    for _ in range(3):
        assert await _who(served, ClientTls(ca_file=authority.ca_file)) == "nobody"
    (line,) = [each.getMessage() for each in caplog.records if "not reloaded" in each.message]
    assert str(files.key_file) in line


async def test_an_expired_replacement_is_not_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A certificate that nobody accepts never takes the place of one that works."""
    ours = TestAuthority(tmp_path)
    ours.issue("identity", x509.DNSName("localhost"))
    folder = tmp_path / "identity"
    tls = ServerTls(cert_file=folder / "tls.crt", key_file=folder / "tls.key")
    client = ClientTls(ca_file=folder / "ca.crt")
    server, target = await _serve(tls)
    ours.issue("identity", x509.DNSName("localhost"), begin=-3 * DAY, days=1)
    assert await _who(target, client) == "nobody"
    assert "expired at" in caplog.text
    ours.issue("identity", x509.DNSName("elsewhere"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:  # a good one is taken again
        await _who(target, client)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await server.stop()


def test_channels_refuse_what_cannot_work(tmp_path: Path) -> None:
    ours = TestAuthority(tmp_path)
    for name in ("project", "sync"):
        ours.issue(name)
    own = tmp_path / "project"
    text = tmp_path / "text"
    text.write_text("not a certificate")
    good = client_tls(own)
    assert good.credentials() is not None
    cases = [
        ("ca_file", replace(good, ca_file=text)),
        ("ca_file", replace(good, ca_file=tmp_path / "none")),
        ("cert_file", replace(good, cert_file=text)),
        ("key_file", replace(good, key_file=text)),
        ("key_file", replace(good, key_file=tmp_path / "sync" / "tls.key")),
        ("cert_file", replace(good, cert_file=None)),
    ]
    for field, tls in cases:
        with pytest.raises(WorkspaceError) as caught:
            tls.credentials()
        assert caught.value.metadata == {"field": field}
