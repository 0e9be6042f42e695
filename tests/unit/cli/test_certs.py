"""`wm certs`: what it makes works for mutual TLS, and it never takes what is not its own."""

from __future__ import annotations

import datetime
import json
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from services.cli.exit_codes import ExitCode
from services.cli.main import run
from services.processes.targets import Target
from services.rpc.channels import open_channel
from services.tls_authority.authority import DevelopmentAuthority
from tests.unit.rpc.peer_certificates import TestAuthority, client_tls, server_tls, serving, who

Capture = pytest.CaptureFixture[str]
NAMES = ("tls.crt", "tls.key", "ca.crt")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("WM_PEER_TRUST_DOMAIN", raising=False)
    return tmp_path / "made" / "certs"


def _certs(folder: Path, *arguments: str) -> int:
    return run(["certs", str(folder), *arguments])


def _json(folder: Path, capsys: Capture, *arguments: str) -> Any:
    capsys.readouterr()
    assert _certs(folder, *arguments, "--json") == ExitCode.OK
    return json.loads(capsys.readouterr().out)


def _leaf(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "tls.crt").read_bytes())


def _names(folder: Path) -> list[str]:
    names = _leaf(folder).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sorted(str(name.value) for name in names)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _states(answer: Any) -> dict[str, str]:
    return {each["name"]: each["state"] for each in answer["certificates"]}


def test_a_folder_for_each_target(folder: Path, capsys: Capture) -> None:
    assert _certs(folder) == ExitCode.OK
    shown = capsys.readouterr().out
    assert "development" in shown
    assert f"WM_TLS_CERTIFICATE={folder}/TARGET/tls.crt" in shown
    assert sorted(_content(folder)) == sorted(
        ["ca.crt", "ca.key", *(f"{target}/{name}" for target in Target for name in NAMES)]
    )
    for target in Target:
        assert _names(folder / target) == sorted(
            [target, "localhost", "127.0.0.1", "::1", f"spiffe://workspace/{target}"]
        )
        assert (folder / target / "ca.crt").read_bytes() == (folder / "ca.crt").read_bytes()


