from __future__ import annotations

import datetime
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.model.errors import Reason, WorkspaceError
from services.rpc.authentication import SERVICE_HEADER, peer_service
from services.rpc.context import current_call
from services.rpc.headers import MAX_AUTHORIZATION_BYTES, bearer_of, unauthenticated
from tests.unit.rpc.interceptor_harness import GOOD, KINDS, SIGNED_IN, Echo, reason_of

LOCAL = {"transport_security_type": [b"local"], "workspace_service": [b"project_svc"]}
TLS = {"transport_security_type": [b"ssl"]}
SPIFFE = "spiffe://test/project"
SYNC = "spiffe://test/sync"
SERVICES = {SPIFFE: "project_svc", SYNC: "sync_svc"}


@pytest.fixture(autouse=True, params=["socket", "local"])
def _transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Echo, "local", request.param == "local")


def _bearer(value: Any, key: str = "authorization") -> tuple[tuple[str, Any], ...]:
    return ((key, value),)


@pytest.mark.parametrize(
    "metadata",
    [
        _bearer(""),
        _bearer(GOOD),
        _bearer("Bearer"),
        _bearer("Bearer "),
        _bearer(f"Basic {GOOD}"),
        _bearer(f"Bearer {GOOD} x"),
        _bearer(f"Bearer {GOOD}, Bearer {GOOD}"),
        _bearer(f" Bearer {GOOD}"),
        _bearer(f"Bearer\t{GOOD}"),
        _bearer(f"Bearer {GOOD}\n"),
        _bearer("Bearer tökén"),
        _bearer(b"Bearer good-token"),
        _bearer("Bearer " + "a" * (MAX_AUTHORIZATION_BYTES - 6)),
        SIGNED_IN + SIGNED_IN,
    ],
)
@pytest.mark.case("T01", "T07", "T17")
def test_anything_but_one_bearer_token_is_refused(
    metadata: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "workspace.audit")
    with pytest.raises(WorkspaceError) as caught:
        bearer_of(metadata)
    (record,) = caplog.records
    assert vars(record)["check"] == "authorization"
    assert GOOD not in str(vars(record))
    assert caught.value.reason == Reason.ERROR_REASON_UNAUTHENTICATED
    assert caught.value.message == unauthenticated().message


def test_the_bearer_token() -> None:
    assert bearer_of(()) == ""
    assert bearer_of(_bearer(f"bEARER {GOOD}")) == GOOD
    longest = "a" * (MAX_AUTHORIZATION_BYTES - 7)
    assert bearer_of(_bearer("Bearer " + longest)) == longest


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metadata", [(), _bearer("Bearer other"), SIGNED_IN + SIGNED_IN])
async def test_no_handler_runs_without_a_verified_user(kind: str, metadata: Any) -> None:
    async with Echo().running() as echo:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.call(kind, metadata=metadata)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert caught.value.details() == unauthenticated().message
    assert echo.handled == 0


async def test_public_methods_never_judge_a_token() -> None:
    async with Echo().running() as echo:
        await echo.call("Open", metadata=_bearer("Bearer other"))
        await echo.call("Open", metadata=())
    assert (echo.handled, echo.gate.seen) == (2, [])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("boom"), "UNAUTHENTICATED"),
        (WorkspaceError(Reason.ERROR_REASON_BACKEND_UNAVAILABLE, "no keys"), "BACKEND_UNAVAILABLE"),
        (TimeoutError(), "DEADLINE_EXCEEDED"),
    ],
)
async def test_an_authenticator_that_fails_lets_nobody_in(error: Exception, reason: str) -> None:
    async with Echo().running() as echo:
        echo.gate.error = error
        for method in ("UnaryUnary", "Either", "Internal"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await echo.call(method)
            assert reason_of(caught.value) == reason
            assert "boom" not in str(caught.value.details())
    assert echo.handled == 0


@pytest.mark.parametrize("answer", [None, True, "u_1"])
async def test_an_answer_that_is_no_caller_lets_nobody_in(answer: object) -> None:
    async with Echo().running() as echo:
        echo.gate.answer = answer
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.call("UnaryUnary")
    assert reason_of(caught.value) == "UNAUTHENTICATED"
    assert echo.handled == 0


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (WorkspaceError(Reason.ERROR_REASON_USER_DISABLED, "disabled"), "USER_DISABLED"),
        (WorkspaceError(Reason.ERROR_REASON_UNAUTHENTICATED, "revoked at 3"), "UNAUTHENTICATED"),
        (ValueError("boom"), "INTERNAL"),
    ],
)
async def test_admission_refuses(refusal: Exception, reason: str) -> None:
    async with Echo().running() as echo:
        echo.gate.refusal = refusal
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.call("UnaryUnary")
    assert reason_of(caught.value) == reason
    assert "revoked" not in str(caught.value.details())
    assert echo.handled == 0


