"""Errors in words that are the same for every provider."""

import asyncio
import json
import socket

import pytest

from tracewatch.categories import CATEGORIES, category_of, failure_of


def _error(name, message="", above=Exception, **carried):
    """An error as a provider's package would raise it."""
    error = type(name, (above,), {})(message)
    for attribute, value in carried.items():
        setattr(error, attribute, value)
    return error


def _anthropic(status, kind, message):
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return _error("APIStatusError", f"Error code: {status} - {body}", status_code=status, body=body)


def _openai(status, kind, code, message):
    body = {"message": message, "type": kind, "code": code, "param": None}
    return _error(
        "APIStatusError", f"Error code: {status} - {body}", status_code=status, code=code, type=kind, body=body
    )


def _boto(code, status, message=""):
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return _error("ClientError", f"An error occurred ({code})", response=response)


@pytest.mark.parametrize(
    ("error", "category"),
    [
        (
            _anthropic(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
            "context_length",
        ),
        (_anthropic(400, "invalid_request_error", "Your credit balance is too low to access the API."), "quota"),
        (_anthropic(400, "invalid_request_error", "messages: at least one message is required"), "invalid_request"),
        (_anthropic(401, "authentication_error", "invalid x-api-key"), "auth"),
        (_anthropic(403, "permission_error", "your key may not use this"), "permission"),
        (_anthropic(404, "not_found_error", "model: claude-x"), "not_found"),
        (_anthropic(429, "rate_limit_error", "This request would exceed your rate limit"), "rate_limit"),
        (_anthropic(500, "api_error", "Internal server error: bad api key table"), "server_error"),
        (_anthropic(529, "overloaded_error", "Overloaded"), "overloaded"),
        (_openai(400, "invalid_request_error", "context_length_exceeded", "maximum context length"), "context_length"),
        (_openai(400, "invalid_request_error", None, "This model's maximum context length is 8192"), "context_length"),
        (_openai(400, None, "content_filter", "filtered by the content management policy"), "content_filter"),
        (_openai(401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided"), "auth"),
        (_openai(404, "invalid_request_error", "model_not_found", "The model does not exist"), "not_found"),
        (_openai(429, "insufficient_quota", "insufficient_quota", "exceeded your current quota"), "quota"),
        (_openai(429, "requests", "rate_limit_exceeded", "Rate limit reached"), "rate_limit"),
        (_openai(429, None, None, "That model is overloaded with other requests"), "overloaded"),
        (_openai(500, "server_error", None, "The server had an error"), "server_error"),
        (_openai(502, None, None, "Bad gateway"), "server_error"),
        (_openai(503, None, None, "Service unavailable"), "overloaded"),
        (_openai(504, None, None, "Gateway timeout"), "timeout"),
        (_openai(409, None, None, "conflict"), "invalid_request"),
        (_error("ResponseError", "model 'x' not found, try pulling it first", status_code=404), "not_found"),
        (_error("ResponseError", "the input length exceeds the context length", status_code=400), "context_length"),
        (_error("ResponseError", "something", status_code=-1), "unknown"),
        (_error("ClientError", "RESOURCE_EXHAUSTED", code=429, status="RESOURCE_EXHAUSTED"), "rate_limit"),
        (_boto("ThrottlingException", 429), "rate_limit"),
        (_boto("AccessDeniedException", 403), "permission"),
        (_boto("ValidationException", 400, "Input is too long"), "invalid_request"),
        (_error("APITimeoutError", "Request timed out."), "timeout"),
        (_error("ReadTimeout"), "timeout"),
        (_error("APIConnectionError", "Connection error."), "connection"),
        (_error("RemoteProtocolError", "peer closed connection"), "connection"),
        (_error("LengthFinishReasonError", "could not parse response content"), "parse"),
        (_error("OutputParserException"), "parse"),
        (TimeoutError(), "timeout"),
        (asyncio.CancelledError(), "cancelled"),
        (KeyboardInterrupt(), "cancelled"),
        (ConnectionResetError("reset"), "connection"),
        (BrokenPipeError(), "connection"),
        (socket.gaierror(-2, "Name or service not known"), "connection"),
        (json.JSONDecodeError("Expecting value", "", 0), "parse"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), "parse"),
        (ValueError("this is something else"), "unknown"),
        (ExceptionGroup("several", [TimeoutError()]), "timeout"),
    ],
    ids=lambda given: str(given)[:40],
)
def test_category(error, category):
    assert failure_of(error).category == category
    assert category in CATEGORIES


def test_what_caused_an_error_counts_where_it_says_nothing_itself():
    error = RuntimeError("the answerer failed")
    error.__cause__ = _anthropic(529, "overloaded_error", "Overloaded")
    assert category_of(error) == "overloaded"
    error = TimeoutError()
    error.__cause__ = _anthropic(529, "overloaded_error", "Overloaded")
    assert category_of(error) == "timeout"


def test_from_status_code_and_text():
    assert category_of("anything", status=429) == "rate_limit"
    assert category_of("anything", code="overloaded_error") == "overloaded"
    assert category_of("Rate limit reached for gpt-4o") == "rate_limit"
    assert category_of("", status=599) == "server_error"
    assert category_of("") == "unknown"


def test_what_an_error_said():
    assert failure_of(ValueError("odd")) == ("ValueError", "unknown", "odd")
    assert failure_of(TimeoutError()) == ("TimeoutError", "timeout", "TimeoutError()")
    assert failure_of("Connection refused") == ("error", "connection", "Connection refused")


def test_an_error_whose_attributes_raise():
    class Odd(Exception):
        @property
        def status_code(self):
            raise RuntimeError("no")

    assert failure_of(Odd()) == ("Odd", "unknown", "")
