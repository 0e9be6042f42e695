"""Billing scopes of projects, for the grouping of usage."""

from __future__ import annotations

from workspace.project.v1.project_service_pb2 import (
    BatchGetBillingScopesRequest,
    BatchGetBillingScopesResponse,
)

from project_svc.access.facts import project_key
from services.model.families import FAMILIES
from services.records.store import RecordStore

__all__ = ["BillingScopes"]

_PROJECT = FAMILIES["project"]


class BillingScopes:
    """Answers one service; it decides nothing."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    async def get(self, request: BatchGetBillingScopesRequest) -> BatchGetBillingScopesResponse:
        """Of the projects that exist, by strong reads."""
        keys = [project_key(project_id) for project_id in request.project_ids]
        found = await self._records.batch_get(_PROJECT, keys)
        return BatchGetBillingScopesResponse(
            billing_scopes={
                record.message.project_id: record.message.billing_scope
                for record in found
                if record is not None
            }
        )
