"""A live server for the clients of every language, and what they must print."""

from __future__ import annotations

import filecmp
import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

import grpc.aio
from cryptography.x509 import IPAddress
from workspace.identity.v1.identity_service_pb2 import (
    IssueLocalTokenRequest,
    NormalizeIdentityRequest,
)
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from tests.authority import Authority
from tests.server_process import ServerProcess

__all__ = ["CLIENTS", "PEOPLE", "ROOT", "STORY", "differences", "run", "told"]

ROOT = Path(__file__).parents[3]
CLIENTS = ROOT / "docs/guides/clients"
STORY = (CLIENTS / "story.txt").read_text(encoding="utf-8")
PEOPLE = ("alice@example.com", "bob@example.com")
_SECONDS = 100


@asynccontextmanager
async def told(folder: Path, *, tls: bool = False) -> AsyncIterator[dict[str, str]]:
    """The environment in which a client tells the story: a server process of its own and
    the tokens of two people who have signed in. In plain text, or with `tls` under a
    certificate of an authority that nobody else knows."""
    certificate, key, ca = folder / "server.pem", folder / "server.key", ""
    files: dict[str, str] = {}
    if tls:
        authority = Authority(folder, "authority")
        authority.issue(certificate, key, IPAddress(IPv4Address("127.0.0.1")))
        files = {"tls_certificate": str(certificate), "tls_key": str(key)}
        ca = str(authority.ca_file)
    async with (
        ServerProcess.start(folder / "data", **files) as server,
        _channel(server.grpc, ca) as channel,
    ):
        identity = IdentityServiceStub(channel)
        secret = (folder / "data/keys/local.secret").read_text(encoding="utf-8").strip()
        alice, bob = [await _sign_in(identity, person, secret) for person in PEOPLE]
        yield {"WM_SERVER": server.grpc, "WM_TOKEN": alice, "WM_OTHER_TOKEN": bob, "WM_CA": ca}


def run(
    command: Sequence[str | Path], cwd: Path, env: Mapping[str, str], *, seconds: int = _SECONDS
) -> str:
    """What a program printed; it must end well. Variables of ours are those of `env` alone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WM_")}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env={**kept, **env}, capture_output=True,
        text=True, encoding="utf-8", timeout=seconds, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout


def differences(left: Path, right: Path) -> list[str]:
    """Files that are in one of two folders only, or not the same, byte for byte."""
    names = {
        file.relative_to(side).as_posix()
        for side in (left, right)
        for file in side.rglob("*")
        if file.is_file()
    }
    same, _, _ = filecmp.cmpfiles(left, right, names, shallow=False)
    return sorted(names - set(same))


def _channel(target: str, ca: str) -> grpc.aio.Channel:
    if not ca:
        return grpc.aio.insecure_channel(target)
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(Path(ca).read_bytes()))


async def _sign_in(identity: IdentityServiceStub, email: str, secret: str) -> str:
    """A token of a person who exists from now on."""
    request = IssueLocalTokenRequest(email=email, name=email, local_secret=secret)
    token = str((await identity.IssueLocalToken(request)).access_token)
    await identity.NormalizeIdentity(
        NormalizeIdentityRequest(request_id=str(uuid.uuid4())),
        metadata=(("authorization", f"Bearer {token}"),),
    )
    return token
