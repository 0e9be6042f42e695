"""Registers what a servicer really implements, and lists it.

A method of the contract that is not built yet is not registered: gRPC itself
answers UNIMPLEMENTED and no interceptor or policy table has to know it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

__all__ = ["contract_methods", "register", "registered_methods"]

AddFunction = Callable[[Any, Any], None]
if TYPE_CHECKING:  # the stubs are generic, the classes are not
    Handlers = Mapping[str, grpc.RpcMethodHandler[Any, Any]]

_GENERATED = "_pb2_grpc"


def register(server: grpc.aio.Server, add_fn: AddFunction, servicer: object) -> tuple[str, ...]:
    """Register the implemented methods of `servicer` through the generated `add_fn`.

    `server` is a socket or in-process server. Returns the full method names,
    `/package.Service/Method`. Raises TypeError when the class has an RPC-like
    method that the contract lacks (a misspelled name).
    """
    added: list[str] = []
    for service, handlers in _implemented(add_fn, servicer).items():
        generic = grpc.method_handlers_generic_handler(service, dict(handlers))
        server.add_generic_rpc_handlers((generic,))
        server.add_registered_method_handlers(service, handlers)
        added += [f"/{service}/{name}" for name in handlers]
    return tuple(added)


def registered_methods(add_fn: AddFunction, servicer: object) -> tuple[str, ...]:
    """Full names of the methods that `register` would register.

    `servicer` may be the class itself: nothing is called on it.
    """
    found = _implemented(add_fn, servicer)
    return tuple(f"/{service}/{name}" for service, names in found.items() for name in names)


def contract_methods(add_fn: AddFunction, servicer: object) -> tuple[str, ...]:
    """Full names of all methods of the contract, built or not."""
    found = _recorded(add_fn, servicer)
    return tuple(f"/{service}/{name}" for service, names in found.items() for name in names)


class _Recorder:
    """Stands in for a server while generated code registers."""

    def __init__(self) -> None:
        self.services: dict[str, Handlers] = {}

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Opaque; the registered handlers below say the same by name."""

    def add_registered_method_handlers(self, service: str, handlers: Handlers) -> None:
        self.services[service] = handlers


def _recorded(add_fn: AddFunction, servicer: object) -> dict[str, Handlers]:
    recorder = _Recorder()
    add_fn(servicer, recorder)
    return recorder.services


def _implemented(add_fn: AddFunction, servicer: object) -> dict[str, Handlers]:
    cls = servicer if isinstance(servicer, type) else type(servicer)
    recorded = _recorded(add_fn, servicer)
    _refuse_unknown(cls, {name for handlers in recorded.values() for name in handlers})
    return {
        service: {name: handler for name, handler in handlers.items() if _is_built(cls, name)}
        for service, handlers in recorded.items()
    }


def _is_built(cls: type, name: str) -> bool:
    """Whether the first class of the MRO that has `name` is not a generated one."""
    owner = next(base for base in cls.__mro__ if name in vars(base))
    return not owner.__module__.endswith(_GENERATED)


def _refuse_unknown(cls: type, contract: set[str]) -> None:
    generated = [base for base in cls.__mro__ if base.__module__.endswith(_GENERATED)]
    contract = contract.union(*(vars(base) for base in generated))
    for base in cls.__mro__:
        for name, value in vars(base).items():
            if name[:1].isupper() and callable(value) and name not in contract:
                raise TypeError(f"{cls.__name__}.{name}: the contract has no such method")
