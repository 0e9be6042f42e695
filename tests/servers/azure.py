"""Servers that speak the protocols of Azure, one of each kind in a pytest process.

* Azurite: Blob Storage by its authors, over TLS, with user-delegation keys.
* The fakes of tests/fakes: what has no emulator that is faithful. Cosmos DB is one server
  with as many accounts as tests want (`cosmos_account`).

Certificates are those of an authority of the process (`ca_file`); sign-in is the fake
managed identity. `stop_servers` ends them (tests/conftest.py calls it).
"""

from __future__ import annotations

import ipaddress
import shutil
import ssl
import sys
import tempfile
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509

from services.azure.place import AzurePlace
from tests.authority import Authority
from tests.fakes.cosmos.client import CosmosControl
from tests.fakes.sign_in import SignIn
from tests.servers import tools
from tests.servers.faulty import BLOB, Faulty, Plan
from tests.servers.ports import free_port
from tests.servers.process import Server

__all__ = [
    "ACCOUNT", "azurite", "ca_file", "certificate", "cosmos", "cosmos_account",
    "cosmosdb_server", "environment",
    "faulty_blob", "new_name", "place", "sign_in", "stop_servers", "trusted",
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
    """PEM files of a certificate for 127.0.0.1 and localhost, and of its key. It is signed by
    itself: Azurite copies from its own URLs, and trusts what it shows and nothing else."""
    authority = Authority(_folder(), "azure")
    files = _folder() / "leaf.pem", _folder() / "leaf.key"
    names = x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")
    authority.issue_own(*files, *names)
    return files


def ca_file() -> str:
    """What to trust for `certificate`."""
    return str(certificate()[0])


@cache
def trusted() -> ssl.SSLContext:
    """What clients without rights trust of these servers, and nothing else."""
    return ssl.create_default_context(cafile=ca_file())


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


@cache
def cosmos() -> Server:
    """The fake of Cosmos DB (tests/fakes/cosmos), in memory."""
    cert, key = certificate()
    port = free_port()
    command = [sys.executable, "-m", "tests.fakes.cosmos", str(port), str(cert), str(key)]
    return Server(
        command, url=f"https://127.0.0.1:{port}/", ca_file=ca_file(),
        environment={"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )  # fmt: skip


@cache
def cosmosdb_server() -> Server:
    """@vercel/cosmosdb-server: another hand's idea of the protocol of Cosmos DB, without
    transactions, sign-in and limits. Needs `tools.HAS_NPM`."""
    port = free_port()
    library = tools.emulators_of_azure() / "@vercel/cosmosdb-server"
    script = (
        "const fs = require('fs'); const [library, cert, key, port] = process.argv.slice(1);"
        "const options = {cert: fs.readFileSync(cert), key: fs.readFileSync(key)};"
        "require(library).createHttpsServer({...options, keepAlive: true})"
        ".listen(Number(port), '127.0.0.1');"
    )
    command = [str(tools.NODE), "-e", script, str(library), *map(str, certificate()), str(port)]
    return Server(command, url=f"https://127.0.0.1:{port}/", ca_file=ca_file())


def cosmos_account(**settings: Any) -> CosmosControl:
    """A new, empty account of `cosmos()`: its `url` is what clients connect to, the rest of
    it makes containers, splits them, moves the clock and plans faults."""
    root = CosmosControl(cosmos().url, ca_file())
    return root.account(new_name("acct-"), **settings)


def faulty_blob(plan: Plan = lambda _asked: None) -> Faulty:
    """A started proxy before Azurite that goes wrong as Blob Storage does; `stop` it. Its
    `url` with the name of the account is the endpoint."""
    return Faulty(
        azurite().url.rstrip("/"), plan, dialect=BLOB, certificate=certificate(),
        ca_file=ca_file(),
    ).start()  # fmt: skip


def place(endpoints: Mapping[str, str] | None = None) -> AzurePlace:
    """Where the servers are. Without `endpoints` it is Azurite alone."""
    blob = {} if endpoints else {"blob": azurite().url.rstrip("/")}
    return AzurePlace(endpoints={**blob, **(endpoints or {})}, ca_file=ca_file())


def new_name(prefix: str = "wm") -> str:
    """A name that no other test has, good for containers and accounts of 3 to 24."""
    return f"{prefix}{uuid.uuid4().hex[:16]}"


def stop_servers() -> None:
    """End those that were started."""
    for start in (azurite, cosmos, cosmosdb_server, sign_in):
        if start.cache_info().currsize:
            start().stop()
            start.cache_clear()
    if _folder.cache_info().currsize:
        shutil.rmtree(_folder(), ignore_errors=True)
        for each in (_folder, certificate, trusted):
            each.cache_clear()
