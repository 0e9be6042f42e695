"""`wm` and servers whose TLS is not as it expects: a sentence of what is wrong, and one of what
helps. The servers are real; nothing is registered on them."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.cli import main
from services.cli.describing import describe
from services.cli.exit_codes import ExitCode
from services.cli.failures import CliError
from services.cli.importing.put import http_client
from services.cli.importing.retry import with_retries
from services.cli.trust import Reached, split_address
from tests.authority import Authority

LOOP = "127.0.0.1"
LOCAL = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))


@pytest.fixture(autouse=True)
def _nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WM_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WM_TOKEN", "a.b.c")  # somebody, for whom any server may look
    for name in ("WM_SERVER", "WM_AS", "WM_CA", "WM_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


def issued(authority: Authority, *names: x509.GeneralName) -> tuple[Path, Path]:
    files = authority.folder / "tls.crt", authority.folder / "tls.key"
    authority.issue(*files, *(names or LOCAL))
    return files


@contextmanager
def grpc_server(
    files: tuple[Path, Path] | None = None, client_ca: Path | None = None
) -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(1))
    if files is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        pair = (files[1].read_bytes(), files[0].read_bytes())
        roots = client_ca.read_bytes() if client_ca else None
        credentials = grpc.ssl_server_credentials(
            [pair], roots, require_client_auth=roots is not None
        )
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@contextmanager
def https_server(files: tuple[Path, Path]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_args: object) -> None:
            """Not on the tests' output."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 8) -> str:
    assert main.run(["--server", *arguments, "whoami"]) == code
    text = capsys.readouterr().err
    assert "Ssl" not in text
    assert "SSL" not in text
    assert text.count("\n") == 2  # what, and what helps
    return text


