"""In-process gRPC: the same stubs, servicers and interceptors without a socket."""

from services.rpc.local.channel import LocalChannel
from services.rpc.local.server import LocalServer

__all__ = ["LocalChannel", "LocalServer"]
