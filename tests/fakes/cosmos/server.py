"""The server: one process, one event loop, HTTPS."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.fakes.cosmos import control, documents, resources
from tests.fakes.cosmos.account import Account
from tests.fakes.cosmos.documents import Request
from tests.fakes.cosmos.errors import Answer, Refused, not_found
from tests.fakes.cosmos.faults import AFTER, CONNECTION, refusal_of

__all__ = ["run"]

_BODY_LIMIT = 16 * 1024 * 1024
_FIELD_LIMIT = 64 * 1024
_WRITES = frozenset(["create", "upsert", "replace", "delete", "patch", "batch"])
_COMMON = {
    "content-type": "application/json", "x-ms-gatewayversion": "version=2.14.0",
    "x-ms-request-charge": "1", "x-ms-serviceversion": "version=2.14.0.0",
}  # fmt: skip


async def run(port: int, certificate: str, key: str) -> None:
    """Serve until cancelled."""
    loop = asyncio.get_running_loop()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    fake = _Fake()

    def request_of(
        message: Any, payload: Any, protocol: Any, writer: Any, task: Any
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=_BODY_LIMIT
        )

    server = web.Server(
        fake.handle, request_factory=request_of, access_log=None, keepalive_timeout=300,
        max_line_size=_FIELD_LIMIT, max_field_size=_FIELD_LIMIT,
    )  # fmt: skip
    listening = await loop.create_server(server, "127.0.0.1", port, ssl=tls, backlog=512)
    async with listening:
        await listening.serve_forever()


class _Fake:
    def __init__(self) -> None:
        self._accounts = {"": Account("")}

    async def handle(self, incoming: web.BaseRequest) -> web.Response:
        body = await incoming.read()
        path = [unquote(part) for part in incoming.raw_path.partition("?")[0].split("/")[1:]]
        if path[-1] == "":
            path.pop()
        try:
            if path[:1] == ["_control"]:
                return _response(control.serve(self._accounts, incoming.method, path[1:], body))
            account, path = self._account(path)
        except Refused as refused:
            return _response(refused.answer())
        headers = {name.lower(): value for name, value in incoming.headers.items()}
        request = Request(
            incoming.method, path, headers, body, incoming.host, incoming.scheme
        )
        return await self._answered(incoming, account, request)

    def _account(self, path: list[str]) -> tuple[Account, list[str]]:
        """The first part of the path is the account; clients that were sent to another
        location repeat it."""
        if not path or path[0] == "dbs":
            return self._accounts[""], path
        name = path[0]
        if name not in self._accounts:
            raise not_found(f"account {name}")
        while path and path[0] == name:
            path = path[1:]
        return self._accounts[name], path

    async def _answered(
        self, incoming: web.BaseRequest, account: Account, request: Request
    ) -> web.Response:
        kind = _kind(request)
        fault, pause = account.faults.decide(kind)
        if fault in CONNECTION and fault not in AFTER:
            return await _lost(incoming, fault, account.faults.silence)
        if fault == "EMPTY_PAGE":
            request.flags.add(fault)
        elif fault and fault not in AFTER:
            return _response(refusal_of(fault, pause).answer(), request)
        answer = _served(account, request, kind)
        if fault in CONNECTION:
            return await _lost(incoming, fault, account.faults.silence)
        if fault in AFTER:
            answer = refusal_of(fault, pause).answer()
        return _response(answer, request)


def _kind(request: Request) -> str:
    path = request.path
    if len(path) in (5, 6) and path[4] == "docs":
        return documents.kind_of(request)
    return {0: "account", 5: "pkranges"}.get(
        len(path), "container" if len(path) > 2 else "database"
    )


def _served(account: Account, request: Request, kind: str) -> Answer:
    try:
        account.access.check(
            request.header("authorization"),
            write=kind in _WRITES,
            manages=kind in ("database", "container") and request.method != "GET",
            what=f"{request.method} /{'/'.join(request.path[:1])}",
        )
        if kind in ("account", "database", "container", "pkranges"):
            return resources.serve(account, request)
        return documents.serve(account, request, kind)
    except Refused as refused:
        return refused.answer()


async def _lost(incoming: web.BaseRequest, fault: str, silence: float) -> web.Response:
    """No answer: the connection ends, now or after a silence."""
    transport = incoming.transport
    if fault.startswith("SILENT"):
        end = asyncio.get_running_loop().time() + silence
        while asyncio.get_running_loop().time() < end:
            if transport is None or transport.is_closing():
                break
            await asyncio.sleep(0.05)
    if transport is not None:
        transport.abort()
    raise ConnectionResetError("as planned")


def _response(answer: Answer, request: Request | None = None) -> web.Response:
    activity = request.header("x-ms-activity-id") if request else ""
    headers = {**_COMMON, "x-ms-activity-id": activity or str(uuid.uuid4()), **answer.headers}
    if not answer.body:
        headers.pop("content-type")
    return web.Response(status=answer.status, body=answer.body or None, headers=headers)
