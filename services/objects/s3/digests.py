"""SHA-256 as we write it (lower hex) and as S3 does (base64)."""

from __future__ import annotations

import base64
import binascii

__all__ = ["base64_of", "hex_of"]


def base64_of(digest: str) -> str:
    """Of 64 hexadecimal digits."""
    return base64.b64encode(bytes.fromhex(digest)).decode()


def hex_of(text: str) -> str:
    """Of S3's form; '' for what is none, such as the checksum of parts (`...-3`)."""
    try:
        digest = base64.b64decode(text, validate=True).hex()
    except (binascii.Error, ValueError):
        return ""
    return digest if len(digest) == 64 else ""
