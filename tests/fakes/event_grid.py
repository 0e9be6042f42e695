"""A custom topic of Event Grid (REST reference: "Publish CloudEvents"; Microsoft Learn,
"CloudEvents v1.0 schema with Azure Event Grid", "Azure Event Grid quotas and limits").

It takes a request as a whole or not at all, as the topic does; nobody subscribes: `events`
is what it has, in its order. Texts of refusals are cut to what tells them apart.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.fakes.https import Answer, HttpsFake, Request

__all__ = ["MOST_BYTES", "Topic"]

MOST_BYTES = 1024 * 1024
_MOST_EVENTS = 5000
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,20}")
_REQUIRED = ("id", "source", "type")
_NO_ROLE = (
    "The principal associated with access token presented with the incoming request does not have "
    "permission to send data to /subscriptions/s/resourceGroups/r/providers/Microsoft.EventGrid/"
    "topics/t."
)


class Topic(HttpsFake):
    """`schema` is that of the topic; `role`: whether the identity may send."""

    audiences = ("https://eventgrid.azure.net", "https://eventgrid.azure.net/")

    def __init__(self, certificate: tuple[Path, Path]) -> None:
        super().__init__(certificate)
        self.events: list[dict[str, Any]] = []
        self.schema = "CloudEventV10"
        self.role = True

    def handle(self, request: Request) -> Answer:
        if request.method != "POST" or request.path != "/api/events":
            return self.error(404, "NotFound", "Resource not found.")
        if request.query.get("api-version") != "2018-01-01":
            return self.error(400, "BadRequest", "The api-version is not valid.")
        if not self.role:
            return self.error(401, "Unauthorized", _NO_ROLE)
        if len(request.body) > MOST_BYTES:
            return self.error(413, "RequestEntityTooLarge", "The maximum size is 1048576 bytes.")
        return self._publish(request)

    def _publish(self, request: Request) -> Answer:
        kind = request.headers.get("content-type", "").partition(";")[0]
        if self.schema != "CloudEventV10" or kind != "application/cloudevents-batch+json":
            return self._malformed(
                f"This resource is configured to receive event in "
                f"'{self.schema}' schema. The JSON received does not conform."
            )
        events = request.json()
        if not isinstance(events, list) or len(events) > _MOST_EVENTS:
            return self._malformed("The batch is no array of up to 5000 events.")
        if wrong := next((each for each in events if not _is_cloud_event(each)), None):
            return self._malformed(f"The event {wrong.get('id')} is no CloudEvent.")
        self.events += events
        return Answer(200)

    def _malformed(self, message: str) -> Answer:
        details = [{"code": "InputJsonInvalid", "message": message}]
        return self.error(400, "BadRequest", message, details=details)


def _is_cloud_event(event: dict[str, Any]) -> bool:
    simple = {name: value for name, value in event.items() if name not in ("data", "data_base64")}
    return (
        event.get("specversion") == "1.0"
        and all(isinstance(event.get(name), str) and event[name] for name in _REQUIRED)
        and all(_ATTRIBUTE.fullmatch(name) for name in simple)
        and all(isinstance(value, str | bool | int) for value in simple.values())
    )
