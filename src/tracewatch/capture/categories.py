"""What went wrong, in words that are the same for every provider: from class names, HTTP status, codes and messages.

No provider's package is imported: an error is read by what it is called and what it carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

CATEGORIES: Mapping[str, str] = {
    "rate_limit": "too many requests or tokens in a time",
    "quota": "the account's credit or quota is used up",
    "overloaded": "the provider has no capacity at the moment",
    "timeout": "no answer came in time",
    "auth": "the key is missing, wrong or expired",
    "permission": "the key may not do this",
    "not_found": "there is no such model, deployment or address",
    "context_length": "the prompt is longer than the model takes",
    "content_filter": "the provider refused the prompt or the answer for what it says",
    "invalid_request": "the request is malformed or asks for what the model cannot do",
    "server_error": "the provider failed",
    "connection": "the provider could not be reached, or the connection broke",
    "parse": "an answer came, but not in the form that was needed",
    "cancelled": "the caller gave up",
    "rows_dropped": "rows of this program were dropped before they could be stored",
    "unknown": "an error of another kind",
}
"""Every `error_category`, and what it means."""

_LOOK = 2_000  # how much of a message is searched for words
_LINKS = 5  # how far a chain of causes is followed


class Failure(NamedTuple):
    """How a call failed: the error's class or code, the category, and what it said."""

    type: str
    category: str
    message: str


# What a status says when neither code nor message says more. 529 is Anthropic's "overloaded".
_BY_STATUS: Mapping[int, str] = {
    400: "invalid_request",
    401: "auth",
    402: "quota",
    403: "permission",
    404: "not_found",
    405: "invalid_request",
    408: "timeout",
    409: "invalid_request",
    410: "not_found",
    413: "context_length",
    415: "invalid_request",
    422: "invalid_request",
    424: "server_error",
    429: "rate_limit",
    498: "auth",
    499: "cancelled",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}

# Codes and types that providers send in the body, in lower case. OpenAI, Azure, Anthropic, Gemini, Bedrock, Mistral.
_BY_CODE: Mapping[str, str] = {
    "rate_limit_exceeded": "rate_limit",
    "rate_limit_error": "rate_limit",
    "requests": "rate_limit",
    "tokens": "rate_limit",
    "too_many_requests": "rate_limit",
    "toomanyrequests": "rate_limit",
    "throttlingexception": "rate_limit",
    "throttling": "rate_limit",
    "toomanyrequestsexception": "rate_limit",
    "resource_exhausted": "rate_limit",
    "insufficient_quota": "quota",
    "billing_error": "quota",
    "billing_hard_limit_reached": "quota",
    "billing_not_active": "quota",
    "servicequotaexceededexception": "quota",
    "overloaded_error": "overloaded",
    "overloaded": "overloaded",
    "engine_overloaded": "overloaded",
    "unavailable": "overloaded",
    "service_unavailable": "overloaded",
    "serviceunavailableexception": "overloaded",
    "modelnotreadyexception": "overloaded",
    "capacity_exceeded": "overloaded",
    "timeout_error": "timeout",
    "client_timeout_error": "timeout",
    "deadline_exceeded": "timeout",
    "request_timeout": "timeout",
    "modeltimeoutexception": "timeout",
    "authentication_error": "auth",
    "invalid_api_key": "auth",
    "expired_api_key": "auth",
    "unauthenticated": "auth",
    "unauthorized": "auth",
    "unrecognizedclientexception": "auth",
    "expiredtokenexception": "auth",
    "permission_error": "permission",
    "permission_denied": "permission",
    "accessdeniedexception": "permission",
    "unsupported_country_region_territory": "permission",
    "not_found_error": "not_found",
    "not_found": "not_found",
    "model_not_found": "not_found",
    "deploymentnotfound": "not_found",
    "resourcenotfoundexception": "not_found",
    "context_length_exceeded": "context_length",
    "string_above_max_length": "context_length",
    "request_too_large": "context_length",
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
    "responsibleaipolicyviolation": "content_filter",
    "safety": "content_filter",
    "invalid_request_error": "invalid_request",
    "invalid_argument": "invalid_request",
    "failed_precondition": "invalid_request",
    "validationexception": "invalid_request",
    "invalid_prompt": "invalid_request",
    "api_error": "server_error",
    "server_error": "server_error",
    "internal": "server_error",
    "internal_error": "server_error",
    "internal_server_error": "server_error",
    "internalserverexception": "server_error",
    "modelerrorexception": "server_error",
    "connection_error": "connection",
    "cancelled": "cancelled",
}

