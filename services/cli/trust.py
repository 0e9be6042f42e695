"""Who vouches for a server: the public authorities, or the one of --ca."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from services.cli.exit_codes import ExitCode
from services.cli.failures import CliError, Failure
from services.rpc.addresses import is_local

__all__ = ["Reached", "certificate_failure", "certificate_failure_of", "split_address"]

_EXPIRED, _NOT_YET, _OTHER_NAME = 10, 9, (62, 64)  # X509_V_ERR_* of OpenSSL


@dataclass(frozen=True, slots=True)
class Reached:
    """A server, as it was named, and the file of its authority; None: the public ones."""

    server: str
    ca_file: Path | None = None

    @property
    def target(self) -> str:
        """The target for gRPC."""
        return self.server.removeprefix("https://").rstrip("/")

    @property
    def tls(self) -> bool:
        """Plain text on this machine, TLS beyond it, and wherever it is asked for."""
        asked = self.server.startswith("https://") or self.ca_file is not None
        return asked or not is_local(self.target)

    @property
    def host(self) -> str:
        """The name or address alone."""
        return split_address(self.target)[0]

    def pem(self) -> bytes | None:
        """The authorities for gRPC; None: the public ones. Raises CliError."""
        if self.ca_file is None:
            return None
        self.context()  # gRPC would not say what is wrong with it
        return self.ca_file.read_bytes()

    def context(self) -> ssl.SSLContext:
        """For connections to this server. Raises CliError when the file cannot be used."""
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except ssl.SSLError:
            problem = "holds no certificate in PEM"
        except OSError as error:
            problem = (error.strerror or "cannot be read").lower()
        raise CliError(
            f"the authority file {self.ca_file}: {problem}",
            remedy="name the ca.crt of the server with --ca FILE (or WM_CA)",
            exit_code=ExitCode.USAGE,
        )


def split_address(address: str) -> tuple[str, int]:
    """(host, port) of `host:port`, `[::1]:port` or a gRPC target; port 443 where none is
    named. Raises ValueError."""
    rest = address.rpartition("/")[2]
    if rest.startswith("["):
        host, _, port = rest[1:].partition("]")
        return host, int(port.removeprefix(":") or 443)
    host, colon, port = rest.rpartition(":")
    return (host, int(port)) if colon else (rest, 443)


def certificate_failure(
    address: str, error: ssl.SSLCertVerificationError, ca_file: Path | None, names: str = ""
) -> Failure:
    """What is wrong with the certificate shown at `address`, and what helps. `names` are
    those in it, where they are known."""
    code, what = error.verify_code, f"the certificate of {address}"
    if code == _EXPIRED:
        text, remedy = "has expired", "renew it on the server, or set this machine's clock"
    elif code == _NOT_YET:
        text, remedy = "is not valid yet", "set the clock of this machine, or of its issuer"
    elif code in _OTHER_NAME:
        text = "is for another name" + (f": {names}" if names else "")
        remedy = "name the server as its certificate does, or have it issued for this name too"
    elif ca_file is None:
        text = "is of an authority that this machine does not know"
        remedy = "name its ca.crt: --ca FILE, or WM_CA"
    else:
        text = f"is not of the authority in {ca_file}"
        remedy = "name the right ca.crt with --ca FILE (or WM_CA)"
    return Failure(ExitCode.UNAVAILABLE, f"{what} {text}", remedy)


def certificate_failure_of(error: BaseException, address: str) -> Failure | None:
    """The same of a transfer that failed for it; None: it failed for something else."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            found = certificate_failure(address, cause, None)
            if "authority" not in found.message:
                return found
            remedy = "--ca FILE is for the workspace's own host; for others set SSL_CERT_FILE"
            return Failure(found.exit_code, found.message, remedy)
        cause = cause.__cause__ or cause.__context__
    return None
