"""Ends connections of a gRPC server from outside of it, one by one.

gRPC cannot tell a connection to go away and still serve what arrives on it in that
moment: from `Server.stop` on, each such call is reset, which clients see as CANCELLED,
a code that no policy repeats (core, `Server::CallData::StartNewRpc`: a call after the
shutdown began is a zombie). A connection that just ends is UNAVAILABLE, and so is one
that is refused. So the sockets are closed first, and the server has nobody left to reset.

Where file descriptors cannot be listed (Windows), nothing happens here.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["close_listeners", "hang_up"]

_FOLDERS = (Path("/proc/self/fd"), Path("/dev/fd"))
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def close_listeners(ports: frozenset[int]) -> None:
    """Refuse new connections at `ports` of this process; those that are open stay.

    gRPC keeps the number of its descriptor, with a socket behind it that nobody
    reaches: closed under its feet, another file could get the number.
    """
    for number, found in _sockets(ports):
        if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            with socket.socket(found.family, socket.SOCK_STREAM) as nobody:
                os.dup2(nobody.fileno(), number, inheritable=False)


def hang_up(ports: frozenset[int], idle: Callable[[int], bool]) -> int:
    """End the connections accepted at `ports` that are `idle`, by the port of their
    peer; how many are left. What was written to them before is still delivered."""
    left = 0
    for _, found in _sockets(ports):
        try:
            peer = found.getpeername()[1]
        except OSError:  # a listener, or it has ended by itself
            continue
        if idle(peer):
            with contextlib.suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)
        else:
            left += 1
    return left


def _sockets(ports: frozenset[int]) -> Iterator[tuple[int, socket.socket]]:
    """Sockets of this process bound to one of `ports`, each with its number; closed
    when the next one is asked for (a duplicate: gRPC may close its own meanwhile)."""
    folder = next((each for each in _FOLDERS if each.is_dir()), None)
    for name in os.listdir(folder) if folder else ():  # noqa: PTH208  # numbers, not paths
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as found:
                if found.family in _FAMILIES and found.getsockname()[1] in ports:
                    yield int(name), found
