"""A process with nothing but the object proxy, for the case of that name.

    python -m tests.bench.object_gateway ORIGIN BUCKET
"""

from __future__ import annotations

import sys

from starlette.applications import Starlette

from services.http.edge import Edge
from services.http.object_proxy import ObjectProxy
from services.http.server import HttpServer, bind_http
from tests.bench.served import announce_and_wait, run


async def main(origin: str, bucket: str) -> None:
    """Serve until the parent ends it."""
    sock, url = bind_http("127.0.0.1", 0)
    proxy = ObjectProxy(origin=origin, bucket=bucket)
    server = HttpServer(Edge(Starlette(routes=proxy.routes), None), sock)
    await server.start()
    try:
        await announce_and_wait(url=url)
    finally:
        await server.stop()
        await proxy.close()


if __name__ == "__main__":
    run(main(*sys.argv[1:]))
