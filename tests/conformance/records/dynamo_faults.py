"""Faults between the SDK and DynamoDB, put in at botocore's `before-send`."""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ReadTimeoutError

from services.aws.clients import AwsClients

__all__ = ["Fault", "Faults", "answered", "cancelled", "refused"]

Fault = Callable[[AWSPreparedRequest], AWSResponse | None]


class Faults:
    """The next calls of an operation meet what was planned for them, in order. `always`
    is met by every call that has no plan. Counts the calls of each operation."""

    def __init__(self, clients: AwsClients) -> None:
        self.calls: Counter[str] = Counter()
        self.always: dict[str, Fault] = {}
        self.held: list[AWSPreparedRequest] = []
        self._plans: dict[str, deque[Fault]] = defaultdict(deque)
        client = clients.client("dynamodb")
        self._send = client._endpoint.http_session.send
        client.meta.events.register("before-send.dynamodb", self._met)

    def plan(self, operation: str, *faults: Fault) -> None:
        self._plans[operation].extend(faults)

    def lost_after(self, request: AWSPreparedRequest) -> AWSResponse | None:
        """The call has its effect, the answer is lost."""
        self._send(request).content  # noqa: B018 - reads the answer
        raise ReadTimeoutError(endpoint_url=request.url)

    def lost_before(self, request: AWSPreparedRequest) -> AWSResponse | None:
        """The call never arrives, which nobody can know."""
        raise ReadTimeoutError(endpoint_url=request.url)

    def held_back(self, request: AWSPreparedRequest) -> AWSResponse | None:
        """As `lost_before`, but it may arrive later: see `deliver`."""
        self.held.append(request)
        raise ReadTimeoutError(endpoint_url=request.url)

    def deliver(self) -> list[int]:
        """What was held back arrives now; the status codes."""
        return [self._send(self.held.pop(0)).status_code for _ in range(len(self.held))]

    def sent_twice(self, request: AWSPreparedRequest) -> AWSResponse | None:
        """The call has its effect; what is answered is its repetition's failure."""
        self._send(request).content  # noqa: B018 - reads the answer
        asked = json.loads(request.body)
        row = asked["TransactItems"][-1]["Put"]["Item"]
        return cancelled(*["None"] * (len(asked["TransactItems"]) - 1), row)(request)

    def _met(
        self, request: AWSPreparedRequest, event_name: str, **_: Any
    ) -> AWSResponse | None:
        operation = event_name.rpartition(".")[2]
        self.calls[operation] += 1
        plan = self._plans[operation]
        fault = plan.popleft() if plan else self.always.get(operation)
        return fault(request) if fault else None


def answered(members: Any, status: int = 200) -> Fault:
    """Another answer than the server's; bytes are sent as they are."""
    body = members if isinstance(members, bytes) else json.dumps(members).encode()

    def fault(request: AWSPreparedRequest) -> AWSResponse:
        headers = {"content-type": "application/x-amz-json-1.0"}
        if not isinstance(members, bytes):
            headers["x-amzn-requestid"] = "made-up"
        return AWSResponse(request.url, status, headers, _Raw(body))

    return fault


def refused(code: str, status: int = 400, **members: Any) -> Fault:
    """A failure by its code."""
    text = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "no"}
    return answered(text | members, status)


def cancelled(*reasons: str | dict[str, Any]) -> Fault:
    """A cancelled transaction; a row in the place of a reason is one that was met."""
    told = [
        {"Code": reason} if isinstance(reason, str)
        else {"Code": "ConditionalCheckFailed", "Item": reason}
        for reason in reasons
    ]  # fmt: skip
    return refused("TransactionCanceledException", CancellationReasons=told)


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self._body
