"""Draft and target over real gRPC: connecting, losing one another, refusing another tokenizer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import pytest
from outrider_serving.engine.sampling import Sampling
from outrider_serving.protocol.channel import MAX_DRAFT_MESSAGE_BYTES, SERVER_OPTIONS
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2 as pb
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2_grpc as rpc
from outrider_serving.target import remote
from outrider_serving.target.drafters import Ask, DraftState
from outrider_serving.target.remote import MOST_NAMED, RemoteDrafter
from outrider_serving.target.speculation import SpeculationPolicy
from support.inprocess import shape_of, target_step
from support.pair import VOCABULARY
from support.served import PAIR, POLICY, draft_server, plain, run, until


@contextlib.asynccontextmanager
async def drafter_to(port: int, policy: SpeculationPolicy = POLICY) -> AsyncIterator[RemoteDrafter]:
    drafter = RemoteDrafter(f"127.0.0.1:{port}", "same", VOCABULARY, shape_of(policy))
    connection = asyncio.create_task(drafter.run())
    try:
        yield drafter
    finally:
        connection.cancel()


@pytest.mark.parametrize("run_ahead", [False, True])
async def test_trees_cross_the_wire_and_the_tokens_are_those_of_plain_decoding(run_ahead: bool) -> None:
    policy = SpeculationPolicy(mode="Always", run_ahead=run_ahead, draft_patience_s=5.0, ngrams=False)
    async with draft_server() as draft, drafter_to(draft.port, policy) as drafter:
        await until(lambda: drafter.available)
        tokens, reports = await run(target_step(PAIR.target, policy, drafter))
    assert tokens == await plain()
    assert sum(sum(report.accepted_per_position) for report in reports) > 20


async def test_a_draft_that_goes_away_and_comes_back_is_drafting_again_for_the_same_sequences() -> None:
    async with contextlib.AsyncExitStack() as first:
        port = (await first.enter_async_context(draft_server())).port
        async with drafter_to(port) as drafter:
            await until(lambda: drafter.available)

            async def lose() -> None:
                await first.aclose()
                await until(lambda: not drafter.available)

            step = target_step(PAIR.target, POLICY, drafter)
            tokens, reports = await run(step, at=3, disturb=lose)
            assert tokens == await plain()
            assert reports[1].tree_hits > 0
            assert reports[-2].tree_hits == 0
            async with draft_server(port):
                await until(lambda: drafter.available)
                tokens, reports = await run(step)
                assert tokens == await plain()
                assert reports[-2].tree_hits > 0


async def test_a_draft_restarted_in_the_middle_of_a_stream_is_told_the_sequence_anew() -> None:
    async with contextlib.AsyncExitStack() as first, contextlib.AsyncExitStack() as second:
        port = (await first.enter_async_context(draft_server())).port
        async with drafter_to(port) as drafter:
            await until(lambda: drafter.available)

            async def restart() -> None:
                await first.aclose()
                await until(lambda: not drafter.available)
                await second.enter_async_context(draft_server(port))
                await until(lambda: drafter.available)

            tokens, reports = await run(target_step(PAIR.target, POLICY, drafter), at=3, disturb=restart)
            await second.aclose()
    assert tokens == await plain()
    assert sum(report.tree_hits for report in reports[4:]) > 0


async def test_a_draft_is_spoken_with_directly_though_models_are_fetched_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxied: list[asyncio.StreamWriter] = []
    proxy = await asyncio.start_server(lambda _, writer: proxied.append(writer), "127.0.0.1", 0)
    for variable in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
    for variable in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(variable, raising=False)
    async with draft_server() as draft, drafter_to(draft.port) as drafter:
        await until(lambda: drafter.available or bool(proxied))
        assert not proxied
    proxy.close()


async def test_a_draft_with_another_tokenizer_is_not_used_and_the_reason_names_the_field() -> None:
    async with draft_server(fingerprint="other") as draft, drafter_to(draft.port) as drafter:
        await until(lambda: drafter.status.state is DraftState.INCOMPATIBLE)
        assert "spec.draft.model.uri" in drafter.status.reason
        tokens, reports = await run(target_step(PAIR.target, POLICY, drafter))
    assert tokens == await plain()
    assert not any(report.asked for report in reports)


async def test_a_target_without_its_draft_serves_and_says_that_it_is_connecting() -> None:
    async with drafter_to(1) as drafter:
        tokens, _ = await run(target_step(PAIR.target, POLICY, drafter))
        assert drafter.status.state is DraftState.CONNECTING
    assert tokens == await plain()


class Garbage(rpc.DraftServicer):
    """A draft that breaks every rule it can."""

    async def Describe(self, request: object, context: object) -> pb.DescribeResponse:
        return pb.DescribeResponse(model="garbage", tokenizer_fingerprint="same", vocabulary_size=VOCABULARY)

    async def Speculate(
        self, request_iterator: AsyncIterator[pb.TargetMessage], context: object
    ) -> AsyncIterator[pb.DraftMessage]:
        wrong = [
            {"tokens": [VOCABULARY + 7], "parents": [0], "scores": [-1.0]},
            {"tokens": [1, 2], "parents": [0], "scores": [-1.0]},
            {"tokens": [1], "parents": [5], "scores": [-1.0]},
            {"tokens": [1], "parents": [0], "scores": [float("nan")]},
        ]
        async for message in request_iterator:
            for opened in message.open:
                tree = wrong[opened.sequence % len(wrong)]
                yield pb.DraftMessage(
                    tree=[
                        pb.Tree(sequence=4_000_000, epoch=1, base_position=1),
                        pb.Tree(sequence=opened.sequence, epoch=opened.epoch + 3, base_position=1),
                        pb.Tree(
                            sequence=opened.sequence,
                            epoch=opened.epoch,
                            base_position=len(opened.tokens),
                            **tree,  # type: ignore[arg-type]
                        ),
                    ]
                )


def described() -> bytes:
    return pb.DescribeResponse(model="m", tokenizer_fingerprint="same", free_sequences=4).SerializeToString()


def told(**fields: object) -> bytes:
    return pb.DraftMessage(**fields).SerializeToString()  # type: ignore[arg-type]


NO_MESSAGE = b"\x0a\xff\xff"
NO_TEXT = told(reject=[pb.Reject(sequence=1, epoch=1, reason="ab")]).replace(b"ab", b"\xff\xfe")
MANY_TREES = told(tree=[pb.Tree()] * (MOST_NAMED + 1))
MANY_REJECTS = told(reject=[pb.Reject()] * (MOST_NAMED + 1))
LARGE = told(reject=[pb.Reject(reason="a" * MAX_DRAFT_MESSAGE_BYTES)])


class NoDraft(grpc.GenericRpcHandler):
    """Says of itself and tells what it is given, once; whoever comes after that finds a sound draft there."""

    def __init__(self, description: bytes, message: bytes) -> None:
        self._description, self._message = description, message
        self.streams = 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        if details.method.endswith("Describe"):
            return grpc.unary_unary_rpc_method_handler(self._describe)
        return grpc.stream_stream_rpc_method_handler(self._speculate)

    async def _describe(self, _request: bytes, _context: object) -> bytes:
        description, self._description = self._description, described()
        return description

    async def _speculate(self, requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
        self.streams += 1
        message, self._message = self._message, told(max_sequences=7)
        yield message
        async for _ in requests:
            pass


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (NO_MESSAGE, told(max_sequences=7)),
        (described(), NO_MESSAGE),
        (described(), NO_TEXT),
        (described(), MANY_TREES),
        (described(), MANY_REJECTS),
        (described(), LARGE),
    ],
    ids=["description", "message", "text", "trees", "refusals", "size"],
)
async def test_what_sends_garbage_is_left_and_a_sound_draft_in_its_place_is_found(
    description: bytes, message: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "INCOMPATIBLE_RETRY_S", 0.2)
    handler = NoDraft(description, message)
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with drafter_to(port) as drafter:
        await until(lambda: drafter.capacity == 7)
        assert handler.streams == (1 if description == NO_MESSAGE else 2)
    await server.stop(grace=None)


class Full(rpc.DraftServicer):
    """A draft with four places and without KV blocks: it takes two sequences and no other, and its places stay four."""

    def __init__(self) -> None:
        self.opened: list[int] = []

    async def Describe(self, request: object, context: object) -> pb.DescribeResponse:
        return pb.DescribeResponse(model="full", tokenizer_fingerprint="same", free_sequences=4)

    async def Speculate(
        self, request_iterator: AsyncIterator[pb.TargetMessage], context: object
    ) -> AsyncIterator[pb.DraftMessage]:
        async for message in request_iterator:
            for opened in message.open:
                self.opened.append(opened.sequence)
                if len(self.opened) > 2:
                    reject = pb.Reject(sequence=opened.sequence, epoch=opened.epoch, reason="full", full=True)
                    yield pb.DraftMessage(reject=[reject])


async def test_a_draft_that_was_full_is_asked_again_after_a_while_though_it_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "FULL_S", 1.0)
    server = grpc.aio.server()
    rpc.add_DraftServicer_to_server(Full(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with drafter_to(port) as drafter:
        await until(lambda: drafter.capacity == 4)
        drafter.ask([Ask(sequence, [1, 2, 3], 3, Sampling(0.0), 8, 4, 0.1, 0.01) for sequence in (1, 2, 3)])
        await until(lambda: drafter.capacity == 2)
        await until(lambda: drafter.capacity == 4)
    await server.stop(grace=None)


async def test_a_draft_that_breaks_the_protocol_changes_no_token_and_is_not_waited_for_again() -> None:
    server = grpc.aio.server()
    rpc.add_DraftServicer_to_server(Garbage(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with drafter_to(port) as drafter:
        await until(lambda: drafter.available)
        tokens, reports = await run(target_step(PAIR.target, POLICY, drafter))
    await server.stop(grace=None)
    assert tokens == await plain()
    assert not any(report.tree_hits for report in reports)
