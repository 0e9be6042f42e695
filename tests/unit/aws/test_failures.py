"""Failures of AWS calls: what kind they are, and what people are told."""

from __future__ import annotations

from typing import Any

import pytest
from botocore import exceptions as sdk

from services.aws.failures import Kind, failure_of, iam_action, refusal
from services.model.errors import Reason

URL = "https://dynamodb.eu-central-1.amazonaws.com"


def answered(code: str, status: int) -> sdk.ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": "arn:aws:iam::123456789012:user/ann"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return sdk.ClientError(response, "PutItem")


@pytest.mark.parametrize(
    ("error", "kind", "ambiguous"),
    [
        (answered("ThrottlingException", 400), Kind.THROTTLED, False),
        (answered("SlowDown", 503), Kind.THROTTLED, False),
        (answered("AccessDeniedException", 400), Kind.DENIED, False),
        (answered("ExpiredTokenException", 400), Kind.EXPIRED, False),
        (answered("UnrecognizedClientException", 400), Kind.BAD_CREDENTIALS, False),
        (answered("RequestTimeTooSkewed", 403), Kind.SKEWED, False),
        (answered("PermanentRedirect", 301), Kind.WRONG_REGION, False),
        (answered("ResourceNotFoundException", 400), Kind.MISSING, False),
        (answered("ConditionalCheckFailedException", 400), Kind.CONDITION, False),
        (answered("ValidationException", 400), Kind.INVALID, False),
        (answered("InternalServerError", 500), Kind.UNAVAILABLE, True),
        (answered("ServiceUnavailable", 503), Kind.UNAVAILABLE, True),
        (sdk.NoCredentialsError(), Kind.NO_CREDENTIALS, False),
        (sdk.EndpointConnectionError(endpoint_url=URL), Kind.UNAVAILABLE, False),
        (sdk.ConnectTimeoutError(endpoint_url=URL), Kind.UNAVAILABLE, False),
        (sdk.ReadTimeoutError(endpoint_url=URL), Kind.UNAVAILABLE, True),
        (sdk.ConnectionClosedError(endpoint_url=URL), Kind.UNAVAILABLE, True),
        (sdk.ParamValidationError(report="x"), Kind.INVALID, False),
        (OSError("reset"), Kind.UNAVAILABLE, True),
    ],
)
def test_the_kind_of_a_failure(error: Exception, kind: Kind, ambiguous: bool) -> None:
    failure = failure_of(error, "dynamodb", "put_item")
    assert (failure.kind, failure.ambiguous) == (kind, ambiguous)
    assert failure.passing == (kind in (Kind.THROTTLED, Kind.UNAVAILABLE))


@pytest.mark.parametrize(
    ("service", "operation", "action"),
    [
        ("dynamodb", "transact_write_items", "dynamodb:PutItem"),
        ("dynamodb", "BatchGetItem", "dynamodb:BatchGetItem"),
        ("s3", "head_object", "s3:GetObject"),
        ("s3", "list_objects_v2", "s3:ListBucket"),
        ("s3", "put_bucket_cors", "s3:PutBucketCORS"),
        ("sesv2", "send_email", "ses:SendEmail"),
        ("events", "put_events", "events:PutEvents"),
    ],
)
def test_the_action_that_is_missing_is_named_as_iam_does(
    service: str, operation: str, action: str
) -> None:
    assert iam_action(service, operation) == action


def test_people_are_told_the_remedy_and_nothing_of_the_account() -> None:
    failure = failure_of(answered("AccessDeniedException", 400), "dynamodb", "put_item")
    error = refusal(failure, "table prod")
    assert error.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert error.message.startswith("table prod: dynamodb:PutItem failed (AccessDeniedException)")
    assert "IAM" in error.message
    assert "123456789012" not in error.message


def test_every_kind_says_what_helps() -> None:
    assert len({kind.value for kind in Kind}) == len(Kind)
    assert all(kind.value for kind in Kind)
