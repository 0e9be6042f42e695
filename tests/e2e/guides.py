"""What a guide tells people to paste, and a shell to paste it into."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.e2e.serving import ROOT

__all__ = ["GUIDES", "blocks", "commands", "pasted", "shell"]

GUIDES = ROOT / "docs/guides"
_BLOCK = re.compile(r"<!-- run: (\w+) -->\n```sh\n(.*?)```", re.DOTALL)
_COMMAND = re.compile(r"^(wm .*?)(?:\s+#.*)?$|`(wm [^`]*)`", re.MULTILINE)


def blocks(guide: str) -> dict[str, str]:
    """Those that are for pasting, by their names, in order."""
    return dict(_BLOCK.findall((GUIDES / guide).read_text(encoding="utf-8")))


def commands(guide: str) -> set[str]:
    """Every call of `wm` that it names."""
    found = _COMMAND.findall((GUIDES / guide).read_text(encoding="utf-8"))
    return {left or right for left, right in found}


def shell(folder: Path, *, without: tuple[str, ...]) -> dict[str, str]:
    """The environment of somebody who has `wm`; `without` variables that begin so."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(without)}
    # A program, not a function: guides end the process that they started.
    tool = folder / "bin" / "wm"
    tool.parent.mkdir(exist_ok=True)
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m services.cli.main "$@"\n')
    tool.chmod(0o755)
    return kept | {
        "WM_CONFIG_DIR": str(folder / "config"), "WM_GRPC_PORT": "0", "WM_HTTP_PORT": "0",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "protos/gen/python")]),
        "PYTHONIOENCODING": "utf-8", "PATH": f"{tool.parent}{os.pathsep}{kept['PATH']}",
    }  # fmt: skip


def pasted(text: str, folder: Path, env: dict[str, str], *, seconds: int = 110) -> str:
    """What a shell said that was given a block; every command of it must succeed."""
    done = subprocess.run(
        ["bash", "-e", "-c", text], env=env, cwd=folder, capture_output=True, text=True,
        timeout=seconds, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout
