"""Who may call which method at all: one row per method, exact match, deny by default.

This is the coarse gate (person, service, anybody). Whether the person may do it
to *this* project is decided by the use case.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

from services.model.errors import WorkspaceError, invalid_field, permission_denied
from services.rpc.request_id import ServedCall, served_call
from services.rpc.wrap import CallInterceptor, Context, Handler, Stream, Unary, wrap_handler

__all__ = [
    "KERNEL_POLICY",
    "PUBLIC",
    "USER",
    "Kind",
    "Policy",
    "PolicyInterceptor",
    "Rule",
    "merge_policies",
    "public_methods",
    "rows",
    "service",
    "user_or_service",
]


class Kind(enum.Enum):
    """PUBLIC: no credentials. USER: a verified user. SERVICE: a named service
    (a user token is optional and forwarded). USER_OR_SERVICE: either."""

    PUBLIC = "public"
    USER = "user"
    SERVICE = "service"
    USER_OR_SERVICE = "user_or_service"


@dataclass(frozen=True, slots=True)
class Rule:
    """One policy row. `services` are service names such as `project_svc`."""

    kind: Kind
    services: frozenset[str] = field(default=frozenset())

    def __post_init__(self) -> None:
        if (self.kind in (Kind.SERVICE, Kind.USER_OR_SERVICE)) != bool(self.services):
            raise ValueError(f"{self.kind.name}: service names go with service rules, only")
        if "" in self.services:
            raise ValueError("a service name must not be empty")

    def allows(self, *, has_user: bool, peer: str) -> bool:
        """Whether a verified user and/or peer service ('' for none) may call."""
        match self.kind:
            case Kind.PUBLIC:
                return True
            case Kind.USER:
                return has_user
            case Kind.SERVICE:
                return peer in self.services
            case Kind.USER_OR_SERVICE:
                return has_user or peer in self.services


    @property
    def for_people(self) -> bool:
        """Whether anybody but services may call: what a gateway publishes."""
        return self.kind is not Kind.SERVICE


Policy = Mapping[str, Rule]

PUBLIC = Rule(Kind.PUBLIC)
USER = Rule(Kind.USER)


def service(*names: str) -> Rule:
    """Only these services may call."""
    return Rule(Kind.SERVICE, frozenset(names))


def user_or_service(*names: str) -> Rule:
    """A verified user, or one of these services."""
    return Rule(Kind.USER_OR_SERVICE, frozenset(names))


KERNEL_POLICY: Policy = MappingProxyType(
    {
        "/grpc.health.v1.Health/Check": PUBLIC,
        "/grpc.health.v1.Health/List": PUBLIC,
        "/grpc.health.v1.Health/Watch": PUBLIC,
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": PUBLIC,
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": PUBLIC,
    }
)


def rows(full_name: str, rule: Rule, *methods: str) -> dict[str, Rule]:
    """One row of `rule` for each of these methods of a service (its full name)."""
    return {f"/{full_name}/{method}": rule for method in methods}


def merge_policies(*tables: Policy) -> Policy:
    """One read-only table. Raises ValueError when a method has two rows."""
    merged: dict[str, Rule] = {}
    for table in tables:
        for method, rule in table.items():
            if method in merged:
                raise ValueError(f"{method} has two policy rows; keep one")
            merged[method] = rule
    return MappingProxyType(merged)


def public_methods(policy: Policy) -> list[str]:
    """What needs no credentials."""
    return [method for method, rule in policy.items() if rule.kind is Kind.PUBLIC]


def _denied(method: str) -> WorkspaceError:
    return permission_denied("call", method.removeprefix("/"))


class PolicyInterceptor(CallInterceptor):
    """Refuses a call that its method's row does not allow; no row, no call."""

    name: ClassVar[str] = "policy"

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self._policy = policy

    def wrap(self, method: str, handler: Handler) -> Handler:
        """Check before the handler runs and before a message is read."""
        rule = self._policy.get(method)

        def check() -> None:
            call = served_call()
            _check_content_type(call)
            if rule is None or not rule.allows(has_user=call.caller is not None, peer=call.service):
                raise _denied(method)

        def unary(inner: Unary) -> Unary:
            async def serve(request: Any, context: Context) -> Any:
                check()
                return await inner(request, context)

            return serve

        def stream(inner: Stream) -> Stream:
            async def serve(request: Any, context: Context) -> AsyncGenerator[Any, None]:
                check()
                async with aclosing(inner(request, context)) as items:
                    async for item in items:
                        yield item

            return serve

        return wrap_handler(handler, unary, stream)


def _check_content_type(call: ServedCall) -> None:
    """gRPC core takes any content type and mostly hides it; where a transport
    shows it, only gRPC's own is accepted."""
    for key, value in call.metadata:
        if key == "content-type" and not _is_grpc(value):
            raise invalid_field("content-type", "must be application/grpc")


def _is_grpc(value: str | bytes) -> bool:
    if not isinstance(value, str):
        return False
    kind = value.lower()
    return kind == "application/grpc" or kind.startswith(("application/grpc+", "application/grpc;"))
