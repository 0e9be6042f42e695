"""Assembles the service of history and events."""

from __future__ import annotations

from workspace.project.v1 import history_service_pb2_grpc

from project_svc.documents.changes import DocumentChanges
from project_svc.history.activity import ActivityLists
from project_svc.history.history import History
from project_svc.history.verify_activity import ActivityCheck
from project_svc.history.watch_events import WatchedEvents
from project_svc.history.webhook_delivery import WebhookDelivery
from project_svc.history.webhooks import Webhooks
from project_svc.servicers.history import HistoryServicer
from services.events.egress import Egress
from services.kernel import Kernel, Registration

__all__ = ["history_registration", "open_egress", "webhook_delivery"]


def history_registration(changes: DocumentChanges) -> Registration:
    """HistoryService on the gate of this process."""
    servicer = HistoryServicer(
        history=History(changes=changes),
        activity=ActivityLists(changes=changes),
        check=ActivityCheck(changes=changes),
        watched=WatchedEvents(kernel=changes.kernel, access=changes.access),
        webhooks=Webhooks(
            kernel=changes.kernel, access=changes.access, egress=open_egress(changes.kernel)
        ),
    )
    return Registration(
        history_service_pb2_grpc.add_HistoryServiceServicer_to_server,
        servicer,
        "workspace.project.v1.HistoryService",
    )


def webhook_delivery(kernel: Kernel) -> WebhookDelivery:
    """Consumer, due work and workers of webhooks."""
    return WebhookDelivery(kernel=kernel, egress=open_egress(kernel))


def open_egress(kernel: Kernel) -> Egress:
    """Where webhooks may go, by the settings."""
    settings = kernel.settings
    return Egress(
        networks=[text.strip() for text in settings.webhook_networks.split(",") if text.strip()],
        ca_file=settings.webhook_ca_file,
    )