@pytest.mark.case("S05")
@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ({}, ""),
        (LOCAL, "project_svc"),
        ({**LOCAL, "transport_security_type": [b"insecure"]}, ""),
        ({**LOCAL, "transport_security_type": [b"ssl"]}, ""),
        ({**LOCAL, "transport_security_type": [b"local", b"ssl"]}, ""),
        ({"workspace_service": [b"project_svc"]}, ""),
        ({**LOCAL, "workspace_service": [b"project_svc", b"sync_svc"]}, ""),
        ({**TLS, "peer_uri": [b"https://elsewhere", SPIFFE.encode()]}, "project_svc"),
        ({**TLS, "peer_uri": [SPIFFE.encode() + b"/x"]}, ""),
        ({**TLS, "peer_uri": [SPIFFE.encode() + b"/"]}, ""),
        ({**TLS, "peer_uri": [SPIFFE.upper().encode()]}, ""),
        ({**TLS, "peer_uri": [b"spiffe://other/project"]}, ""),
        ({**TLS, "peer_uri": [SPIFFE.encode() + b"\xff"]}, ""),
        ({**TLS, "peer_dns": [SPIFFE.encode()]}, ""),
        ({**TLS, "x509_subject_alternative_name": [SPIFFE.encode()]}, ""),
        ({"peer_uri": [SPIFFE.encode()]}, ""),
        ({"peer_uri": [SPIFFE.encode()], "transport_security_type": [b"insecure"]}, ""),
        ({"transport_security_type": [b"ssl"], "x509_common_name": [SPIFFE.encode()]}, ""),
    ],
)
def test_the_service_of_a_peer(auth: dict[str, list[bytes]], expected: str) -> None:
    assert peer_service(auth, {SPIFFE: "project_svc"}, _claim("project_svc")) == expected


def _claim(*names: str | bytes) -> list[tuple[str, str | bytes]]:
    return [(SERVICE_HEADER, name) for name in names]


@pytest.mark.case("S05")
@pytest.mark.parametrize(
    ("proved", "claims", "expected"),
    [
        ([SPIFFE], [], ""),
        ([SPIFFE], ["project_svc"], "project_svc"),
        ([SPIFFE], ["sync_svc"], ""),
        ([SPIFFE], [""], ""),
        ([SPIFFE, SYNC], [], ""),
        ([SPIFFE, SYNC], ["project_svc"], "project_svc"),
        ([SPIFFE, SYNC], ["sync_svc"], "sync_svc"),
        ([SPIFFE, SYNC], ["storage_svc"], ""),
        ([SPIFFE, SYNC], ["project_svc", "sync_svc"], ""),
        ([SPIFFE, SYNC], ["sync_svc", "sync_svc"], ""),
        ([SPIFFE, SYNC], ["project_svc,sync_svc"], ""),
        ([SPIFFE, SYNC], ["SYNC_SVC"], ""),
        ([SPIFFE, SYNC], [" sync_svc"], ""),
        ([SPIFFE, SYNC], [SYNC], ""),
        ([SPIFFE, SYNC], [b"sync_svc"], ""),
        ([], ["project_svc"], ""),
        (["spiffe://other/project"], ["project_svc"], ""),
    ],
)
def test_a_claim_chooses_among_what_is_proved(
    proved: list[str], claims: list[str | bytes], expected: str
) -> None:
    auth = {**TLS, "peer_uri": [name.encode() for name in proved]}
    assert peer_service(auth, SERVICES, _claim(*claims)) == expected


def test_a_claim_is_nothing_without_a_certificate() -> None:
    for transport in ({}, TLS, {"transport_security_type": [b"insecure"]}):
        assert peer_service(transport, SERVICES, _claim("project_svc")) == ""


