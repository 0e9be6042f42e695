"""A certificate for the way from a load balancer to a container, and then a command.

    python -m services.aws.setup.certificate FOLDER COMMAND ...

`wm serve` listens beyond loopback with TLS only. The load balancer of
deploy/aws/runtime.yaml ends the clients' TLS with a real certificate and begins another
one to the tasks, in which it checks no name (ELB user guide, "Target groups"): a fresh
key of each container's own is what fits.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.private_files import install_private, make_folder

__all__ = ["main", "write_certificate"]

_NAME = "workspace.internal"
_DAYS = 3650


def write_certificate(folder: Path, *, now: datetime) -> tuple[Path, Path]:
    """`certificate.pem` and `key.pem` (0600) in `folder`, self-signed, P-256."""
    make_folder(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(_NAME)]), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    written = folder / "certificate.pem", folder / "key.pem"
    install_private(written[0], certificate.public_bytes(serialization.Encoding.PEM), replace=True)
    install_private(written[1], private, replace=True)
    return written


def main(arguments: Sequence[str]) -> None:
    """Write the files and become the command."""
    folder, *command = arguments
    write_certificate(Path(folder), now=datetime.now(UTC))
    os.execvp(command[0], command)  # noqa: S606 - the command is the container's own


if __name__ == "__main__":
    main(sys.argv[1:])
