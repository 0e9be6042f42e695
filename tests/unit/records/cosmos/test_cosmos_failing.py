"""What answers of Cosmos DB mean, and what callers are told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.exceptions import DecodeError, ServiceResponseError
from azure.cosmos import exceptions as cosmos

from services.azure.failures import Kind
from services.model.errors import WorkspaceError
from services.records.cosmos.failing import NotOfTheService, cosmos_failure, port_error
from services.records.port import DriverUnavailable, StorageFull


def answered(
    status: int, sub_status: int = 0, message: str = "account secret", **headers: str
) -> Any:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    given = {"x-ms-substatus": str(sub_status), **more}
    response: Any = SimpleNamespace(
        status_code=status, reason="", headers=given, text=lambda: "", body=lambda: b""
    )
    make: Any = cosmos.CosmosHttpResponseError
    return make(message=message, response=response)


def of_batch(status: int, sub_status: int = 0) -> Any:
    make: Any = cosmos.CosmosBatchOperationError
    failed = {"statusCode": status, "subStatusCode": sub_status}
    return make(1, {}, status, "m", [{"statusCode": 424}, failed])


@pytest.mark.parametrize(
    ("error", "kind", "ambiguous"),
    [
        (answered(429, 3200), Kind.THROTTLED, False),
        (answered(449), Kind.THROTTLED, False),
        (answered(408), Kind.UNAVAILABLE, True),
        (answered(500), Kind.UNAVAILABLE, True),
        (answered(503), Kind.UNAVAILABLE, True),
        (answered(410, 1002), Kind.UNAVAILABLE, True),
        (answered(403, 3), Kind.UNAVAILABLE, False),
        (answered(403, 1008), Kind.UNAVAILABLE, False),
        (answered(403, 1014), Kind.FULL, False),
        (answered(403, 5302), Kind.DENIED, False),
        (answered(403, 0, "The token is not valid at the current time."), Kind.SKEWED, False),
        (answered(401), Kind.BAD_CREDENTIALS, False),
        (answered(404, 1003), Kind.MISSING, False),
        (answered(404, 1002), Kind.UNAVAILABLE, False),
        (answered(400), Kind.INVALID, False),
        (of_batch(429), Kind.THROTTLED, False),
        (of_batch(408), Kind.UNAVAILABLE, True),
        (of_batch(403, 1014), Kind.FULL, False),
        (DecodeError("no JSON"), Kind.UNAVAILABLE, True),
        (NotOfTheService(), Kind.UNAVAILABLE, True),
        (KeyError("Documents"), Kind.UNAVAILABLE, True),
        (TimeoutError(), Kind.UNAVAILABLE, True),
        (ServiceResponseError("cut"), Kind.UNAVAILABLE, True),
    ],
)
def test_kinds(error: Exception, kind: Kind, ambiguous: bool) -> None:
    failure = cosmos_failure(error).failure
    assert (failure.kind, failure.ambiguous) == (kind, ambiguous)


def test_the_pause_that_the_service_asks_for_is_kept() -> None:
    assert cosmos_failure(answered(429, x_ms_retry_after_ms="250")).failure.retry_after == 0.25


@pytest.mark.parametrize(
    ("error", "made", "said"),
    [
        (answered(403, 1014), StorageFull, "20 GB"),
        (answered(400), WorkspaceError, "container c"),
        (answered(403, 5302), DriverUnavailable, "Cosmos DB Built-in Data Contributor"),
        (answered(503), DriverUnavailable, "503"),
    ],
)
def test_the_errors_of_the_port(error: Exception, made: type[Exception], said: str) -> None:
    found = port_error(cosmos_failure(error), "c", ambiguous=True)
    assert type(found) is made
    assert said in str(found)
    assert "secret" not in str(found)
    if isinstance(found, DriverUnavailable):
        assert found.ambiguous
        assert bool(found.remedy) == (getattr(error, "status_code", 0) == 403)
