"""Bearer tokens that people bring: from standard input, a file or WM_TOKEN.

Never from the command line, which other users of the machine can read.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from services.cli.exit_codes import ExitCode
from services.cli.failures import CliError, usage
from services.cli.profile import Login
from services.model import base64url
from services.tokens.claims import TokenRefusedError
from services.tokens.machine import MACHINE_PREFIX, MachineSecret

__all__ = ["TOKEN_VARIABLE", "login_of", "read_secret", "read_token", "token_of_environment"]

TOKEN_VARIABLE: Final = "WM_TOKEN"  # noqa: S105 - the name of a variable
MAX_TOKEN_BYTES: Final = 16 * 1024
_NO_END: Final = 2**40  # the server knows when a machine token ends


def read_token(*, stdin: bool, file: Path | None) -> str:
    """The token of --token-stdin or --token-file; '' when neither is given."""
    if stdin and file is not None:
        raise usage("--token-stdin and --token-file: choose one")
    if stdin:
        return _checked(sys.stdin.read(MAX_TOKEN_BYTES + 2), "standard input")
    if file is None:
        return ""
    try:
        with file.open(encoding="ascii") as opened:
            return _checked(opened.read(MAX_TOKEN_BYTES + 2), str(file))
    except (OSError, UnicodeDecodeError):
        raise usage(f"{file} cannot be read", remedy="name a file that holds one token") from None


def read_secret(what: str, *, stdin: bool, file: Path | None) -> str:
    """A secret from --token-stdin or --token-file, else by a prompt that does
    not show it. Without a terminal standard input is read as it is."""
    if stdin or file is not None or not sys.stdin.isatty():
        return read_token(stdin=file is None or stdin, file=file)
    return _checked(getpass.getpass(f"{what}: "), "the answer")


def token_of_environment() -> str:
    """WM_TOKEN, or ''."""
    value = os.environ.get(TOKEN_VARIABLE, "")
    return _checked(value, TOKEN_VARIABLE) if value.strip() else ""


def login_of(token: str, *, email: str = "") -> Login:
    """A sign-in by this token. The user id is '' where the token alone does not
    say it; `expires_at` is only a hint for a readable message."""
    if token.startswith(MACHINE_PREFIX):
        try:
            user_id = MachineSecret.parse(token).user_id
        except TokenRefusedError:
            raise CliError(
                "the machine token is not whole",
                remedy="copy all of it, or make another: wm tokens create NAME",
                exit_code=ExitCode.NOT_SIGNED_IN,
            ) from None
        return Login(email=email, user_id=user_id, token=token, expires_at=_NO_END)
    return Login(email=email, user_id="", token=token, expires_at=_expiry(token))


def _expiry(token: str) -> int:
    """`exp`, unverified; far away when it cannot be read: the server decides."""
    try:
        claims: Any = json.loads(base64url.decode(token.split(".")[1]))
        return int(claims["exp"])
    except (ValueError, LookupError, TypeError):
        return _NO_END


def _checked(text: str, source: str) -> str:
    token = text.strip()
    if not token or len(token) > MAX_TOKEN_BYTES or not token.isascii() or len(token.split()) > 1:
        raise usage(f"{source} holds no token", remedy="give one bearer token, nothing else")
    return token