# Classes of errors by a part of their name in lower case; the first that is found decides.
_BY_NAME: tuple[tuple[str, str], ...] = (
    ("ratelimit", "rate_limit"),
    ("toomanyrequests", "rate_limit"),
    ("throttl", "rate_limit"),
    ("resourceexhausted", "rate_limit"),
    ("quota", "quota"),
    ("overloaded", "overloaded"),
    ("serviceunavailable", "overloaded"),
    ("timeout", "timeout"),
    ("timedout", "timeout"),
    ("deadlineexceeded", "timeout"),
    ("cancelled", "cancelled"),
    ("canceled", "cancelled"),
    ("keyboardinterrupt", "cancelled"),
    ("abort", "cancelled"),
    ("jsondecode", "parse"),
    ("parse", "parse"),
    ("decode", "parse"),
    ("validationerror", "parse"),
    ("responsevalidation", "parse"),
    ("lengthfinishreason", "parse"),
    ("contentfilter", "content_filter"),
    ("contentpolicy", "content_filter"),
    ("contextwindow", "context_length"),
    ("contextlength", "context_length"),
    ("authentication", "auth"),
    ("unauthorized", "auth"),
    ("unauthenticated", "auth"),
    ("permissiondenied", "permission"),
    ("accessdenied", "permission"),
    ("forbidden", "permission"),
    ("notfound", "not_found"),
    ("badrequest", "invalid_request"),
    ("unprocessable", "invalid_request"),
    ("invalidrequest", "invalid_request"),
    ("invalidargument", "invalid_request"),
    ("conflict", "invalid_request"),
    ("internalserver", "server_error"),
    ("servererror", "server_error"),
    ("connect", "connection"),
    ("brokenpipe", "connection"),
    ("incompleteread", "connection"),
    ("protocolerror", "connection"),
    ("readerror", "connection"),
    ("writeerror", "connection"),
    ("networkerror", "connection"),
    ("proxyerror", "connection"),
    ("gaierror", "connection"),
    ("sslerror", "connection"),
    ("sslcert", "connection"),
    ("disconnected", "connection"),
    ("streamconsumed", "parse"),
)

# What messages say that no code says. They outweigh a status (400 is all that many endpoints send), not a code.
_PHRASES: tuple[tuple[str, str], ...] = (
    ("context length", "context_length"),
    ("context window", "context_length"),
    ("context_length", "context_length"),
    ("maximum context", "context_length"),
    ("prompt is too long", "context_length"),
    ("too many tokens", "context_length"),
    ("input is too long", "context_length"),
    ("exceeds the maximum number of tokens", "context_length"),
    ("content filter", "content_filter"),
    ("content management policy", "content_filter"),
    ("content policy", "content_filter"),
    ("safety system", "content_filter"),
    ("blocked by safety", "content_filter"),
    ("usage policies", "content_filter"),
    ("credit balance", "quota"),
    ("exceeded your current quota", "quota"),
    ("insufficient credit", "quota"),
    ("billing", "quota"),
    ("overloaded", "overloaded"),
    ("at capacity", "overloaded"),
    ("no capacity", "overloaded"),
    ("server busy", "overloaded"),
    ("rate limit", "rate_limit"),
    ("rate_limit", "rate_limit"),
    ("too many requests", "rate_limit"),
    ("api key", "auth"),
    ("api_key", "auth"),
    ("unauthorized", "auth"),
    ("timed out", "timeout"),
    ("timeout", "timeout"),
    ("deadline exceeded", "timeout"),
    ("model not found", "not_found"),
    ("try pulling it first", "not_found"),
    ("does not exist", "not_found"),
    ("connection refused", "connection"),
    ("connection reset", "connection"),
    ("connection error", "connection"),
    ("connection aborted", "connection"),
    ("server disconnected", "connection"),
    ("peer closed connection", "connection"),
    ("name or service not known", "connection"),
    ("expecting value", "parse"),
    ("invalid json", "parse"),
    ("could not parse", "parse"),
    ("not valid json", "parse"),
)
_GENERIC = (
    *("invalid_request_error", "api_error", "server_error", "invalid_argument", "validationexception"),
    "not_found_error",
)
"""Codes that say so little that a message which says more outweighs them."""


def failure_of(error: BaseException | str) -> Failure:
    """What to write down about an error, or about a message that tells of one. Never raises."""
    try:
        if isinstance(error, str):
            return Failure("error", category_of(error), error)
        return Failure(_name(error), category_of(error), _message(error))
    except Exception:  # an error whose own attributes or text raise
        return Failure(type(error).__name__, "unknown", "")


def category_of(error: BaseException | str, *, status: int | None = None, code: str | None = None) -> str:
    """The category of an error, of a message, or of the HTTP status and the provider's code that came.

    >>> category_of("Error code: 429 - rate limit reached", status=429)
    'rate_limit'
    >>> category_of("prompt is too long: 210000 tokens > 200000 maximum", status=400, code="invalid_request_error")
    'context_length'
    """
    if isinstance(error, str):
        return _category(error, None, status, [code] if code else [])
    found = "unknown"
    cause: BaseException | None = error
    for _ in range(_LINKS):  # what an error says outweighs what caused it, as far as it says anything
        if cause is None or found != "unknown":
            break
        given = status if status is not None else _status(cause)
        found = _category(_message(cause), _by_class(cause), given, ([code] if code else []) + _codes(cause))
        cause = _cause(cause)
    return found


def _category(message: str, named: str | None, status: int | None, codes: list[str]) -> str:
    """From the text, the category its class stands for, the HTTP status and the provider's codes."""
    codes = [each.lower() for each in codes if each.lower() in _BY_CODE]
    telling = [_BY_CODE[each] for each in codes if each not in _GENERIC]
    if telling:
        return telling[0]
    phrase = _phrase(message[:_LOOK].lower())
    if status is not None or codes:
        return _answered(status, phrase, named, [_BY_CODE[each] for each in codes])
    return named or phrase or "unknown"


def _answered(status: int | None, phrase: str | None, named: str | None, known: list[str]) -> str:
    """The provider did answer: what the message says counts where the status is one that says little."""
    if phrase and (status is None or status in (400, 413, 422, 403, 429, 500, 502)) and _agrees(status, phrase):
        return phrase
    if status is not None and (meant := _BY_STATUS.get(status)):
        return meant
    if status is not None and status >= 500:
        return "server_error"
    return (known[0] if known else None) or named or "unknown"


def _agrees(status: int | None, phrase: str) -> bool:
    """Whether a phrase refines a status: a 500 whose text speaks of an api key is still the provider's failure."""
    if status is None:
        return True
    if status == 429:
        return phrase in ("quota", "overloaded")
    if status >= 500:
        return phrase in ("overloaded", "timeout", "not_found") and status == 500
    return phrase in ("context_length", "content_filter", "quota", "rate_limit", "not_found", "auth")


def _phrase(said: str) -> str | None:
    return next((category for words, category in _PHRASES if words in said), None)


def _by_class(error: BaseException) -> str | None:
    """From the names of its class and the classes above it."""
    for kind in type(error).__mro__[:-1]:
        name = kind.__name__.lower()
        for part, category in _BY_NAME:
            if part in name:
                return category
    return None


def _cause(error: BaseException) -> BaseException | None:
    """What it was raised from; of a group, the first in it."""
    inner = getattr(error, "exceptions", None)
    if isinstance(inner, tuple) and inner and isinstance(inner[0], BaseException):
        return inner[0]
    return error.__cause__


def _name(error: BaseException) -> str:
    return type(error).__name__


def _message(error: BaseException) -> str:
    text = str(error)
    return text or repr(error)


def _status(error: BaseException) -> int | None:
    """The HTTP status of an error as clients carry it: on itself, or on its response."""
    response = getattr(error, "response", None)
    held = [getattr(error, name, None) for name in ("status_code", "status", "http_status", "code")]
    held.append(getattr(response, "status_code", None))
    if isinstance(response, Mapping):  # boto
        held.append((response.get("ResponseMetadata") or {}).get("HTTPStatusCode"))
    for each in held:
        if isinstance(each, int) and not isinstance(each, bool) and 100 <= each < 600:
            return int(each)
    return None


def _codes(error: BaseException) -> list[str]:
    """Codes that the provider sent, the most telling first."""
    held: list[Any] = [getattr(error, "code", None), getattr(error, "type", None)]
    body = getattr(error, "body", None)
    response = getattr(error, "response", None)
    for each in (body, response):
        if not isinstance(each, Mapping):
            continue
        inner = each.get("error") or each.get("Error")
        inner = inner if isinstance(inner, Mapping) else each
        held += [inner.get(name) for name in ("code", "type", "status", "Code")]
    return [each for each in held if isinstance(each, str)]
