"""The two interceptors that count calls: of addresses before authentication, of users
after it (`rates.py` says what counts)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, ClassVar, Final

from services.model.errors import WorkspaceError
from services.rpc.policy import Kind, Policy
from services.rpc.rates import CallRates
from services.rpc.request_id import ServedCall, served_call
from services.rpc.wrap import CallInterceptor, Context, Handler, Stream, Unary, wrap_handler

__all__ = ["AddressInterceptor", "UserInterceptor"]

_HEALTH: Final = "/grpc.health.v1.Health/"
"""Never refused: a balancer that shares its address with its clients must not think that
the server is ill."""
_SIGN_IN: Final = frozenset({"/workspace.identity.v1.IdentityService/IssueLocalToken"})
"""Counted when it fails, but not refused: wrong secrets have a limit of their own
(`tokens/local_secret.py`), and the right one always passes."""


class AddressInterceptor(CallInterceptor):
    """Refuses an address that made too many calls that nobody was known to make."""

    name: ClassVar[str] = "addresses"

    def __init__(self, policy: Policy, rates: CallRates) -> None:
        super().__init__()
        self._policy = policy
        self._rates = rates

    def wrap(self, method: str, handler: Handler) -> Handler:
        """Before the handler: is the address still welcome? After it: was it refused?"""
        if not self._rates.counts_addresses or method.startswith(_HEALTH):
            return handler
        rates, check = self._rates, self._check(method)

        def unary(inner: Unary) -> Unary:
            async def serve(request: Any, context: Context) -> Any:
                call = served_call()
                check(call, context)
                try:
                    return await inner(request, context)
                except WorkspaceError as error:
                    rates.note_refusal(error, call, context)
                    raise

            return serve

        def stream(inner: Stream) -> Stream:
            async def serve(request: Any, context: Context) -> AsyncGenerator[Any, None]:
                call = served_call()
                check(call, context)
                try:
                    async with aclosing(inner(request, context)) as items:
                        async for item in items:
                            yield item
                except WorkspaceError as error:
                    rates.note_refusal(error, call, context)
                    raise

            return serve

        return wrap_handler(handler, unary, stream)

    def _check(self, method: str) -> Callable[[ServedCall, Context], None]:
        rule = self._policy.get(method)
        if method in _SIGN_IN:
            return _pass
        if rule is not None and rule.kind is Kind.PUBLIC:
            return self._rates.take_address
        return self._rates.require_address


class UserInterceptor(CallInterceptor):
    """Refuses a user who makes too many calls."""

    name: ClassVar[str] = "users"

    def __init__(self, rates: CallRates) -> None:
        super().__init__()
        self._rates = rates

    def wrap(self, _method: str, handler: Handler) -> Handler:
        """Count, or refuse, before the handler runs."""
        if not self._rates.counts:
            return handler
        take = self._rates.take_user

        def unary(inner: Unary) -> Unary:
            async def serve(request: Any, context: Context) -> Any:
                take(served_call())
                return await inner(request, context)

            return serve

        def stream(inner: Stream) -> Stream:
            async def serve(request: Any, context: Context) -> AsyncGenerator[Any, None]:
                take(served_call())
                async with aclosing(inner(request, context)) as items:
                    async for item in items:
                        yield item

            return serve

        return wrap_handler(handler, unary, stream)


def _pass(*_: object) -> None:
    pass
