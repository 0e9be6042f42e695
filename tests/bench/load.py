"""Load on a gRPC method: `ghz` where it is or Go can build it, else Python.

The two take processor time in different proportions to the server, so a result
names the client it was made with.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc.aio
import uvloop
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

__all__ = ["Call", "GhzLoad", "Load", "PythonLoad", "find_load", "protoset"]

_GHZ = "github.com/bojand/ghz/cmd/ghz@latest"
_INSTALL_SECONDS = 300
_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class Call:
    """`total` calls of one method by `callers` at a time."""

    target: str
    method: str
    request: Message
    total: int
    callers: int = 32
    bearer: str = ""


class Load(Protocol):
    """Something that calls as fast as the answers come."""

    name: str

    def rate(self, call: Call) -> float:
        """Answers per second. Raises RuntimeError when one is not OK."""
        ...


def find_load(folder: Path) -> tuple[Load, str]:
    """The best load there is, and why it is not ghz ('' when it is)."""
    program, reason = _find_ghz()
    return (GhzLoad(program, folder), "") if program else (PythonLoad(), reason)


class GhzLoad:
    """https://ghz.sh; the schema goes in as a protoset, the token in a file."""

    name = "ghz"

    def __init__(self, program: str, folder: Path) -> None:
        self.program = program
        self._folder = folder

    def rate(self, call: Call) -> float:
        """See `Load`."""
        arguments = [
            self.program, "--insecure", "--format=json",
            f"--call={call.method.removeprefix('/')}",
            f"--protoset={self._file('schema', protoset(call.method))}",
            # JSON: ghz takes no binary message that is empty.
            f"--data-file={self._file('request', _json(call.request))}",
            f"--metadata-file={self._file('metadata', _metadata(call))}",
            f"--total={call.total}", f"--concurrency={call.callers}",
            f"--connections={min(_CONNECTIONS, call.callers)}",
            call.target,
        ]  # fmt: skip
        told = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if told.returncode:
            raise RuntimeError(f"ghz failed: {told.stderr[-500:]}")
        report = json.loads(told.stdout)
        if report["statusCodeDistribution"] != {"OK": call.total}:
            raise RuntimeError(f"{call.method}: {report['statusCodeDistribution']}")
        return float(report["rps"])

    def _file(self, name: str, content: bytes) -> Path:
        path = self._folder / f"ghz-{name}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        return path


class PythonLoad:
    """`grpc.aio` in this process. Answers are not parsed."""

    name = "python"

    def rate(self, call: Call) -> float:
        """See `Load`."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._rate(call))

    async def _rate(self, call: Call) -> float:
        async with grpc.aio.insecure_channel(call.target) as channel:
            await channel.channel_ready()
            send: Any = channel.unary_unary(call.method)
            request = call.request.SerializeToString()
            metadata = (("authorization", f"Bearer {call.bearer}"),) if call.bearer else ()

            async def once() -> None:
                await send(request, metadata=metadata)

            return await _timed(once, call.total, call.callers)


async def _timed(once: Callable[[], Awaitable[None]], total: int, callers: int) -> float:
    left = iter(range(total))

    async def caller() -> None:
        for _ in left:
            await once()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    return total / (time.perf_counter() - began)


def _json(message: Message) -> bytes:
    return MessageToJson(message, preserving_proto_field_name=True).encode()


def _metadata(call: Call) -> bytes:
    return json.dumps({"authorization": f"Bearer {call.bearer}"} if call.bearer else {}).encode()


def protoset(method: str) -> bytes:
    """The file of a method and all it imports, imports first."""
    service = method.removeprefix("/").rpartition("/")[0]
    found: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    def add(names: Iterable[str]) -> None:
        for name in names:
            if name in found:
                continue
            proto = descriptor_pb2.FileDescriptorProto()
            descriptor_pool.Default().FindFileByName(name).CopyToProto(proto)
            add(proto.dependency)
            found[name] = proto

    add([descriptor_pool.Default().FindServiceByName(service).file.name])
    return descriptor_pb2.FileDescriptorSet(file=found.values()).SerializeToString()


def _find_ghz() -> tuple[str, str]:
    """The program, built once into the environment's bin; or why there is none."""
    folder = Path(sys.executable).parent
    found = shutil.which("ghz", path=str(folder)) or shutil.which("ghz")
    if found:
        return found, ""
    go = shutil.which("go")
    if go is None:
        return "", "ghz: Go is not installed; the load came from a Python client"
    print(f"Building ghz with {go} (once) ...", flush=True)
    try:
        subprocess.run(
            [go, "install", _GHZ], check=True, capture_output=True, text=True,
            timeout=_INSTALL_SECONDS, env={**os.environ, "GOBIN": str(folder)},
        )
    except (subprocess.SubprocessError, OSError) as error:
        return "", f"ghz: `go install` failed ({type(error).__name__}); Python client instead"
    return str(folder / "ghz"), ""
