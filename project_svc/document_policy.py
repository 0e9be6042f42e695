"""Policy rows of documents and history that are not USER."""

from __future__ import annotations

from collections.abc import Mapping

from services.rpc.policy import Rule, service

__all__ = ["DOCUMENT_POLICY"]

_DOCUMENT = "/workspace.project.v1.DocumentService/"
DOCUMENT_POLICY: Mapping[str, Rule] = {
    # The user acts through the token that storage forwards.
    _DOCUMENT + "AuthorizeFile": service("storage_svc"),
    _DOCUMENT + "BatchAuthorizeFiles": service("storage_svc"),
    _DOCUMENT + "AttachFile": service("storage_svc"),
}
