"""`wm preferences`: what you want to be told."""

from __future__ import annotations

from typing import Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.identity.v1.preference_pb2 import NotificationDelivery, NotificationPreference
from workspace.identity.v1.preference_service_pb2 import (
    GetNotificationPreferencesRequest,
    UpdateNotificationPreferencesRequest,
)
from workspace.identity.v1.preference_service_pb2_grpc import PreferenceServiceStub

from services.cli.client import Session, in_session
from services.cli.enums import parse_enum
from services.cli.failures import usage
from services.cli.options import Options, options_of
from services.cli.output import field_text, show_table

app = typer.Typer(
    add_completion=False, invoke_without_command=True,
    help="What you want to be told, by topic; `set TOPIC email|none` changes it.",
)


@app.callback()
def preferences(ctx: typer.Context) -> None:
    """Your notification preferences; `set TOPIC email|none` changes one."""
    if ctx.invoked_subcommand is None:
        list_(ctx)


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """Your preferences, one for each topic."""
    options = options_of(ctx)

    async def work(session: Session) -> None:
        stub = session.stub(PreferenceServiceStub)
        request = GetNotificationPreferencesRequest(user_id=session.user_id)
        answer = await session.call(stub.GetNotificationPreferences, request)
        _show(options, answer.preferences)

    in_session(options, work)


@app.command("set")
def set_(
    ctx: typer.Context,
    topic: list[str] = typer.Argument(metavar="TOPIC...", help="Topics, or `all`; then the way."),
) -> None:
    """Choose the way: wm preferences set project.shared none"""
    *topics, way = topic
    if not topics:
        raise usage("give a topic and `email` or `none`", remedy="wm preferences lists the topics")
    number: Any = parse_enum("DELIVERY", NotificationDelivery.DESCRIPTOR, way)
    options = options_of(ctx)

    async def work(session: Session) -> None:
        stub = session.stub(PreferenceServiceStub)
        wanted = topics
        if topics == ["all"]:
            read = GetNotificationPreferencesRequest(user_id=session.user_id)
            known = await session.call(stub.GetNotificationPreferences, read)
            wanted = [preference.topic for preference in known.preferences]
        request = UpdateNotificationPreferencesRequest(
            user_id=session.user_id,
            preferences=[NotificationPreference(topic=each, delivery=number) for each in wanted],
            update_mask=FieldMask(paths=["delivery"]),
        )
        answer = await session.call(stub.UpdateNotificationPreferences, request)
        _show(options, answer.preferences)

    in_session(options, work)


def _show(options: Options, preferences: Any) -> None:
    def row(preference: Any) -> list[str]:
        chosen = "" if preference.etag else "default"
        return [preference.topic, field_text(preference, "delivery"), chosen]

    show_table(options, "preferences", list(preferences), ("topic", "delivery", ""), row)
