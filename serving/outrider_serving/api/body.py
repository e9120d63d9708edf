"""From the bytes of a request to a checked body, or to an error that says what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from outrider_serving.api import fields
from outrider_serving.api.errors import ApiError, from_validation
from outrider_serving.api.fields import FieldRules
from outrider_serving.api.schema import GenerationBody

# A client that is refused while it still sends may never read why, so a body that is somewhat too large is
# read to its end (and thrown away) before the answer.
DISCARD_FACTOR = 4

Body = TypeVar("Body", bound=GenerationBody)


async def read_body(headers: Headers, receive: Receive, max_bytes: int) -> bytes:
    """Raises ApiError (413, 415) and ClientDisconnect."""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise ApiError("the content-type is not JSON; send the header content-type: application/json", status=415)
    chunks: list[bytes] = []
    size_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size_bytes += len(chunk)
        if size_bytes <= max_bytes:
            chunks.append(chunk)
        if not message.get("more_body", False) or size_bytes > DISCARD_FACTOR * max_bytes:
            break
    if size_bytes > max_bytes:
        raise ApiError(
            f"the body is larger than {max_bytes} bytes; send a shorter prompt or fewer of them",
            status=413,
            code="body_too_large",
            headers={"connection": "close"},
        )
    return b"".join(chunks)


def parse_json(raw: bytes) -> dict[str, object]:
    """Raises ApiError. Refuses what JSON has no word for (NaN, half a surrogate pair) and deep nesting."""
    try:
        value = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(f"the body is not valid JSON: {error}", code="invalid_json") from None
    if not isinstance(value, dict):
        raise ApiError("the body is not a JSON object; send one with the request's fields", code="invalid_json")
    return value


def validate(raw: dict[str, object], schema: type[Body], rules: FieldRules) -> Body:
    """Raises ApiError naming the first field at fault."""
    rules.check(raw)
    options = raw.get("stream_options")
    if isinstance(options, Mapping):
        fields.STREAM_OPTIONS.check(options, "stream_options.")
    try:
        body = schema.model_validate(raw)
    except ValidationError as error:
        raise from_validation(error) from None
    if body.stream_options is not None and not body.stream:
        raise ApiError("stream_options is only for streams; leave it out or set stream to true", param="stream_options")
    return body