def test_an_authority_that_nobody_named(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    with grpc_server(issued(authority)) as port:
        text = told(capsys, f"https://localhost:{port}")
    assert f"the certificate of https://localhost:{port} is of an authority" in text
    assert "--ca FILE, or WM_CA" in text


def test_an_authority_that_is_another(
    authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    other = Authority(tmp_path, "other").ca_file
    with grpc_server(issued(authority)) as port:
        assert f"is not of the authority in {other}" in told(
            capsys, f"localhost:{port}", "--ca", str(other)
        )
        monkeypatch.setenv("WM_CA", str(other))
        assert f"is not of the authority in {other}" in told(capsys, f"localhost:{port}")


def test_with_its_authority_it_is_spoken_to(
    authority: Authority, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has nothing to serve, and says so itself."""
    with grpc_server(issued(authority)) as port:
        for server in (f"localhost:{port}", f"https://127.0.0.1:{port}"):
            text = told(capsys, server, "--ca", str(authority.ca_file), code=1)
            assert "does not offer it" in text
        monkeypatch.setenv("WM_CA", str(authority.ca_file))
        told(capsys, f"localhost:{port}", code=1)


def test_a_certificate_for_another_name(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    files = issued(authority, x509.DNSName("gateway"), x509.DNSName("files.example.com"))
    with grpc_server(files) as port:
        for host in ("localhost", "127.0.0.1"):
            text = told(capsys, f"https://{host}:{port}", "--ca", str(authority.ca_file))
            assert "is for another name: gateway, files.example.com" in text
            assert "name the server as its certificate does" in text


@pytest.mark.parametrize(
    ("first", "last", "what"), [(-2, -1, "has expired"), (1, 2, "is not valid yet")]
)
def test_a_certificate_of_another_time(
    authority: Authority, capsys: pytest.CaptureFixture[str], first: int, last: int, what: str
) -> None:
    files = _valid(authority, first, last)
    with grpc_server(files) as port:
        text = told(capsys, f"https://localhost:{port}", "--ca", str(authority.ca_file))
    assert what in text
    assert "clock" in text


def test_plain_text_to_a_port_with_tls(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    with grpc_server(issued(authority)) as port:
        text = told(capsys, f"127.0.0.1:{port}")
    assert "speaks TLS, and was spoken to in plain text" in text
    assert f"--server https://127.0.0.1:{port}" in text


def test_tls_to_a_port_without(authority: Authority, capsys: pytest.CaptureFixture[str]) -> None:
    file = authority.ca_file
    with grpc_server() as port:
        for server, *more in ((f"https://{LOOP}:{port}",), (f"{LOOP}:{port}", "--ca", str(file))):
            text = told(capsys, server, *more)
            assert "does not speak TLS" in text
            assert "leave out https:// and --ca" in text


def test_the_https_port_is_not_the_one_of_grpc(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    with https_server(issued(authority)) as port:
        text = told(capsys, f"https://localhost:{port}", "--ca", str(authority.ca_file))
    assert "speaks HTTP, not gRPC" in text


def test_a_port_of_services_among_themselves(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    with grpc_server(issued(authority), authority.ca_file) as port:
        text = told(capsys, f"https://localhost:{port}", "--ca", str(authority.ca_file))
    assert "perhaps it wants a certificate of the client" in text
    assert "gateway" in text


@pytest.mark.parametrize(
    ("content", "what"), [(None, "no such file"), (b"no PEM", "no certificate")]
)
def test_an_authority_file_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, what: str
) -> None:
    file = tmp_path / "ca.crt"
    if content is not None:
        file.write_bytes(content)
    text = told(capsys, "https://localhost:1", "--ca", str(file), code=2)
    assert f"the authority file {file}: " in text
    assert what in text


async def test_files_of_the_workspace_are_trusted_by_its_authority_alone(
    authority: Authority, tmp_path: Path
) -> None:
    with https_server(issued(authority)) as port:
        url = f"https://localhost:{port}/a?X-Amz-Signature=secret"
        async with http_client(1, Reached("https://localhost:1", authority.ca_file)) as http:
            assert (await http.get(url)).content == b"hello"
        other = Authority(tmp_path, "other").ca_file
        for reached in (
            Reached("https://localhost:1"), Reached("https://localhost:1", other),
            Reached("https://127.0.0.1:1", authority.ca_file),  # of another host
        ):  # fmt: skip
            async with http_client(1, reached) as http:
                with pytest.raises(CliError) as refused:
                    await with_retries(lambda http=http: http.get(url), patience=60)  # type: ignore[misc]
            assert refused.value.failure.exit_code == ExitCode.UNAVAILABLE
            assert "the certificate of localhost is of an authority" in str(refused.value)
            assert "secret" not in str(refused.value.failure)


async def test_a_transfer_that_fails_is_told_without_its_url(authority: Authority) -> None:
    with https_server(issued(authority)) as port:
        url = f"https://localhost:{port}/a?X-Amz-Signature=secret"
    async with http_client(1, Reached("https://localhost:1", authority.ca_file)) as http:
        with pytest.raises(httpx.TransportError) as failed:
            await http.get(url)
    failure = describe(failed.value)
    assert (failure.exit_code, failure.message) == (8, "localhost does not answer")
    assert "secret" not in str(failure)


@pytest.mark.parametrize(
    ("address", "split"),
    [
        ("a.example:1", ("a.example", 1)), ("[::1]:2", ("::1", 2)), ("[::1]", ("::1", 443)),
        ("dns:///a.example:3", ("a.example", 3)), ("a.example", ("a.example", 443)),
    ],
)  # fmt: skip
def test_addresses(address: str, split: tuple[str, int]) -> None:
    assert split_address(address) == split


@pytest.mark.parametrize(
    ("server", "ca", "tls"),
    [
        ("127.0.0.1:1", None, False), ("localhost:1", None, False), ("unix:/s", None, False),
        ("https://127.0.0.1:1", None, True), ("a.example:1", None, True),
        ("127.0.0.1:1", "ca", True),
    ],
)  # fmt: skip
def test_where_tls_is_spoken(server: str, ca: str | None, tls: bool) -> None:
    assert Reached(server, Path(ca) if ca else None).tls is tls


def _valid(authority: Authority, first: int, last: int) -> tuple[Path, Path]:
    """A certificate for `localhost` from `first` to `last`, in days from now."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=first))
        .not_valid_after(now + datetime.timedelta(days=last))
        .add_extension(x509.SubjectAlternativeName(list(LOCAL)), critical=True)
        .sign(authority.key, hashes.SHA256())
    )
    files = authority.folder / "tls.crt", authority.folder / "tls.key"
    files[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )  # fmt: skip
    return files
