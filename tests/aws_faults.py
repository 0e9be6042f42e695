"""Faults between the SDK and a server: answers that the service never gave, entries that
it never saw."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from botocore.awsrequest import AWSResponse

from services.aws.clients import AwsClients

__all__ = ["Answers", "partly", "seen"]

Fault = tuple[int, str, str]
"""Status, error code, text."""


class _Body:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self._data


class Answers:
    """The next calls of an operation are answered by `faults`, one each, or all by
    `always`; then the server answers again. `calls` counts them."""

    def __init__(self, clients: AwsClients, service: str, operation: str) -> None:
        self.faults: list[Fault] = []
        self.always: Fault | None = None
        self.calls = 0
        clients.client(service).meta.events.register(
            f"before-send.{service}.{operation}", self._send
        )

    def _send(self, request: Any, **_: Any) -> AWSResponse | None:
        self.calls += 1
        fault = self.always or (self.faults.pop(0) if self.faults else None)
        if fault is None:
            return None
        status, code, text = fault
        body = json.dumps({"__type": code, "message": text}).encode()
        headers = {"content-type": "application/x-amz-json-1.1", "x-amzn-errortype": code}
        return AWSResponse(request.url, status, headers, _Body(body))


def partly(clients: AwsClients, refuse: Callable[[dict[str, Any]], str]) -> None:
    """PutEvents takes the entries for which `refuse` answers '' and answers its error
    code for the others, which the server does not see. One of a request must be good."""
    waiting: list[list[str]] = []

    def give(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        codes = [refuse(json.loads(entry["Detail"])) for entry in params["Entries"]]
        waiting.append(codes)
        good = [e for e, code in zip(params["Entries"], codes, strict=True) if not code]
        return {**params, "Entries": good}

    def answer(parsed: dict[str, Any], **_: Any) -> None:
        codes, taken = waiting.pop(), iter(parsed.get("Entries", ()))
        parsed["Entries"] = [{"ErrorCode": code} if code else next(taken) for code in codes]
        parsed["FailedEntryCount"] = sum(map(bool, codes))

    events = clients.client("events").meta.events
    events.register("provide-client-params.events.PutEvents", give)
    events.register("after-call.events.PutEvents", answer)


def seen(clients: AwsClients, service: str, operation: str) -> list[dict[str, Any]]:
    """The parameters of each call of an operation, as it is made."""
    found: list[dict[str, Any]] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        found.append(params)

    clients.client(service).meta.events.register(
        f"provide-client-params.{service}.{operation}", note
    )
    return found
