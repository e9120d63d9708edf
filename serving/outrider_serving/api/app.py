"""The target's HTTP face: which path leads where."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from transformers import PreTrainedTokenizerBase

from outrider_serving.api.chat import ChatDialect
from outrider_serving.api.completions import CompletionDialect
from outrider_serving.api.endpoint import Face, GenerationEndpoint
from outrider_serving.api.errors import answer_http_exception, model_not_found
from outrider_serving.api.health import HealthReport
from outrider_serving.api.keys import ApiKeys, RequireKey
from outrider_serving.api.logprobs import TokenTexts
from outrider_serving.api.prompt import PromptEncoder
from outrider_serving.api.request_log import RequestLog
from outrider_serving.engine.request import Generator

DEFAULT_MAX_BODY_BYTES = 8 * 2**20  # a million tokens as text, and as much again


def create_app(
    generator: Generator,
    tokenizer: PreTrainedTokenizerBase,
    health: Callable[[], HealthReport],
    ready: Callable[[], bool],
    accepts: Callable[[], bool],
    registry: CollectorRegistry,
    *,
    system_fingerprint: str | None = None,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    on_rejected: Callable[[], None] = lambda: None,
    keys: ApiKeys | None = None,
) -> Starlette:
    """The ASGI application of a target.

    `ready` is what /ready says. `accepts` guards the generation routes: while it is False they answer 503. The two
    differ while the server is about to end: it says so, and serves what comes until all have heard of it.
    `system_fingerprint` tells clients that two answers came from the same weights and settings; without one it is the
    program's version. `on_rejected` counts requests that never reached the engine; those that the engine itself refuses
    (RequestError) are the engine's to count. Without `keys` everybody may ask.
    """
    face = Face(
        generator=generator,
        encoder=PromptEncoder(tokenizer, generator.vocabulary_size, generator.max_model_len_tokens),
        texts=TokenTexts(tokenizer),
        accepts=accepts,
        on_rejected=on_rejected,
        system_fingerprint=system_fingerprint or f"outrider-{version('outrider-serving')}",
        max_body_bytes=max_body_bytes,
    )

    routes = [
        Route("/v1/chat/completions", GenerationEndpoint(face, ChatDialect()), methods=["POST"]),
        Route("/v1/completions", GenerationEndpoint(face, CompletionDialect()), methods=["POST"]),
        *_model_routes(generator),
        *_operations_routes(health, ready, registry),
    ]
    middleware = [Middleware(RequestLog)]
    if keys is not None:
        middleware.append(Middleware(RequireKey, keys=keys, on_rejected=on_rejected))
    app = Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={HTTPException: answer_http_exception},
    )
    # Behind a proxy that ends TLS a redirect leads to http://, and the client's key and prompt would go in the clear.
    app.router.redirect_slashes = False
    return app


def _model_routes(generator: Generator) -> list[Route]:
    card = {
        "id": generator.model_name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "outrider",
        "max_model_len": generator.max_model_len_tokens,
    }

    async def list_models(_request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [card]})

    async def get_model(request: Request) -> Response:
        asked = request.path_params["id"]
        if asked != generator.model_name:
            raise model_not_found(asked, generator.model_name)
        return JSONResponse(card)

    # `path`: a model may be named org/name.
    return [Route("/v1/models", list_models), Route("/v1/models/{id:path}", get_model)]


def _operations_routes(
    health: Callable[[], HealthReport], ready: Callable[[], bool], registry: CollectorRegistry
) -> list[Route]:
    async def get_health(_request: Request) -> Response:
        report = health()
        return JSONResponse(report.body(), status_code=report.http_status)

    async def get_ready(_request: Request) -> Response:
        answers = ready()
        return JSONResponse({"ready": answers}, status_code=200 if answers else 503)

    async def get_metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    return [Route("/health", get_health), Route("/ready", get_ready), Route("/metrics", get_metrics)]
