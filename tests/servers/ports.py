"""Ports for processes that are told theirs before they start."""

from __future__ import annotations

import itertools
import os
import random
import socket

__all__ = ["free_port"]

# Below those that systems give to whoever asks for any port, outgoing connections included
# (Linux from 32768, others from 49152): nobody takes one between our look and its use.
_FIRST, _COUNT, _BLOCKS = 20_000, 3_000, 4
_block = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _BLOCKS
_turns = itertools.count(random.randrange(_COUNT))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has, and that this process was not given for long.
    Each process of pytest-xdist has ports of its own."""
    for turn in itertools.islice(_turns, _COUNT):
        port = _FIRST + _block * _COUNT + turn % _COUNT
        if _binds(port):
            return port
    raise OSError(f"no free port in {_COUNT}")


def _binds(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
