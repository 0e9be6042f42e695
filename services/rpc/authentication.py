"""Who is calling: the person from the bearer token, the service from the transport.

Fails closed: whatever goes wrong while a token is judged, the call does not
reach its handler. The text never says which check failed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, ClassVar, Protocol

import grpc

from services.elapsed import Elapsed, Moment
from services.model.errors import Reason, WorkspaceError, permission_denied
from services.model.token_scopes import may_call
from services.rpc.context import Caller
from services.rpc.headers import bearer_of, unauthenticated
from services.rpc.policy import Kind, Policy, Rule
from services.rpc.received import opened
from services.rpc.request_id import ServedCall, served_call
from services.rpc.wrap import CallInterceptor, Context, Handler, Stream, Unary, wrap_handler

__all__ = [
    "SERVICE_HEADER",
    "Admission",
    "AuthenticationInterceptor",
    "Authenticator",
    "peer_service",
]

SERVICE_HEADER = "x-workspace-service"
"""As which service a process calls; its certificate has to prove it."""
RECHECK_SECONDS = 4.0
"""How long a stream goes on without asking again whether its caller may come in."""
_log = logging.getLogger("workspace.rpc")


class Authenticator(Protocol):
    """Turns a bearer token into the person it was issued to."""

    async def authenticate(self, bearer: str) -> Caller:
        """The verified caller.

        Raises WorkspaceError: UNAUTHENTICATED for a token that does not verify,
        BACKEND_UNAVAILABLE when that cannot be found out now.
        """


class Admission(Protocol):
    """Says whether a verified person may come in (disabled, sessions revoked)."""

    async def admit(self, caller: Caller) -> Caller | None:
        """Who comes in: the user that the caller's identity leads to; None: the
        caller as he is. Raises WorkspaceError: USER_DISABLED, UNAUTHENTICATED."""


def peer_service(
    auth: Mapping[str, Iterable[bytes]],
    services: Mapping[str, str],
    metadata: Iterable[tuple[str, str | bytes]] = (),
) -> str:
    """The service name of the peer, from the transport's `auth_context()`.

    The in-process channel (`local`) names it. Over mutual TLS (`ssl`) it is a URI among
    the subject alternative names of the certificate, looked up exactly in `services`
    (for example `{"spiffe://example.org/project": "project_svc"}`); the common name and
    names of other types are never used. A certificate proves as which services its holder
    may speak; that a call is one of theirs is said by its `x-workspace-service`, which
    adds none: what a process forwards for a client is the client's, whatever the
    certificate. '' without that word, for two of them, for one that is not proved.
    """
    transport = list(auth.get("transport_security_type", ()))
    if transport == [b"local"]:
        names = {name.decode("ascii", "replace") for name in auth.get("workspace_service", ())}
        return names.pop() if len(names) == 1 else ""
    if transport != [b"ssl"] or not services:
        return ""
    # Not `x509_subject_alternative_name`: a DNS name or an address with the text of a
    # URI is in there, too.
    found = (services.get(name.decode("utf-8", "replace")) for name in auth.get("peer_uri", ()))
    proved = {name for name in found if name}
    claims = [value for key, value in metadata if key == SERVICE_HEADER]
    return next((name for name in proved if claims == [name]), "")


class AuthenticationInterceptor(CallInterceptor):
    """Fills `caller`, `bearer` and `service` of the call.

    Public methods are skipped; so are methods without a policy row, which the
    policy interceptor refuses next. On methods for services the token is
    optional, but one that is sent must verify.
    """

    name: ClassVar[str] = "authentication"

    def __init__(
        self,
        *,
        policy: Policy,
        authenticator: Authenticator,
        admission: Admission,
        services: Mapping[str, str],
    ) -> None:
        super().__init__()
        self._policy = policy
        self._authenticator = authenticator
        self._admission = admission
        self._services = services
        self._elapsed = Elapsed()

    def wrap(self, method: str, handler: Handler) -> Handler:
        """Authenticate before the handler runs."""
        rule = self._policy.get(method)
        if rule is None or rule.kind is Kind.PUBLIC:
            return handler
        checked: Rule = rule

        def unary(inner: Unary) -> Unary:
            async def serve(request: Any, context: Context) -> Any:
                await self._identify(checked, context)
                _check_scope(checked, method, request)
                return await inner(request, context)

            return serve

        def stream(inner: Stream) -> Stream:
            async def serve(request: Any, context: Context) -> AsyncGenerator[Any, None]:
                await self._identify(checked, context)
                _check_scope(checked, method, request)
                call, admitted = served_call(), time.monotonic()
                began = self._elapsed.moment()
                async with aclosing(inner(request, context)) as items:
                    async for item in items:
                        if time.monotonic() - admitted >= RECHECK_SECONDS:
                            await self._check_again(call, began)
                            admitted = time.monotonic()
                        yield item

            return serve

        return wrap_handler(handler, unary, stream)

    async def _identify(self, rule: Rule, context: Context) -> None:
        call = served_call()
        call.service = peer_service(context.auth_context(), self._services, call.metadata)
        bearer = bearer_of(call.metadata)
        if bearer:
            await self._identify_user(call, bearer)
        elif rule.kind is not Kind.SERVICE and not rule.allows(has_user=False, peer=call.service):
            raise unauthenticated()

    async def _identify_user(self, call: ServedCall, bearer: str) -> None:
        caller = await self._verify(bearer)
        try:
            admitted = await self._admission.admit(caller)
        except WorkspaceError as error:
            raise _generic(error) from None
        call.caller = admitted or caller
        call.bearer = bearer

    async def _check_again(self, call: ServedCall, began: Moment) -> None:
        """A stream outlives its first check: who was disabled or revoked since, or
        whose token has expired, gets nothing more. A clock that was set back since it
        `began` gives no token a longer life."""
        if call.caller is None:
            return
        if call.caller.scope is not None:
            await self._verify(call.bearer)
        elif 0 < call.caller.expires_at <= began.wall + self._elapsed.since(began):
            raise unauthenticated()
        try:
            await self._admission.admit(call.caller)
        except WorkspaceError as error:
            raise _generic(error) from None

    async def _verify(self, bearer: str) -> Caller:
        try:
            caller = await self._authenticator.authenticate(bearer)
        except WorkspaceError as error:
            raise _generic(error) from None
        except (TimeoutError, grpc.RpcError):
            raise  # not known whether the token is good: the edge says so
        except Exception:
            # A token that breaks the verifier is a bad token, and a defect of ours.
            _log.exception("the authenticator failed", extra={"method": "authenticate"})
            raise unauthenticated() from None
        if not isinstance(caller, Caller):
            raise unauthenticated()
        return caller


def _check_scope(rule: Rule, method: str, request: Any) -> None:
    """Refuses what the scope of a machine token does not reach at all. Methods
    for services are theirs: the person's own call was checked."""
    caller = served_call().caller
    if caller is None or caller.scope is None or rule.kind is Kind.SERVICE:
        return
    if not may_call(caller.scope, method, opened(request)):
        raise permission_denied("machine_token_scope", method.removeprefix("/"))


def _generic(error: WorkspaceError) -> WorkspaceError:
    if error.reason == Reason.ERROR_REASON_UNAUTHENTICATED:
        return unauthenticated()
    return error