def test_only_the_owner_reads_keys(folder: Path) -> None:
    _certs(folder)
    for path in (folder, *folder.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        expected = 0o700 if path.is_dir() else 0o600 if path.suffix == ".key" else 0o644
        assert (path, oct(mode)) == (path, oct(expected))


def test_the_profile_of_certificates(folder: Path) -> None:
    _certs(folder, "--days", "30")
    now = datetime.datetime.now(datetime.UTC)
    ca = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    leaf = _leaf(folder / "project")
    leaf.verify_directly_issued_by(ca)
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(purposes) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (
        True, True, 0,
    )  # fmt: skip
    assert leaf.not_valid_before_utc < now - datetime.timedelta(minutes=4)
    assert leaf.not_valid_after_utc.date() in _around(now + datetime.timedelta(days=30))
    assert ca.not_valid_after_utc.date() in _around(now + datetime.timedelta(days=3650))
    serials = {_leaf(folder / target).serial_number for target in Target}
    assert len(serials) == len(Target)
    assert min(serials) > 2**64


def _around(time: datetime.datetime) -> set[datetime.date]:
    return {(time + datetime.timedelta(minutes=m)).date() for m in (-5, 5)}


async def test_what_it_makes_works_for_mutual_tls(folder: Path, tmp_path: Path) -> None:
    """The checks are those of gRPC and of OpenSSL, strictly by RFC 5280."""
    _certs(folder)
    async with (
        serving(server_tls(folder / "identity")) as target,
        open_channel(target, tls=client_tls(folder / "project")) as channel,
    ):
        assert await who(channel) == _leaf(folder / "project").serial_number
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    _shake_hands(folder / "gateway", context)


def _shake_hands(folder: Path, client: ssl.SSLContext) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    done: set[int] = set()
    while len(done) < 2:
        for number, side in enumerate(sides):
            try:
                side.do_handshake()
                done.add(number)
            except ssl.SSLWantReadError:
                continue


def test_again_keeps_everything(folder: Path, capsys: Capture) -> None:
    _certs(folder)
    before = _content(folder)
    answer = _json(folder, capsys)
    assert answer["authority"]["state"] == "kept"
    assert set(_states(answer).values()) == {"kept"}
    assert _content(folder) == before


def test_renewal_keeps_the_authority(folder: Path, capsys: Capture) -> None:
    _certs(folder)
    before = _content(folder)
    answer = _json(folder, capsys, "--renew")
    assert set(_states(answer).values()) == {"renewed"}
    after = _content(folder)
    same = {name for name in after if before[name] == after[name]}
    assert same == {"ca.crt", "ca.key", *(f"{target}/ca.crt" for target in Target)}


def test_what_ends_soon_is_renewed(folder: Path, capsys: Capture) -> None:
    _certs(folder, "--days", "30")
    now = datetime.datetime.now(datetime.UTC)
    early, late = (now + datetime.timedelta(days=days) for days in (19, 21))
    authority = DevelopmentAuthority.open(folder, now=now)
    for time, expected in ((early, "kept"), (late, "renewed"), (late, "kept")):
        issued = authority.provide(authority.held(), days=30, renew=False, now=time)
        assert {each.state for each in issued} == {expected}


def test_names_are_added_and_stay(folder: Path, capsys: Capture) -> None:
    _certs(folder, "--name", "ws.example.com", "--name", "192.0.2.7")
    answer = _json(folder, capsys, "--dns", "identity=identity.ws.svc.cluster.local")
    changed = {name for name, state in _states(answer).items() if state == "renewed"}
    assert changed == {"identity"}
    _json(folder, capsys, "--renew")
    assert {"ws.example.com", "192.0.2.7"} <= set(_names(folder / "gateway"))
    assert "identity.ws.svc.cluster.local" in _names(folder / "identity")
    assert "ws.example.com" not in _names(folder / "identity")


def test_another_trust_domain_replaces_the_names_of_services(folder: Path) -> None:
    _certs(folder, "--process", "api=identity,project")
    _certs(folder, "--trust-domain", "example.org")
    uris = [name for name in _names(folder / "api") if name.startswith("spiffe:")]
    assert uris == ["spiffe://example.org/identity", "spiffe://example.org/project"]
    assert "spiffe://workspace/sync" not in _names(folder / "sync")


def test_one_certificate_for_a_process_of_several_targets(folder: Path, capsys: Capture) -> None:
    answer = _json(folder, capsys, "--process", "api=identity,project")
    assert _states(answer)["api"] == "made"
    assert {"api", "identity", "project", "spiffe://workspace/project"} <= set(
        _names(folder / "api")
    )
    assert _states(_json(folder, capsys, "--renew"))["api"] == "renewed"


def test_a_run_that_was_cut_short_is_mended(folder: Path, capsys: Capture) -> None:
    _certs(folder)
    (folder / "sync" / "tls.key").write_bytes((folder / "relay" / "tls.key").read_bytes())
    answer = _json(folder, capsys)
    (mended,) = [each for each in answer["certificates"] if each["state"] == "renewed"]
    assert (mended["name"], mended["why"]) == ("sync", "tls.key was not its key")
    assert set(_states(_json(folder, capsys)).values()) == {"kept"}


def _foreign_leaf(folder: Path) -> None:
    other = TestAuthority(folder.parent)
    other.issue("project")
    for name in NAMES:
        (folder / "project" / name).write_bytes((folder.parent / "project" / name).read_bytes())


def _foreign_authority(folder: Path) -> None:
    (folder / "ca.crt").write_bytes(TestAuthority(folder.parent).pem)


def _linked(folder: Path) -> None:
    victim = folder.parent / "victim"
    (folder / "project" / "tls.key").replace(victim)
    (folder / "project" / "tls.key").symlink_to(victim)


def _linked_folder(folder: Path) -> None:
    (folder / "project").rename(folder.parent / "elsewhere")
    (folder / "project").symlink_to(folder.parent / "elsewhere")


def _something_else(folder: Path) -> None:
    for name in NAMES:
        (folder / "project" / name).unlink()
    (folder / "project" / "notes.txt").write_text("mine")


SPOILT: dict[str, Any] = {
    "a certificate of another authority": _foreign_leaf,
    "another authority": _foreign_authority,
    "no authority key": lambda folder: (folder / "ca.key").unlink(),
    "no authority": lambda folder: (folder / "ca.crt").unlink(),
    "an open authority key": lambda folder: (folder / "ca.key").chmod(0o644),
    "the key of another": lambda folder: (folder / "ca.key").write_bytes(
        (folder / "sync" / "tls.key").read_bytes()
    ),
    "no certificate": lambda folder: (folder / "project" / "tls.crt").write_text("mine"),
    "a key alone": lambda folder: [
        (folder / "project" / name).unlink() for name in ("tls.crt", "ca.crt")
    ],
    "a link": _linked,
    "a linked folder": _linked_folder,
    "something else": _something_else,
    "a foreign bundle": lambda folder: (folder / "project" / "ca.crt").write_bytes(
        TestAuthority(folder.parent).pem
    ),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_what_it_did_not_make_is_refused_and_left(
    spoil: Any, folder: Path, capsys: Capture
) -> None:
    _certs(folder)
    key = (folder / "ca.key").read_text().splitlines()[1]
    spoil(folder)
    before = _content(folder.parent)
    assert _certs(folder, "--renew") == ExitCode.PRECONDITION
    assert _content(folder.parent) == before
    said = capsys.readouterr()
    assert "wm: " in said.err
    assert key not in said.err + said.out
    assert "Traceback" not in said.err


def test_an_empty_folder_is_taken(folder: Path) -> None:
    """Docker makes folders that it is to mount."""
    (folder / "project").mkdir(parents=True)
    (folder / "unrelated").mkdir()
    assert _certs(folder) == ExitCode.OK
    assert _leaf(folder / "project").serial_number
    assert list((folder / "unrelated").iterdir()) == []


def test_a_bundle_of_two_authorities_stays(folder: Path) -> None:
    _certs(folder)
    bundle = (folder / "ca.crt").read_bytes() + TestAuthority(folder).pem
    (folder / "project" / "ca.crt").write_bytes(bundle)
    assert _certs(folder, "--renew") == ExitCode.OK
    assert (folder / "project" / "ca.crt").read_bytes() == bundle


@pytest.mark.parametrize(
    "arguments",
    [
        ["--name", "not a host"],
        ["--name", "a..b"],
        ["--name", "spiffe://workspace/project"],
        ["--dns", "identity"],
        ["--dns", "nobody=host"],
        ["--dns", "identity="],
        ["--process", "api"],
        ["--process", "api=nobody"],
        ["--process", "../api=project"],
        ["--process", "sync=project"],
        ["--trust-domain", "Example/.org"],
        ["--days", "0"],
        ["--days", "9999"],
    ],
    ids=" ".join,
)
def test_bad_arguments_make_nothing(arguments: list[str], folder: Path, capsys: Capture) -> None:
    assert _certs(folder, *arguments) == ExitCode.USAGE
    assert "Traceback" not in capsys.readouterr().err
    assert not folder.exists()
