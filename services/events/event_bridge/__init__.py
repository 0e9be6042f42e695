"""Activity events on a bus of Amazon EventBridge. Imported when it is selected."""

from services.events.event_bridge.publisher import EventBridgePublisher

__all__ = ["EventBridgePublisher"]
