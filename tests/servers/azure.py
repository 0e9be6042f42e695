"""Servers that speak the protocols of Azure, one of each kind in a pytest process.

* Azurite: Blob Storage by its authors, over TLS, with user-delegation keys.
* The fakes of tests/fakes: what has no emulator that is faithful.

Certificates are those of an authority of the process (`ca_file`); sign-in is the fake
managed identity. `stop_servers` ends them (tests/conftest.py calls it).
"""

from __future__ import annotations

import ipaddress
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from cryptography import x509

from services.azure.place import AzurePlace
from tests.authority import Authority
from tests.fakes.sign_in import SignIn
from tests.servers import tools
from tests.servers.process import Server, free_port

__all__ = [
    "ACCOUNT", "azurite", "ca_file", "certificate", "environment", "new_name", "place", "sign_in",
    "stop_servers",
]  # fmt: skip

ACCOUNT = "devstoreaccount1"


@cache
def sign_in() -> SignIn:
    """The managed identity of this process."""
    return SignIn().start()


def environment() -> dict[str, str]:
    """Variables with which the SDK signs in there, and finds nothing else."""
    return sign_in().environment()


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="azure-"))


@cache
def certificate() -> tuple[Path, Path]:
    """PEM files of a certificate for 127.0.0.1 and localhost, and of its key."""
    authority = Authority(_folder(), "azure")
    files = _folder() / "leaf.pem", _folder() / "leaf.key"
    names = x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")
    authority.issue(*files, *names)
    return files


def ca_file() -> str:
    """The authority of `certificate`."""
    certificate()
    return str(_folder() / "azure.pem")


@cache
def azurite() -> Server:
    """Blob Storage in memory. Needs `tools.HAS_NPM`."""
    cert, key = certificate()
    port = free_port()
    script = tools.emulators_of_azure() / "azurite/dist/src/blob/main.js"
    command = [
        str(tools.NODE), str(script), "--blobHost", "127.0.0.1", "--blobPort", str(port),
        "--oauth", "basic", "--cert", str(cert), "--key", str(key), "--disableTelemetry",
        "--skipApiVersionCheck", "--inMemoryPersistence", "--silent",
    ]  # fmt: skip
    return Server(command, url=f"https://127.0.0.1:{port}/", ca_file=ca_file())


def place(endpoints: Mapping[str, str] | None = None) -> AzurePlace:
    """Where the servers are. Without `endpoints` it is Azurite alone."""
    blob = {} if endpoints else {"blob": azurite().url.rstrip("/")}
    return AzurePlace(endpoints={**blob, **(endpoints or {})}, ca_file=ca_file())


def new_name(prefix: str = "wm") -> str:
    """A name that no other test has, good for containers and accounts of 3 to 24."""
    return f"{prefix}{uuid.uuid4().hex[:16]}"


def stop_servers() -> None:
    """End those that were started."""
    for start in (azurite, sign_in):
        if start.cache_info().currsize:
            start().stop()
            start.cache_clear()
    if _folder.cache_info().currsize:
        shutil.rmtree(_folder(), ignore_errors=True)
        for each in (_folder, certificate):
            each.cache_clear()
