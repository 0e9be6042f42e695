"""PreferenceService."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from typing import Any

from workspace.identity.v1.preference_service_pb2 import (
    GetNotificationPreferencesRequest,
    GetNotificationPreferencesResponse,
    UpdateNotificationPreferencesRequest,
    UpdateNotificationPreferencesResponse,
)
from workspace.identity.v1.preference_service_pb2_grpc import PreferenceServiceServicer

from identity_svc.users.preferences import Preferences

__all__ = ["PreferenceServicer"]


class PreferenceServicer(PreferenceServiceServicer):
    """Only methods that are built are here; no others are registered."""

    def __init__(
        self,
        *,
        preferences: Preferences,
    ) -> None:
        self._preferences = preferences

    async def GetNotificationPreferences(
        self, request: GetNotificationPreferencesRequest, _: Any
    ) -> GetNotificationPreferencesResponse:
        return await self._preferences.get(request)

    async def UpdateNotificationPreferences(
        self, request: UpdateNotificationPreferencesRequest, _: Any
    ) -> UpdateNotificationPreferencesResponse:
        return await self._preferences.update(request)
