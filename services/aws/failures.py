"""What a failure of an AWS call means, and what helps.

Codes are those of the services' references ("Common errors", DynamoDB "Error
handling", S3 "Error responses"). No text of AWS is passed on: it may name accounts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from botocore import exceptions as sdk

from services.model.errors import Reason, WorkspaceError

__all__ = ["Failure", "Kind", "failure_of", "iam_action", "refusal"]


class Kind(Enum):
    """What kind of failure; the value says what helps."""

    THROTTLED = "the service asks for fewer requests: repeat later, or raise its limits"
    DENIED = "allow the action to these credentials in IAM"
    NO_CREDENTIALS = "sign in with `aws sso login`, or set AWS_PROFILE"
    EXPIRED = "the session of the credentials has ended: sign in again with `aws sso login`"
    BAD_CREDENTIALS = "AWS does not know these credentials: look at AWS_PROFILE"
    SKEWED = "the clock of this machine is wrong: set it"
    WRONG_REGION = "it is in another region: set WM_AWS_REGION to that one"
    MISSING = "it does not exist: make it with `wm setup aws`"
    CONDITION = "what is stored is not what was expected"
    INVALID = "the service does not take such a request"
    FULL = "the service's storage quota is used up: raise it, or free space"
    UNAVAILABLE = "repeat later"


_WITHOUT_ANSWER = frozenset(
    {
        "EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "TimeoutError",
        "ProxyConnectionError", "ConnectionClosedError", "SSLError",
    }
)  # fmt: skip
_NO_ANSWER = (
    "nothing answers: look at the network of this machine and at the endpoint in the settings, "
    "if one is there, or repeat later"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """`code` is the service's, `action` the IAM action of the call. `ambiguous`: the
    call may have had its effect. `passing`: repeating may help."""

    kind: Kind
    code: str
    action: str
    ambiguous: bool = False

    @property
    def passing(self) -> bool:
        return self.kind in (Kind.THROTTLED, Kind.UNAVAILABLE)

    def __str__(self) -> str:
        helps = _NO_ANSWER if self.code in _WITHOUT_ANSWER else self.kind.value
        return f"{self.action} failed ({self.code}): {helps}"


_KINDS = {
    Kind.THROTTLED: (
        "ProvisionedThroughputExceededException", "ThrottlingException", "Throttling",
        "ThrottledException", "RequestLimitExceeded", "TooManyRequestsException", "SlowDown",
        "RequestThrottled", "RequestThrottledException", "BandwidthLimitExceeded",
        "TransactionInProgressException", "LimitExceededException", "429",
    ),
    Kind.DENIED: (
        "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Forbidden",
        "AuthorizationError", "AllAccessDisabled", "NotAuthorized", "403",
    ),
    Kind.EXPIRED: (
        "ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired",
    ),
    Kind.BAD_CREDENTIALS: (
        "InvalidAccessKeyId", "UnrecognizedClientException", "InvalidClientTokenId",
        "SignatureDoesNotMatch", "InvalidSignatureException", "InvalidToken",
        "IncompleteSignature", "MissingAuthenticationToken", "AuthFailure",
    ),
    Kind.SKEWED: ("RequestTimeTooSkewed", "RequestInTheFuture"),
    Kind.WRONG_REGION: (
        "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException",
        "301",
    ),
    Kind.MISSING: (
        "ResourceNotFoundException", "NoSuchBucket", "NoSuchKey", "NoSuchUpload", "NotFound",
        "TableNotFoundException", "ParameterNotFound", "404",
    ),
    Kind.CONDITION: (
        "ConditionalCheckFailedException", "PreconditionFailed", "ConditionalRequestConflict",
        "TransactionCanceledException", "412", "409",
    ),
    Kind.FULL: ("ItemCollectionSizeLimitExceededException", "ServiceQuotaExceededException"),
}
_KIND_OF = {code: kind for kind, codes in _KINDS.items() for code in codes}
_NO_CREDENTIALS = (
    sdk.NoCredentialsError, sdk.PartialCredentialsError, sdk.CredentialRetrievalError,
    sdk.UnauthorizedSSOTokenError, sdk.SSOTokenLoadError, sdk.TokenRetrievalError,
)
_NEVER_SENT = (sdk.EndpointConnectionError, sdk.ConnectTimeoutError, sdk.ProxyConnectionError)
_S3_ACTIONS = {
    "HeadObject": "GetObject", "HeadBucket": "ListBucket", "ListObjectsV2": "ListBucket",
    "ListObjects": "ListBucket", "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListParts": "ListMultipartUploadParts", "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject", "UploadPartCopy": "PutObject", "CopyObject": "PutObject",
    "CompleteMultipartUpload": "PutObject", "DeleteObjects": "DeleteObject",
    "PutBucketCors": "PutBucketCORS", "PutBucketEncryption": "PutEncryptionConfiguration",
    "GetBucketCors": "GetBucketCORS", "GetBucketEncryption": "GetEncryptionConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
}
_DYNAMODB_ACTIONS = {"TransactWriteItems": "PutItem", "TransactGetItems": "GetItem"}
_PREFIXES = {"sesv2": "ses", "cognito-idp": "cognito-idp"}


def failure_of(error: BaseException, service: str, operation: str) -> Failure:
    """The failure behind an exception of the SDK. `operation` as the service names it
    (`TransactWriteItems`) or as the SDK does (`transact_write_items`)."""
    action = iam_action(service, operation)
    if isinstance(error, sdk.ClientError):
        return _answered(error, action)
    if isinstance(error, _NO_CREDENTIALS):
        return Failure(Kind.NO_CREDENTIALS, type(error).__name__, action)
    if isinstance(error, (sdk.NoRegionError, sdk.InvalidRegionError)):
        return Failure(Kind.WRONG_REGION, type(error).__name__, action)
    if isinstance(error, (sdk.ParamValidationError, sdk.ValidationError)):
        return Failure(Kind.INVALID, type(error).__name__, action)
    ambiguous = not isinstance(error, _NEVER_SENT)
    return Failure(Kind.UNAVAILABLE, type(error).__name__, action, ambiguous=ambiguous)


def iam_action(service: str, operation: str) -> str:
    """The action that IAM asks for, as `dynamodb:PutItem`."""
    name = operation
    if "_" in operation or operation.islower():
        name = "".join(word.capitalize() for word in operation.split("_"))
        name = {"ListObjectsV2": "ListObjectsV2"}.get(name, name)
    if service == "s3":
        name = _S3_ACTIONS.get(name, name)
    if service == "dynamodb":
        name = _DYNAMODB_ACTIONS.get(name, name)
    return f"{_PREFIXES.get(service, service)}:{name}"


def refusal(failure: Failure, what: str) -> WorkspaceError:
    """The error for people: `what` names the resource, as `table prod`. `failure` in its
    metadata is the kind, by which `wm` ends (cli/exit_codes.py)."""
    reason = Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    if failure.kind is Kind.FULL:
        reason = Reason.ERROR_REASON_STORAGE_FULL
    kind = failure.kind.name.lower()
    metadata = {"backend": "aws", "action": failure.action, "failure": kind}
    return WorkspaceError(reason, f"{what}: {failure}", metadata=metadata)


def _answered(error: Any, action: str) -> Failure:
    answer = error.response
    code = str(answer.get("Error", {}).get("Code", "")) or "unknown"
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    kind = _KIND_OF.get(code)
    if kind is Kind.BAD_CREDENTIALS and _is_skew(answer):
        kind = Kind.SKEWED
    if kind is not None:
        return Failure(kind, code, action)
    if status >= 500 or status == 0:
        return Failure(Kind.UNAVAILABLE, code, action, ambiguous=True)
    return Failure(Kind.INVALID, code, action)


def _is_skew(answer: Any) -> bool:
    """DynamoDB and others have no code of their own for a clock that is wrong."""
    message = str(answer.get("Error", {}).get("Message", ""))
    return message.startswith(("Signature expired", "Signature not yet current"))
