"""Assembles the mail of notifications; nothing of it where mail is switched off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workspace.project.v1 import grant_service_pb2_grpc, permission_service_pb2_grpc

from identity_svc.directory import Directory
from identity_svc.invitations.tokens import InvitationTokens
from identity_svc.notifications.conflict_news import MAIL_CONFLICT, ConflictNews
from identity_svc.notifications.expiry import GRANT_EXPIRY, Expiry
from identity_svc.notifications.facts import FactsOf
from identity_svc.notifications.invitation_facts import InvitationFacts
from identity_svc.notifications.mailbox import Mailbox
from identity_svc.notifications.news import MAIL_EVENT, News
from identity_svc.notifications.places import Places
from identity_svc.notifications.quota import MAIL_SUMMARY, Quota
from identity_svc.notifications.recipients import Recipients
from identity_svc.notifications.sending import MAIL_LETTER, Sending
from services.events.due import DueHandler
from services.events.relay import Consumer
from services.kernel import Kernel, Peers

__all__ = ["NotificationParts", "notification_parts"]


@dataclass(frozen=True, slots=True)
class NotificationParts:
    """What a process runs for it."""

    consumers: Sequence[Consumer]
    due: Mapping[str, DueHandler]


def notification_parts(kernel: Kernel, peers: Peers, directory: Directory) -> NotificationParts:
    """With mail switched off, what was scheduled before is dropped."""
    if kernel.mail is None:
        kinds = (MAIL_EVENT, MAIL_LETTER, MAIL_SUMMARY, GRANT_EXPIRY, MAIL_CONFLICT)
        return NotificationParts((), dict.fromkeys(kinds, _drop))
    channel = peers("project", asking="identity_svc")
    places = Places(
        directory,
        grant_service_pb2_grpc.GrantServiceStub(channel),
        permission_service_pb2_grpc.PermissionServiceStub(channel),
    )
    invitations = InvitationFacts(kernel, places, InvitationTokens(kernel.instance_key))
    recipients = Recipients(places)
    sending = Sending(
        kernel,
        kernel.mail,
        mailbox=Mailbox(directory, FactsOf(places, invitations), invitations),
        quota=Quota(kernel.records, kernel.due, now=kernel.now),
    )
    expiry = Expiry(kernel, recipients, sending)
    news = News(kernel, recipients, expiry, sending)
    due: dict[str, DueHandler] = {
        MAIL_EVENT: news.prepare,
        MAIL_LETTER: sending.attempt,
        MAIL_SUMMARY: sending.summary,
        GRANT_EXPIRY: expiry.run,
        MAIL_CONFLICT: ConflictNews(kernel, places, sending).prepare,
    }
    return NotificationParts([news], due)


async def _drop(_subject: str) -> None:
    return
