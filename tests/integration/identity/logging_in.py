"""A `wm serve` of its own that trusts one sign-in provider, configured by its environment,
and `wm` as its people."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.serving import MINUTE, Serving

__all__ = ["LogIn"]


class LogIn:
    """`trust` are the variables that say whom it trusts."""

    def __init__(self, folder: Path, **trust: str) -> None:
        self.serving = Serving(folder)
        self.serving.env |= trust

    def wm(self, *arguments: object, token: str = "", **env: str) -> tuple[int, str, str]:
        done = subprocess.run(
            self.serving.command(*arguments), env=self.serving.env | env, cwd=self.serving.folder,
            input=token, capture_output=True, text=True, timeout=MINUTE, check=False,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    def json(self, *arguments: object, token: str = "") -> Any:
        code, out, error = self.wm(*arguments, "--json", token=token)
        assert code == 0, (arguments, out, error)
        return json.loads(out)

    def serve_to_all(self, pem: Path) -> tuple[int, str]:
        """The exit code and the error of a start on a port that others can reach."""
        tls = {f"WM_TLS_{name}": str(pem) for name in ("CERTIFICATE", "KEY")}
        ports = ("--grpc-port", "0", "--http-port", "0")
        code, _, error = self.wm("serve", *ports, WM_GRPC_HOST="0.0.0.0", **tls)
        return code, error
