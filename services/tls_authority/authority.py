"""A certificate authority in a folder, for development (`wm certs`).

    DIR/ca.crt  DIR/ca.key  DIR/<name>/{tls.crt,tls.key,ca.crt}

as cert-manager mounts them. Files of somebody else are never replaced: what this
authority did not sign is refused.
"""

from __future__ import annotations

import datetime
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from services.model.errors import Reason, WorkspaceError
from services.private_files import PrivateFileError, install_private, make_folder, read_private
from services.tls_authority.files import NAMES, install_folder, install_pair
from services.tls_authority.profile import (
    SUBJECT,
    URI,
    key_pem,
    names_of,
    new_key,
    same_key,
    sign_authority,
    sign_leaf,
)

__all__ = ["DevelopmentAuthority", "Issued", "Wanted", "locked"]

State = Literal["made", "renewed", "kept"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A certificate: its folder below DIR, the services it proves (URIs), the hosts it
    is served at."""

    name: str
    uris: frozenset[str]
    hosts: frozenset[x509.GeneralName]


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """What became of it. `why` says what made a renewal necessary."""

    name: str
    state: State
    names: tuple[str, ...]
    expires_at: datetime.datetime
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Plan:
    wanted: Wanted
    held: x509.Certificate | None
    why: str


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder (0700) and keep other runs of `wm certs` out of it."""
    make_folder(folder)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


class DevelopmentAuthority:
    """`ca.crt` and `ca.key` of a folder, and the certificates below it."""

    def __init__(
        self, folder: Path, key: ec.EllipticCurvePrivateKey, cert: x509.Certificate, *, made: bool
    ) -> None:
        self.folder = folder
        self.cert = cert
        self.made = made
        self._key = key

    @classmethod
    def open(cls, folder: Path, *, now: datetime.datetime) -> Self:
        """The authority of the folder, made at the first call. Raises INVALID_STATE for
        files of another one, or for one that has expired."""
        cert_file, key_file = folder / "ca.crt", folder / "ca.key"
        if not os.path.lexists(cert_file) and not os.path.lexists(key_file):
            key = new_key()
            cert = sign_authority(key, now)
            install_private(key_file, key_pem(key))
            install_private(cert_file, cert.public_bytes(Encoding.PEM))
            cert_file.chmod(0o644)
            return cls(folder, key, cert, made=True)
        key, cert = _load_authority(cert_file, key_file)
        if cert.not_valid_after_utc <= now:
            raise _refused(cert_file, "has expired; begin anew in another folder")
        return cls(folder, key, cert, made=False)

    def held(self) -> list[Wanted]:
        """The certificates of this authority that are there, with their names."""
        found = []
        for folder in sorted(self.folder.glob("[!.]*")):
            try:
                _require_plain(folder)
                leaf = _leaf_of(folder)
            except WorkspaceError:
                continue  # something else, which is nobody's business here
            if leaf is not None and self._signed(leaf):
                names = names_of(leaf)
                uris = frozenset(n.value for n in names if isinstance(n, URI))
                hosts = frozenset(n for n in names if not isinstance(n, URI))
                found.append(Wanted(name=folder.name, uris=uris, hosts=hosts))
        return found

    def provide(
        self, wanted: Sequence[Wanted], *, days: int, renew: bool, now: datetime.datetime
    ) -> list[Issued]:
        """Make what is missing; renew what ends within a third of its life, lacks a name
        or (`renew`) is there at all. Names that a certificate has stay in it.

        Raises INVALID_STATE for a file that this authority did not sign, before it has
        written anything.
        """
        plans = [self._plan(each, renew=renew, now=now) for each in wanted]
        return [self._carry_out(plan, days=days, now=now) for plan in plans]

    def _plan(self, wanted: Wanted, *, renew: bool, now: datetime.datetime) -> _Plan:
        folder = self.folder / wanted.name
        _require_plain(folder)
        leaf = _leaf_of(folder)
        if leaf is None:
            return _Plan(wanted, None, "")
        if not self._signed(leaf):
            raise _refused(folder / "tls.crt", f"is not of {self.folder / 'ca.crt'}; move it away")
        if not self._is_trusted_in(folder):
            raise _refused(folder / "ca.crt", f"lacks {self.folder / 'ca.crt'}; move it away")
        hosts = wanted.hosts | {n for n in names_of(leaf) if not isinstance(n, URI)}
        full = Wanted(name=wanted.name, uris=wanted.uris, hosts=hosts)
        return _Plan(full, leaf, _why_renew(full, leaf, folder, renew=renew, now=now))

    def _carry_out(self, plan: _Plan, *, days: int, now: datetime.datetime) -> Issued:
        state: State = "made" if plan.held is None else "renewed" if plan.why else "kept"
        leaf = plan.held
        if leaf is None or plan.why:
            key = new_key()
            leaf = self._sign(plan.wanted, key, days=days, now=now)
            self._install(self.folder / plan.wanted.name, leaf, key, first=plan.held is None)
        return Issued(
            name=plan.wanted.name,
            state=state,
            names=tuple(sorted(str(name.value) for name in names_of(leaf))),
            expires_at=leaf.not_valid_after_utc,
            why=plan.why,
        )

    def _sign(
        self,
        wanted: Wanted,
        key: ec.EllipticCurvePrivateKey,
        *,
        days: int,
        now: datetime.datetime,
    ) -> x509.Certificate:
        return sign_leaf(
            self.cert,
            self._key,
            key.public_key(),
            name=wanted.name,
            names=[*wanted.hosts, *map(URI, wanted.uris)],
            days=days,
            now=now,
        )

    def _install(
        self, folder: Path, leaf: x509.Certificate, key: ec.EllipticCurvePrivateKey, *, first: bool
    ) -> None:
        cert = leaf.public_bytes(Encoding.PEM)
        if first:
            authority = self.cert.public_bytes(Encoding.PEM)
            install_folder(folder, cert=cert, key=key_pem(key), authority=authority)
        else:
            install_pair(folder, cert=cert, key=key_pem(key))

    def _signed(self, leaf: x509.Certificate) -> bool:
        try:
            leaf.verify_directly_issued_by(self.cert)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def _is_trusted_in(self, folder: Path) -> bool:
        """A bundle with more authorities is fine: that is how one is replaced."""
        try:
            bundle = x509.load_pem_x509_certificates((folder / "ca.crt").read_bytes())
        except (OSError, ValueError):
            return False
        return self.cert in bundle

def _load_authority(
    cert_file: Path, key_file: Path
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    try:
        cert = x509.load_pem_x509_certificate(_read_plain(cert_file))
        key = load_pem_private_key(read_private(key_file), None)
    except PrivateFileError as error:
        raise _refused(key_file, str(error)) from error
    except (OSError, ValueError, TypeError) as error:
        raise _refused(cert_file, "or its ca.key is no unencrypted PEM file") from error
    if cert.subject != SUBJECT or not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _refused(cert_file, "was not made by `wm certs`; name another folder")
    if not same_key(key.public_key(), cert.public_key()):
        raise _refused(key_file, "is not the key of ca.crt; restore the right one")
    return key, cert


def _read_plain(path: Path) -> bytes:
    """The bytes of a file that is no link. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        return file.read()


def _require_plain(folder: Path) -> None:
    """Nothing but what we make ourselves is replaced."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise _refused(folder, "is no plain folder; move it away")
    there = [name for name in NAMES if os.path.lexists(folder / name)]
    for name in there:
        if (folder / name).is_symlink() or not (folder / name).is_file():
            raise _refused(folder / name, "is no plain file; move it away")
    if there and len(there) < len(NAMES):
        raise _refused(folder, f"holds only {' and '.join(there)}; move that away")
    if not there and folder.is_dir() and any(folder.iterdir()):
        raise _refused(folder, "holds something else; move it away")


def _leaf_of(folder: Path) -> x509.Certificate | None:
    """None where there is no certificate at all. Raises INVALID_STATE for what is none."""
    file = folder / "tls.crt"
    if not file.is_file():
        return None
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except ValueError as error:
        raise _refused(file, "is no PEM certificate; move it away") from error


def _why_renew(
    wanted: Wanted, leaf: x509.Certificate, folder: Path, *, renew: bool, now: datetime.datetime
) -> str:
    names = {*wanted.hosts, *map(URI, wanted.uris)}
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    if set(names_of(leaf)) != names:
        return "other names"
    if leaf.not_valid_after_utc - now < life / 3:
        return "it ends soon" if leaf.not_valid_after_utc > now else "it had ended"
    if not _is_key_of(folder / "tls.key", leaf):
        return "tls.key was not its key"  # a run that was cut short, perhaps
    return "asked for" if renew else ""


def _is_key_of(file: Path, leaf: x509.Certificate) -> bool:
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except (ValueError, TypeError):
        return False
    return same_key(key.public_key(), leaf.public_key())


def _refused(path: Path, problem: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE, f"{path} {problem}", metadata={"file": path.name}
    )
