"""Where else activity events go, by the settings: consumers beside those of services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.aws.selected import aws_place
from services.azure.selected import azure_place
from services.events.relay import Consumer
from services.settings import Settings

__all__ = ["Publisher", "open_publishers"]


class Publisher(Consumer, Protocol):
    """A consumer of the relay that holds connections."""

    async def close(self) -> None: ...


def open_publishers(settings: Settings, *, instance_id: str) -> Sequence[Publisher]:
    """Those that are selected; the SDK is imported for them alone."""
    if settings.events == "off":
        return ()
    if settings.events == "eventgrid":
        from services.azure.clients import AzureClients
        from services.events.event_grid import EventGridPublisher

        return (
            EventGridPublisher(
                AzureClients(azure_place(settings)),
                topic=settings.azure_event_topic,
                environment=settings.environment,
                instance_id=instance_id,
            ),
        )
    from services.aws.clients import AwsClients
    from services.events.event_bridge import EventBridgePublisher

    return (
        EventBridgePublisher(
            AwsClients(aws_place(settings), workers=2),
            bus=settings.aws_event_bus,
            environment=settings.environment,
            instance_id=instance_id,
        ),
    )
