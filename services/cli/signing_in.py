"""Tokens of the `local` provider, by the secret that only this user can read."""

from __future__ import annotations

import uuid
from pathlib import Path

import grpc.aio
from workspace.identity.v1.identity_service_pb2 import IssueLocalTokenRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from services.cli.exit_codes import ExitCode
from services.cli.failures import CliError
from services.cli.profile import Login
from services.tokens.local_secret import LOCAL_SECRET_FILE

__all__ = ["issue_token", "read_local_secret"]

_SECONDS = 30.0


async def issue_token(
    channel: grpc.aio.Channel, data_dir: str | Path, *, email: str, name: str = ""
) -> Login:
    """A fresh sign-in at the server behind `channel`, whose data folder is
    `data_dir`. Raises CliError when the secret cannot be read."""
    folder = _absolute(data_dir)
    request = IssueLocalTokenRequest(
        email=email, name=name, local_secret=read_local_secret(folder), request_id=str(uuid.uuid4())
    )
    answer = await IdentityServiceStub(channel).IssueLocalToken(request, timeout=_SECONDS)
    return Login(
        email=email,
        user_id=answer.user_id,
        token=answer.access_token,
        expires_at=int(answer.expires_at.seconds),
        name=name,
        data_dir=str(folder),
    )


def _absolute(path: str | Path) -> Path:
    return Path(path).absolute()


def read_local_secret(data_dir: Path) -> str:
    """The secret that only the operating-system user of the data folder can read."""
    path = data_dir / "keys" / LOCAL_SECRET_FILE
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        problem = "is not there"
        remedy = (
            "start `wm serve`, or name its data folder, or a copy of its keys/, with --data; with "
            "a token of a provider use WM_TOKEN or wm login --token-stdin"
        )
    except (OSError, UnicodeDecodeError):
        problem, remedy = "cannot be read", "sign in as the user who runs `wm serve`"
    raise CliError(
        f"the local secret {path} {problem}", remedy=remedy, exit_code=ExitCode.NOT_SIGNED_IN
    )
