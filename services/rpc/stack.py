"""The interceptors of every server, socket and in-process, in their one order."""

from __future__ import annotations

from collections.abc import Mapping

from services.rpc.authentication import Admission, AuthenticationInterceptor, Authenticator
from services.rpc.deadline import DeadlineInterceptor, DeadlineLimits
from services.rpc.errors import ErrorInterceptor
from services.rpc.limiting import AddressInterceptor, UserInterceptor
from services.rpc.policy import Policy, PolicyInterceptor
from services.rpc.rates import CallRates
from services.rpc.request_id import RequestIdInterceptor
from services.rpc.telemetry import TelemetryInterceptor
from services.rpc.validation import ValidationInterceptor, Validator
from services.rpc.wrap import CallInterceptor
from services.telemetry.metrics import RpcMetrics
from services.telemetry.traces import Tracing

__all__ = ["ORDER", "build_edge_interceptors", "build_interceptors"]

ORDER = (
    "request_id",
    "telemetry",
    "errors",
    "deadline",
    "addresses",
    "authentication",
    "users",
    "policy",
    "validation",
)


def build_interceptors(
    *,
    policy: Policy,
    authenticator: Authenticator,
    admission: Admission,
    validator: Validator,
    metrics: RpcMetrics,
    tracing: Tracing,
    services: Mapping[str, str],
    limits: DeadlineLimits | None = None,
    rates: CallRates | None = None,
) -> tuple[CallInterceptor, ...]:
    """The interceptors, outermost first; give the same tuple to every server.

    `policy` has a row for each method that may be called (`KERNEL_POLICY`
    included); `services` maps certificate names (SAN) to service names. Without
    `rates` calls are not counted.
    """
    rates = rates or CallRates()
    interceptors: tuple[CallInterceptor, ...] = (
        RequestIdInterceptor(),
        TelemetryInterceptor(metrics, tracing),
        ErrorInterceptor(),
        DeadlineInterceptor(limits or DeadlineLimits()),
        AddressInterceptor(policy, rates),
        AuthenticationInterceptor(
            policy=policy, authenticator=authenticator, admission=admission, services=services
        ),
        UserInterceptor(rates),
        PolicyInterceptor(policy),
        ValidationInterceptor(validator),
    )
    order = tuple(interceptor.name for interceptor in interceptors)
    if order != ORDER:
        raise RuntimeError(f"the interceptors are out of order: {order}")
    return interceptors


def build_edge_interceptors(
    *, metrics: RpcMetrics, tracing: Tracing, limits: DeadlineLimits | None = None
) -> tuple[CallInterceptor, ...]:
    """The first four of them, for a server that only forwards: who may do what is
    decided where the call ends."""
    return (
        RequestIdInterceptor(),
        TelemetryInterceptor(metrics, tracing),
        ErrorInterceptor(),
        DeadlineInterceptor(limits or DeadlineLimits()),
    )
