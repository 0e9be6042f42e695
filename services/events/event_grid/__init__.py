"""Activity events on a topic of Azure Event Grid. Imported when it is selected."""

from services.events.event_grid.publisher import EventGridPublisher

__all__ = ["EventGridPublisher"]