def test_in_process_a_claim_does_not_matter() -> None:
    for claims in (_claim("sync_svc"), _claim("sync_svc", "project_svc"), _claim("")):
        assert peer_service(LOCAL, SERVICES, claims) == "project_svc"
    assert peer_service({"transport_security_type": [b"local"]}, SERVICES, _claim("x")) == ""


@pytest.mark.case("S03", "S04")
async def test_metadata_never_makes_a_service() -> None:
    claims = (
        ("workspace_service", "project_svc"),
        ("x-workspace-service", "project_svc"),
        ("transport_security_type", "local"),
    )
    async with Echo().running() as echo:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.call("Internal", metadata=SIGNED_IN + claims)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert echo.handled == 0


class Authority:
    """A certificate authority for one test."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.pem = self._sign(self._name, self._key.public_key(), [], ca=True)

    def _sign(self, subject: x509.Name, key: Any, names: list[Any], *, ca: bool) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        cert = builder.sign(self._key, hashes.SHA256())
        return cert.public_bytes(serialization.Encoding.PEM)

    def issue(self, common_name: str, *names: Any) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return pem, self._sign(subject, key.public_key(), list(names), ca=False)


@pytest.mark.case("S01", "S05")
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([x509.UniformResourceIdentifier(SPIFFE)], "project_svc"),
        ([x509.UniformResourceIdentifier(SPIFFE + "2")], ""),
        ([x509.DNSName(SPIFFE)], ""),
        ([x509.RFC822Name(SPIFFE)], ""),
        ([], ""),
    ],
)
async def test_mutual_tls_names_the_service(names: list[Any], expected: str) -> None:
    seen = []

    async def act(request: object, context: object) -> object:
        seen.append((current_call().service, current_call().user_id))
        return request

    ca = Authority()
    server = grpc.ssl_server_credentials(
        [ca.issue("server", x509.DNSName("localhost"))], ca.pem, require_client_auth=True
    )
    key, cert = ca.issue(SPIFFE, *names)  # the common name alone must not do
    client = grpc.ssl_channel_credentials(ca.pem, key, cert)
    echo = Echo(act, services={SPIFFE: "project_svc"})
    async with echo.running(server_credentials=server, channel_credentials=client):
        spoken = ((SERVICE_HEADER, "project_svc"),)
        if expected:
            await echo.call("Internal", metadata=spoken)
            await echo.call("Internal", metadata=(*SIGNED_IN, *spoken))
            await echo.call("Either", metadata=spoken)
        else:
            for metadata in (spoken, (*SIGNED_IN, *spoken)):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await echo.call("Internal", metadata=metadata)
                assert reason_of(caught.value) == "PERMISSION_DENIED"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.call("UnaryUnary", metadata=())  # a service is nobody's user
        assert reason_of(caught.value) == "UNAUTHENTICATED"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.call("Internal", metadata=(*_bearer("Bearer other"), *spoken))
        assert reason_of(caught.value) == "UNAUTHENTICATED"
    known = [("project_svc", ""), ("project_svc", "u_1"), ("project_svc", "")]
    assert seen == (known if expected else [])


@pytest.mark.case("S04")
@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        (("project_svc",), "project_svc"),
        (("sync_svc",), ""),
        (("identity_svc",), ""),
        (("project_svc", "project_svc"), ""),
        ((), ""),
    ],
)
async def test_a_certificate_of_two_services_speaks_as_one(
    claims: tuple[str, ...], expected: str
) -> None:
    """Only project_svc may call Internal."""
    seen = []

    async def act(request: object, context: object) -> object:
        seen.append(current_call().service)
        return request

    ca = Authority()
    server = grpc.ssl_server_credentials(
        [ca.issue("server", x509.DNSName("localhost"))], ca.pem, require_client_auth=True
    )
    names = [x509.UniformResourceIdentifier(name) for name in (SPIFFE, SYNC)]
    key, cert = ca.issue("client", *names)
    client = grpc.ssl_channel_credentials(ca.pem, key, cert)
    echo = Echo(act, services=SERVICES)
    metadata = tuple((SERVICE_HEADER, claim) for claim in claims)
    async with echo.running(server_credentials=server, channel_credentials=client):
        if expected:
            await echo.call("Internal", metadata=metadata)
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await echo.call("Internal", metadata=metadata)
            assert reason_of(caught.value) == "PERMISSION_DENIED"
    assert seen == ([expected] if expected else [])
