"""Errors as OpenAI's clients know them: a status and one object that names the field and the remedy."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from outrider_serving.engine.request import EngineStopped, QueueFull

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"
CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
MAX_ECHOED_CHARACTERS = 200  # of what a client sent, in a message that goes back to it


class ApiError(Exception):
    """An answer that is an error. `message` goes to the client: nothing is in it that others may not see."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = INVALID_REQUEST,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, object]:
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body(), status_code=self.status, headers=self.headers)


def shorten(text: str, limit: int = MAX_ECHOED_CHARACTERS) -> str:
    """One line of at most `limit` characters: for what came from outside and goes into a message."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def model_not_found(asked: str, served: str) -> ApiError:
    return ApiError(
        f"the model `{shorten(asked)}` is not served here; ask for `{served}`",
        status=404,
        param="model",
        code="model_not_found",
    )


def invalid_api_key(given: bool) -> ApiError:
    """`given`: there was a key. It is not repeated: it may be nearly right, and others may read this."""
    wrong = "the API key is none of those that are valid here" if given else "there is no API key"
    return ApiError(
        f"{wrong}; send one as `Authorization: Bearer KEY`",
        status=401,
        code="invalid_api_key",
        headers={"www-authenticate": "Bearer"},
    )


def not_ready() -> ApiError:
    return ApiError(
        "the model is not ready to answer; try again in a moment (/ready says when)",
        status=503,
        kind="service_unavailable",
        code="not_ready",
        headers={"retry-after": "1"},
    )


def queue_full(retry_after_s: int) -> ApiError:
    return ApiError(
        f"as many requests wait here as may; send this one again in {retry_after_s} s",
        status=429,
        kind="rate_limit_error",
        code=QueueFull.code,
        headers={"retry-after": str(retry_after_s)},
    )


def engine_stopped() -> ApiError:
    return ApiError(
        "the server stopped before the answer's end; send the request again",
        status=503,
        kind="service_unavailable",
        code=EngineStopped.code,
        headers={"retry-after": "1"},
    )


def internal_error(request_id: str) -> ApiError:
    """Says nothing of what happened: that may hold the prompt. The log has the place, under the same id."""
    return ApiError(
        f"the server failed on this request; its log says where, under request id {request_id}",
        status=500,
        kind=SERVER_ERROR,
        code="internal_error",
    )


def as_api_error(error: Exception, request_id: str) -> ApiError:
    """What a client is told about any exception."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, QueueFull):
        return queue_full(error.retry_after_s)
    if isinstance(error, EngineStopped):
        return engine_stopped()
    return internal_error(request_id)


def from_validation(error: ValidationError) -> ApiError:
    """The first thing wrong with a body. Never quotes the value: that may be the prompt."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    param = field_path(first["loc"])
    if first["type"] == "missing":
        return ApiError(f"{param} is missing; it is required", param=param)
    reason = first["msg"]
    return ApiError(f"{param}: {reason[:1].lower()}{reason[1:]}", param=param)


def field_path(location: tuple[int | str, ...]) -> str:
    """("messages", 0, "content") → "messages[0].content"."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """What the router refuses: an unknown path or a method that the path does not have."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    path = shorten(request.url.path)
    if error.status_code == 405:
        message = f"{path} does not take {shorten(request.method)}; use {headers.get('Allow', 'another method')}"
    elif error.status_code == 404:
        message = f"there is no {path} here; see /v1/models, /v1/chat/completions and /v1/completions"
    else:
        message = shorten(error.detail)
    return ApiError(message, status=error.status_code, headers=headers).response()
