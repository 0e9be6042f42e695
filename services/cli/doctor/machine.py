"""Checks of the machine: configuration, ports, disk, clock, key files."""

from __future__ import annotations

import shutil
import socket
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from services.cli.doctor.finding import Finding, Verdict
from services.cli.output import human_bytes
from services.settings import Settings

__all__ = ["check_clock", "check_disk", "check_keys", "check_ports"]

_DISK_LOW = 1 << 30
_DISK_FULL = 64 << 20
_EARLIEST = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
_SKEW_SECONDS = 2.0


def check_ports(settings: Settings) -> Finding:
    """Whether `wm serve` could bind its ports now."""
    addresses = [
        (settings.grpc_host, settings.grpc_port, "--grpc-port"),
        (settings.http_host, settings.http_port, "--http-port"),
    ]
    taken = [
        f"{host}:{port} is in use ({flag})"
        for host, port, flag in addresses
        if port and not _is_free(host, port)
    ]
    text = ", ".join(f"{host}:{port}" for host, port, _ in addresses)
    return Finding.of_faults(
        "ports", taken, good=f"{text} are free", bad="busy ports",
        remedy="end what has them, or choose others for `wm serve`",
    )  # fmt: skip


def check_disk(folder: Path) -> Finding:
    """Free space where the data is."""
    free = shutil.disk_usage(folder).free
    text = f"{human_bytes(free)} free"
    if free < _DISK_FULL:
        return Finding("disk", Verdict.FAILED, text, "free space: writes are about to be refused")
    if free < _DISK_LOW:
        return Finding("disk", Verdict.WARNING, text, "free space before it runs out")
    return Finding("disk", Verdict.OK, text)


def check_clock(newest_ms: int, *, now: float | None = None) -> Finding:
    """The clock against the newest record (unix milliseconds, 0: none)."""
    now = time.time() if now is None else now
    shown = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    remedy = "set the clock (NTP); times of records and expiry depend on it"
    if now < _EARLIEST:
        return Finding("clock", Verdict.FAILED, f"it says {shown}, long ago", remedy)
    behind = newest_ms / 1000 - now
    if behind > _SKEW_SECONDS:
        detail = f"it says {shown}, {behind:.0f} s before the newest record"
        return Finding("clock", Verdict.FAILED, detail, remedy)
    return Finding("clock", Verdict.OK, shown)


def check_keys(data_dir: Path) -> Finding:
    """Key files are there and only their owner can read them."""
    return Finding.of_faults(
        "keys", _key_faults(data_dir / "keys"), good="only their owner can read them",
        bad="problems with key files", remedy="chmod 600 the files, chmod 700 the folder",
    )


def _key_faults(folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        yield "keys/ is not there: restore it from your backup, or signed URLs and tokens end"
        return
    for path in sorted([folder, *folder.iterdir()]):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if mode & 0o077:
            yield f"{path.name} has mode {mode:o}"


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError:
            return False
    return True
