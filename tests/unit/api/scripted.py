"""A generator that says what a test tells it to, over a tiny real tokenizer, behind a real server."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from outrider_serving.api.app import create_app
from outrider_serving.api.health import DraftHealth, HealthReport, SpeculationHealth
from outrider_serving.api.keys import ApiKeys
from outrider_serving.engine.request import Delta, FinishReason, Request
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

MODEL = "org/tiny"
CONTEXT_TOKENS = 400
MAX_OPEN_REQUESTS = 200
REPLY = "Grüße, 世界! Wie geht es dir?"
WAIT_S = 30  # for what happens at once; only a failing test waits as long
ENDING: list[threading.Thread] = []  # servers that were told to end; whether they have is looked at after all tests
SPECIAL_TOKENS = ["<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}"
    "{% if m.role == 'tool' %}{{ raise_exception('no tools, please') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_tokenizer(template: str | None = TEMPLATE, *, starts_text: bool = False) -> PreTrainedTokenizerBase:
    """One token a byte, and two special ones. `starts_text`: the first of them goes before every text, as
    with tokenizers that have a token for the beginning."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(SPECIAL_TOKENS)
    if starts_text:
        start = SPECIAL_TOKENS[0]
        backend.post_processor = processors.TemplateProcessing(
            single=[start, "$A"], special_tokens=[(start, backend.token_to_id(start))]
        )
    build: Callable[..., PreTrainedTokenizerBase] = PreTrainedTokenizerFast
    tokenizer = build(tokenizer_object=backend, eos_token="<|im_end|>")
    tokenizer.chat_template = template
    return tokenizer


@dataclass
class Script:
    """Deltas, then an error, or silence for ever, or (when the last delta has a finish_reason) the end."""

    deltas: list[Delta] = field(default_factory=list)
    error: Exception | None = None
    silent: bool = False


class ScriptedGenerator:
    def __init__(self, tokenizer: PreTrainedTokenizerBase, rows_more: int = 0) -> None:
        """rows_more: of the model's embedding, than the tokenizer has tokens; may be below 0."""
        self._tokenizer = tokenizer
        self.rows_more = rows_more
        self.requests: list[Request] = []
        self.script: Callable[[Request], Script] = self.reply
        self.silences = threading.Semaphore(0)
        self.closings = threading.Semaphore(0)
        self.closed: list[str] = []
        # Held, so that an iterator nobody closes is not closed by the garbage collector instead.
        self._iterators: list[AsyncIterator[Delta]] = []

    @property
    def model_name(self) -> str:
        return MODEL

    @property
    def max_model_len_tokens(self) -> int:
        return CONTEXT_TOKENS

    @property
    def vocabulary_size(self) -> int:
        return len(self._tokenizer) + self.rows_more

    @property
    def max_open_requests(self) -> int:
        return MAX_OPEN_REQUESTS

    def generate(self, request: Request) -> AsyncIterator[Delta]:
        deltas = self._deltas(request)
        self._iterators.append(deltas)
        return deltas

    async def _deltas(self, request: Request) -> AsyncIterator[Delta]:
        self.requests.append(request)
        script = self.script(request)
        try:
            for delta in script.deltas:
                await asyncio.sleep(0)
                yield delta
            if script.silent:
                self.silences.release()
                await asyncio.Event().wait()
            if script.error:
                raise script.error
        finally:
            self.closed.append(request.id)
            self.closings.release()

    def reply(self, request: Request) -> Script:
        """REPLY, two characters a delta, as far as max_tokens goes."""
        left = request.sampling.max_tokens
        deltas: list[Delta] = []
        for start in range(0, len(REPLY), 2):
            piece = REPLY[start : start + 2]
            tokens = tuple(self._tokenizer(piece)["input_ids"])
            if len(tokens) > left:
                return Script([*deltas, Delta("", tokens[:left], "length")])
            left -= len(tokens)
            last = start + 2 >= len(REPLY)
            reason: FinishReason | None = "stop" if last else "length" if left == 0 else None
            deltas.append(Delta(piece, tokens, reason))
            if reason:
                break
        return Script(deltas)

    def prompt_text(self, index: int = -1) -> str:
        return str(self._tokenizer.decode(list(self.requests[index].prompt_tokens)))


@dataclass
class Served:
    """A face and everything behind it that a test turns or reads."""

    app: Starlette
    generator: ScriptedGenerator
    tokenizer: PreTrainedTokenizerBase
    url: str = ""
    ready: Callable[[], bool] = lambda: True
    accepts: Callable[[], bool] = lambda: True
    rejected: int = 0
    report: HealthReport = field(
        default_factory=lambda: HealthReport(
            MODEL,
            SpeculationHealth("Auto", "Shared", DraftHealth("Incompatible", "org/draft", "other tokenizer")),
        )
    )


def face(
    tokenizer: PreTrainedTokenizerBase,
    max_body_bytes: int = 100_000,
    keys: ApiKeys | None = None,
    rows_more: int = 0,
) -> Served:
    generator = ScriptedGenerator(tokenizer, rows_more)
    registry = CollectorRegistry()
    Counter("outrider_decode_steps", "Engine steps", ["model_name"], registry=registry).labels(MODEL).inc(3)
    served: Served

    def reject() -> None:
        served.rejected += 1

    app = create_app(
        generator,
        tokenizer,
        health=lambda: served.report,
        ready=lambda: served.ready(),
        accepts=lambda: served.accepts(),
        registry=registry,
        max_body_bytes=max_body_bytes,
        on_rejected=reject,
        keys=keys,
    )
    served = Served(app, generator, tokenizer)
    return served


@contextmanager
def serving(served: Served) -> Iterator[Served]:
    """A real server on a free port, in a thread with an event loop of its own. Told to end it takes 0.2 s, for which
    nobody waits: see `ENDING`.
    """
    config = uvicorn.Config(
        served.app, host="127.0.0.1", port=0, log_config=None, access_log=False, loop="uvloop", lifespan="off"
    )
    server = uvicorn.Server(config)
    test = os.environ.get("PYTEST_CURRENT_TEST")
    thread = threading.Thread(target=server.run, name=f"the server of {test}", daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.002)
            assert thread.is_alive(), "the server did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        served.url = f"http://127.0.0.1:{port}"
        yield served
    finally:
        server.should_exit = server.force_exit = True
        ENDING.append(thread)
