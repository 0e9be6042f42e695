"""Readiness looks at the certificate: what is wrong with it is said, with the file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from prometheus_client import CollectorRegistry

from services.model.errors import WorkspaceError
from services.rpc.certificate_watch import CertificateProbe
from tests.unit.rpc.peer_certificates import DAY, TestAuthority, uri

PROJECT = "spiffe://workspace/project"
GAUGE = "workspace_certificate_expires_seconds"
_DAY = DAY.total_seconds()


@pytest.fixture
def authority(tmp_path: Path) -> TestAuthority:
    found = TestAuthority(tmp_path)
    found.issue("project")
    return found


def probe_of(folder: Path, **more: Any) -> CertificateProbe:
    names = more.pop("names", frozenset({PROJECT}))
    return CertificateProbe(
        folder / "tls.crt", folder / "tls.key", folder / "ca.crt", names, **more
    )


async def _says(probe: CertificateProbe) -> str:
    with pytest.raises(WorkspaceError) as caught:
        await probe()
    return caught.value.message


async def test_a_good_one_is_fine(authority: TestAuthority, tmp_path: Path) -> None:
    await probe_of(tmp_path / "project")()
    await CertificateProbe(tmp_path / "project" / "tls.crt", tmp_path / "project" / "tls.key")()


def _foreign_key(authority: TestAuthority, folder: Path) -> None:
    authority.issue("other")
    (folder / "tls.key").write_bytes((authority.folder / "other" / "tls.key").read_bytes())


BROKEN: list[tuple[str, str, Callable[[TestAuthority, Path], object]]] = [
    ("tls.crt", "No such file", lambda _, folder: (folder / "tls.crt").unlink()),
    ("tls.key", "No such file", lambda _, folder: (folder / "tls.key").unlink()),
    ("ca.crt", "No such file", lambda _, folder: (folder / "ca.crt").unlink()),
    ("tls.crt", "is not an unencrypted PEM", lambda _, f: (f / "tls.crt").write_text("x")),
    ("tls.key", "is not an unencrypted PEM", lambda _, f: (f / "tls.key").write_text("x")),
    ("ca.crt", "is not an unencrypted PEM", lambda _, f: (f / "ca.crt").write_text("")),
    ("tls.key", "is not the key of the certificate", _foreign_key),
    ("tls.crt", "expired at 20", lambda ca, _: ca.issue("project", begin=-9 * DAY, days=1)),
    ("tls.crt", "is not valid before 20", lambda ca, _: ca.issue("project", begin=DAY)),
    ("tls.crt", f"lacks the name {PROJECT}", lambda ca, _: ca.issue("project", uri("sync"))),
    ("tls.crt", "it has no URI", lambda ca, _: ca.issue("project", x509.DNSName(PROJECT))),
]


@pytest.mark.parametrize(("file", "why", "spoil"), BROKEN, ids=[f"{b[0]} {b[1]}" for b in BROKEN])
async def test_what_is_wrong_is_said_until_it_is_mended(
    authority: TestAuthority,
    tmp_path: Path,
    file: str,
    why: str,
    spoil: Callable[[TestAuthority, Path], object],
) -> None:
    folder = tmp_path / "project"
    before = {name: (folder / name).read_bytes() for name in ("tls.crt", "tls.key", "ca.crt")}
    secret = before["tls.key"].decode().splitlines()[1]
    probe = probe_of(folder)
    await probe()
    spoil(authority, folder)
    for _ in range(2):
        message = await _says(probe)
        assert f"{folder / file}: " in message
        assert why in message
        assert secret not in message
    for name, data in before.items():
        (folder / name).write_bytes(data)
    await probe()


async def test_every_name_of_the_process_has_to_be_there(
    authority: TestAuthority, tmp_path: Path
) -> None:
    both = frozenset({PROJECT, "spiffe://workspace/sync"})
    probe = probe_of(tmp_path / "project", names=both)
    assert "lacks the name spiffe://workspace/sync (it has " in await _says(probe)
    authority.issue("project", uri("project"), uri("sync"))
    await probe()


async def test_time_passes_without_a_change_of_files(
    authority: TestAuthority, tmp_path: Path
) -> None:
    clock = [time.time()]
    probe = probe_of(tmp_path / "project", now=lambda: clock[0])
    await probe()
    clock[0] += 40 * _DAY
    assert "expired at" in await _says(probe)
    clock[0] -= 40 * _DAY
    await probe()


async def test_some_authority_has_to_be_valid(
    authority: TestAuthority, tmp_path: Path
) -> None:
    ended = TestAuthority(tmp_path, begin=-3651 * DAY)
    folder, registry = tmp_path / "project", CollectorRegistry()
    probe = probe_of(folder, registry=registry)
    (folder / "ca.crt").write_bytes(ended.pem)
    assert f"{folder / 'ca.crt'}: every authority of it has expired" in await _says(probe)
    (folder / "ca.crt").write_bytes(ended.pem + authority.pem)
    await probe()
    ends = registry.get_sample_value(GAUGE, {"file": str(folder / "ca.crt")})
    assert ends is not None
    assert ends > time.time()


@pytest.mark.parametrize(("days", "left"), [(90, 7 * _DAY), (10, _DAY)])
async def test_one_warning_per_certificate(
    authority: TestAuthority,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    days: int,
    left: float,
) -> None:
    registry = CollectorRegistry()
    folder = tmp_path / "project"
    clock = [time.time()]
    authority.issue("project", days=days)
    probe = probe_of(folder, now=lambda: clock[0], registry=registry)
    await probe()
    ends = registry.get_sample_value(GAUGE, {"file": str(folder / "tls.crt")})
    assert ends is not None
    clock[0] = ends - left - 120  # a little more: certificates are backdated by 5 minutes
    with caplog.at_level(logging.WARNING):
        await probe()
        assert caplog.records == []
        clock[0] = ends - left + 120
        for _ in range(3):
            await probe()
        assert [str(folder / "tls.crt") in each.getMessage() for each in caplog.records] == [True]
        authority.issue("project", days=days)
        clock[0] = time.time()
        await probe()
        assert len(caplog.records) == 1
        clock[0] = ends - left + 120
        await probe()
        assert len(caplog.records) == 2


async def test_two_probes_share_a_gauge(authority: TestAuthority, tmp_path: Path) -> None:
    authority.issue("gateway")
    registry = CollectorRegistry()
    first = probe_of(tmp_path / "project", registry=registry)
    second = probe_of(tmp_path / "gateway", names=frozenset(), expires=first.expires)
    await first()
    await second()
    for name in ("project", "gateway"):
        file = str(tmp_path / name / "tls.crt")
        value = registry.get_sample_value(GAUGE, {"file": file})
        assert value is not None
        assert value > time.time()


async def test_files_are_parsed_only_when_they_change(
    authority: TestAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = probe_of(tmp_path / "project")
    reads: list[Path] = []
    real = Path.read_bytes

    def counting(path: Path) -> bytes:
        reads.append(path)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", counting)
    for _ in range(5):
        await probe()
    assert len(reads) == 3
    authority.issue("project")
    await probe()
    assert len(reads) == 6
