"""AWS KMS through the client that the caller hands in: every call names the key that must be used."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from ._binding import Context
from ._envelopes import MAX_WRAPPED_LEN
from ._errors import KeyServiceError, Refused
from ._key_names import alias_name, check_configured, key_id, parse_arn, same_alias, same_key

# How long an alias is taken to name the same key, and how old an answer must be before a claim that fits nothing has
# the alias resolved again ("Controlling access to aliases", AWS KMS Developer Guide: up to five minutes).
_ALIAS_TTL = 300.0
_MIN_AGE = 10.0

# Error codes of the AWS KMS API reference, and those that the SDKs retry as throttling.
_KINDS = {
    **dict.fromkeys(("AccessDenied", "AccessDeniedException", "NotAuthorized", "OptInRequired"), "denied"),
    **dict.fromkeys(
        (
            "UnrecognizedClientException",
            "InvalidClientTokenId",
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidSignatureException",
            "SignatureDoesNotMatch",
            "IncompleteSignature",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "RequestExpired",
        ),
        "denied",
    ),
    "NotFoundException": "not_found",
    "DisabledException": "disabled",
    "KMSInvalidStateException": "pending_deletion",
    "IncorrectKeyException": "wrong_key",
    **dict.fromkeys(
        (
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "RequestThrottledException",
            "TooManyRequestsException",
            "LimitExceededException",
            "RequestLimitExceeded",
            "SlowDown",
        ),
        "throttled",
    ),
    **dict.fromkeys(("DependencyTimeoutException", "RequestTimeout", "RequestTimeoutException"), "timeout"),
    **dict.fromkeys(
        (
            "KMSInternalException",
            "KeyUnavailableException",
            "InternalFailure",
            "InternalError",
            "ServiceUnavailable",
            "ServiceUnavailableException",
        ),
        "unavailable",
    ),
}
_ABOUT_THE_KEY = ("wrong_key", "denied", "not_found", "disabled", "pending_deletion")


class KmsClient(Protocol):
    """The methods of ``boto3.client("kms")`` that are used."""

    def generate_data_key(self, **arguments: Any) -> Mapping[str, Any]: ...

    def decrypt(self, **arguments: Any) -> Mapping[str, Any]: ...

    def describe_key(self, **arguments: Any) -> Mapping[str, Any]: ...


class GeneratedDataKey(NamedTuple):
    """A new data key: the plaintext to seal with, the wrapped form to store, and the key that wrapped it."""

    plaintext: bytes
    wrapped: bytes
    key_id: str


class _DoesNotUnwrapError(Exception):
    """Another encryption context, or damaged bytes."""


class Kms:
    """A KMS client, the key that wraps and the keys that may have wrapped."""

    def __init__(self, client: KmsClient, key: str, allowed: Iterable[str]) -> None:
        self._client = client
        self._keys = list(dict.fromkeys([check_configured(key), *(check_configured(other) for other in allowed)]))
        self._lock = threading.Lock()
        self._aliases: dict[str, tuple[float, str]] = {}

    def generate(self, context: Context) -> GeneratedDataKey:
        key = self._keys[0]
        answer = _call("GenerateDataKey", self._client.generate_data_key, key, context, KeySpec="AES_256")
        plaintext, wrapped, arn = answer.get("Plaintext"), answer.get("CiphertextBlob"), answer.get("KeyId")
        if not isinstance(plaintext, bytes) or not isinstance(wrapped, bytes) or not isinstance(arn, str):
            raise _not_an_answer("GenerateDataKey")
        if len(plaintext) != 32 or not any(plaintext) or not 1 <= len(wrapped) <= MAX_WRAPPED_LEN:
            raise _not_an_answer("GenerateDataKey")
        self._check_answer(key, arn)
        return GeneratedDataKey(plaintext, wrapped, arn)

    def pins(self, claim: str | None) -> tuple[str, ...]:
        """The keys to try for a wrapped data key that claims one: each is named in the call, so KMS refuses others."""
        if not claim:
            return tuple(self._keys)
        if alias_name(claim) is not None:
            mine = [key for key in self._keys if same_alias(key, claim)]
            if not mine:
                raise _foreign()
            return (mine[0], *(key for key in self._keys if key != mine[0]))
        if key_id(claim) is None:
            raise _foreign()
        for key in self._keys:
            if alias_name(key) is None and same_key(key, claim):
                return (key,)
        for oldest in (_ALIAS_TTL, _MIN_AGE):
            for alias in filter(alias_name, self._keys):
                arn = self._resolved(alias, oldest)
                if same_key(arn, claim):
                    return (arn,)
        raise _foreign()

    def unwrap(self, wrapped: bytes, pins: Iterable[str], context: Context) -> bytes | None:
        """The data key; none where the context is another one or the bytes are damaged."""
        failure: KeyServiceError | None = None
        for pin in pins:
            try:
                answer = _call("Decrypt", self._client.decrypt, pin, context, CiphertextBlob=wrapped)
            except _DoesNotUnwrapError:
                return None
            except KeyServiceError as error:
                if error.kind not in _ABOUT_THE_KEY:
                    raise
                if failure is None or failure.kind == "wrong_key":
                    failure = error
                continue
            plaintext, arn = answer.get("Plaintext"), answer.get("KeyId")
            if not isinstance(plaintext, bytes) or not isinstance(arn, str):
                raise _not_an_answer("Decrypt")
            self._check_answer(pin, arn)
            return plaintext if len(plaintext) == 32 else None
        raise failure or KeyServiceError("misconfigured", "no AWS KMS key is configured")

    def _check_answer(self, asked: str, answered: str) -> None:
        """The key of an answer is the one that was asked for; otherwise something else may be answering."""
        arn = parse_arn(answered)
        if arn is None or not arn.resource.startswith("key/"):
            raise _not_an_answer("the call")
        if alias_name(asked) is None:
            if not same_key(asked, answered):
                raise KeyServiceError("wrong_key", "AWS KMS answered for another key than the one asked for")
            return
        own = parse_arn(asked)
        if own is not None and own[:3] != arn[:3]:
            raise KeyServiceError("wrong_key", "AWS KMS answered for a key of another account or Region")
        self._remember(asked, answered)

    def _resolved(self, alias: str, oldest: float) -> str:
        with self._lock:
            known = self._aliases.get(alias)
        if known is not None and time.monotonic() - known[0] < oldest:
            return known[1]
        try:
            answer = _call("DescribeKey", self._client.describe_key, alias, None)
        except KeyServiceError as error:
            # An alias rarely moves: while KMS is out of reach, the last answer is better than none.
            if known is not None and error.is_retryable:
                return known[1]
            raise
        metadata = answer.get("KeyMetadata")
        arn = metadata.get("Arn") if isinstance(metadata, Mapping) else None
        if not isinstance(arn, str) or parse_arn(arn) is None:
            raise _not_an_answer("DescribeKey")
        self._remember(alias, arn)
        return arn

    def _remember(self, alias: str, arn: str) -> None:
        with self._lock:
            self._aliases[alias] = (time.monotonic(), arn)


def _call(
    operation: str,
    call: Callable[..., Mapping[str, Any]],
    key: str,
    context: Context | None,
    **arguments: object,
) -> Mapping[str, Any]:
    if context:
        arguments["EncryptionContext"] = context
    failure: Exception | None = None
    answer: object = None
    try:
        answer = call(KeyId=key, **arguments)
    except Exception as error:  # noqa: BLE001 - the SDK's classes are the caller's dependency, not this package's
        code = _code_of(error)
        kind = _kind_of(error, code)
        detail = f" ({code})" if code else ""
        # The SDK's own words are left out: they may hold the raw answer, and the answer a plaintext key.
        failure = KeyServiceError(kind, f"AWS KMS: {operation} failed: {kind}{detail}")
        if code == "InvalidCiphertextException":
            failure = _DoesNotUnwrapError()
    if failure is not None:
        raise failure
    if not isinstance(answer, Mapping):
        raise _not_an_answer(operation)
    return answer


def _code_of(error: Exception) -> str:
    response = getattr(error, "response", None)
    details = response.get("Error") if isinstance(response, Mapping) else None
    code = details.get("Code") if isinstance(details, Mapping) else None
    return code if isinstance(code, str) and re.fullmatch(r"[A-Za-z]{1,64}", code) else ""


def _kind_of(error: Exception, code: str) -> str:
    if code in _KINDS:
        return _KINDS[code]
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        metadata = response.get("ResponseMetadata")
        status = metadata.get("HTTPStatusCode") if isinstance(metadata, Mapping) else None
        return _kind_of_status(status if isinstance(status, int) else 0, code)
    names = {each.__name__ for each in type(error).__mro__}
    if names & {"ReadTimeoutError", "ConnectTimeoutError", "TimeoutError"}:
        return "timeout"
    if names & {"NoCredentialsError", "PartialCredentialsError", "NoRegionError", "ParamValidationError"}:
        return "misconfigured"
    return "unavailable"


def _kind_of_status(status: int, code: str) -> str:
    if status == 429:
        return "throttled"
    if status in (408, 504):
        return "timeout"
    if status in (401, 403):
        return "denied"
    return "unavailable" if status >= 500 or not code else "invalid_request"


def _foreign() -> Refused:
    return Refused(
        "the value was wrapped under a key that is not allowed; add the key to allowed_keys (KMS_ALLOWED_KEYS) if it "
        "is yours, for example after an alias was pointed at another key"
    )


def _not_an_answer(operation: str) -> KeyServiceError:
    return KeyServiceError("unavailable", f"the answer to {operation} is not one of AWS KMS")
