"""Several drafts for one target, and several targets on one draft, over real gRPC: the tokens are those of plain
decoding whoever drafts, comes, goes, lies or is silent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import grpc
import pytest
from outrider_serving.draft.server import DRAIN_POLL_S
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.sampling import Sampling
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2 as pb
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2_grpc as rpc
from outrider_serving.target import draft_fleet
from outrider_serving.target.draft_fleet import DraftFleet, DraftReport, Member
from outrider_serving.target.drafters import Ask
from outrider_serving.target.names import Resolver, resolve
from outrider_serving.target.remote import RemoteDrafter
from outrider_serving.target.speculation import SpeculationPolicy
from outrider_serving.target.step import StepReport
from support.inprocess import shape_of, target_step
from support.pair import VOCABULARY, random_pair
from support.served import PAIR, SAMPLING, Served, draft_server, plain, run, until

PROMPTS = [[index + 1, 2 * index + 3] for index in range(6)]
# No tree is pruned to nothing, so that a step without one is a step whose draft did not answer.
POLICY = SpeculationPolicy(mode="Always", draft_patience_s=5.0, ngrams=False, min_probability=0.0)
# Long enough for an honest draft on a busy machine; a silent one costs it twice.
IMPATIENT = replace(POLICY, draft_patience_s=1.0)


@contextlib.asynccontextmanager
async def fleet_of(
    *names: str, policy: SpeculationPolicy = POLICY, resolver: Resolver = resolve, moves: int = 0
) -> AsyncIterator[DraftFleet]:
    """Its clock stands still: rests do not end, and `moves` sequences (one at most) move for the sake of balance."""

    def connect(address: str, _name: str, changed: object, on_leaving: Callable[[], object]) -> RemoteDrafter:
        return RemoteDrafter(address, "same", VOCABULARY, shape_of(policy), changed, on_leaving)  # type: ignore[arg-type]

    fleet = DraftFleet(names, connect, resolver, clock=lambda: moves - 1.0)
    following = asyncio.create_task(fleet.run())
    try:
        yield fleet
    finally:
        following.cancel()


def by_address(fleet: DraftFleet) -> dict[str, DraftReport]:
    return {report.address: report for report in fleet.reports}


def own_target() -> ModelRunner:
    """For targets that step at once: each in its thread, as each is a process of its own elsewhere."""
    return random_pair(0.1).target


def hits(reports: list[StepReport]) -> int:
    return sum(report.tree_hits for report in reports)


async def test_sequences_are_spread_over_three_drafts_and_stay_where_they_are() -> None:
    async with draft_server() as one, draft_server() as two, draft_server() as three:
        drafts = [one, two, three]
        async with fleet_of(*(draft.address for draft in drafts)) as fleet:
            await until(lambda: fleet.connected == 3)
            seen: list[list[int]] = []

            async def look() -> None:
                seen.append([draft.engine.sequences for draft in drafts])

            tokens, reports = await run(target_step(PAIR.target, POLICY, fleet), at=5, disturb=look, prompts=PROMPTS)
            opened = sum(draft.engine.opened for draft in drafts)
    assert tokens == await plain(PROMPTS)
    assert seen == [[2, 2, 2]]
    assert opened == len(PROMPTS)
    assert hits(reports[1:]) > 0.9 * sum(report.asked for report in reports[1:])


async def test_a_draft_killed_in_the_middle_has_its_sequences_moved_to_the_others() -> None:
    async with draft_server() as one, draft_server() as two, draft_server() as doomed:
        async with fleet_of(one.address, two.address, doomed.address) as fleet:
            await until(lambda: fleet.connected == 3)

            async def kill() -> None:
                assert doomed.engine.sequences == 2
                await doomed.end()
                await until(lambda: fleet.connected == 2)

            step = target_step(PAIR.target, POLICY, fleet)
            tokens, reports = await run(step, at=3, disturb=kill, prompts=PROMPTS)
            assert by_address(fleet)[doomed.address].state == "Connecting"
        assert one.engine.opened + two.engine.opened == len(PROMPTS)
    assert tokens == await plain(PROMPTS)
    assert max(report.tree_hits for report in reports[4:]) == len(PROMPTS)


async def test_names_are_followed_a_draft_that_appears_is_used_and_one_that_leaves_is_let_go() -> None:
    async with draft_server() as old, draft_server() as new:
        known = [old.address]

        async def names(_: str) -> tuple[str, ...]:
            return tuple(known)

        async with fleet_of("drafts:1", resolver=names, moves=1) as fleet:
            await until(lambda: fleet.connected == 1)

            async def appear() -> None:
                known.append(new.address)
                fleet._look_again.set()
                await until(lambda: fleet.connected == 2)

            step = target_step(PAIR.target, POLICY, fleet)
            tokens, _ = await run(step, at=3, disturb=appear, prompts=PROMPTS)
            assert tokens == await plain(PROMPTS)
            assert new.engine.opened == 1, "one moves, and the next a second later"
            before = old.engine.opened, new.engine.opened

            async def leave() -> None:
                assert (old.engine.opened, new.engine.opened) == (before[0] + 3, before[1] + 3)
                known.remove(old.address)
                fleet._look_again.set()
                await until(lambda: by_address(fleet)[old.address].state == "Draining")

            tokens, reports = await run(step, at=3, disturb=leave, prompts=PROMPTS)
            assert tokens == await plain(PROMPTS)
            assert min(report.tree_hits for report in reports[1:6]) == len(PROMPTS), "no step was without trees"
            fleet._look_again.set()
            await until(lambda: set(by_address(fleet)) == {new.address})


@pytest.mark.parametrize("told", [True, False], ids=["told before", "without a word"])
async def test_drafts_are_scaled_to_none_and_back_without_a_wait_or_another_token(told: bool) -> None:
    """The name of a Service leads to its pods, and to nothing while it has none."""
    allowed, known = [True], list[str]()

    async def names(_: str) -> tuple[str, ...]:
        if not known:
            raise OSError(-2, "no address")
        return tuple(known)

    async with draft_server() as old, draft_server() as new, fleet_of("drafts:1", resolver=names) as fleet:

        async def lead_to(*drafts: Served) -> None:
            known[:] = [draft.address for draft in drafts]
            fleet._look_again.set()
            await until(lambda: fleet.connected == len(drafts))

        async def tell_off() -> None:
            allowed[0] = not told

        async def scale_to_none() -> None:
            if told:
                await until(lambda: old.engine.sequences == 0)  # closes are on their way to the draft's thread
                await old.loop.drain(20.0)
            await old.end()
            await lead_to()

        async def scale_to_one() -> None:
            await lead_to(new)
            allowed[0] = True

        await lead_to(old)
        step = target_step(PAIR.target, POLICY, fleet, allowed=lambda: allowed[0])
        disturbances = {3: tell_off, 5: scale_to_none, 10: scale_to_one}
        tokens, reports = await run(step, prompts=PROMPTS, disturbances=disturbances)
        assert new.engine.opened == len(PROMPTS)
    assert tokens == await plain(PROMPTS)
    assert all(report.tree_hits == len(PROMPTS) for report in reports[1:3])
    assert not any(report.asked or report.draft_wait_s for report in reports[3 if told else 5 : 10])
    assert max(report.tree_hits for report in reports[10:]) == len(PROMPTS)


async def test_a_name_that_does_not_resolve_is_told_and_takes_no_draft_away() -> None:
    async with draft_server() as draft:
        answers: list[tuple[str, ...]] = [(draft.address,)]

        async def failing(_: str) -> tuple[str, ...]:
            if answers:
                return answers.pop()
            raise OSError(-3, "the name server is away")

        async with fleet_of("drafts:1", resolver=failing) as fleet:
            await until(lambda: fleet.connected == 1)
            fleet._look_again.set()
            await until(lambda: "drafts:1" in fleet._unresolved)
            tokens, reports = await run(target_step(PAIR.target, POLICY, fleet))
    assert tokens == await plain()
    assert hits(reports) > 0
    answers.clear()
    async with fleet_of("drafts:1", resolver=failing) as fleet:
        await until(lambda: "drafts:1" in fleet._unresolved)
        assert "does not resolve" in fleet.status.reason
        assert by_address(fleet)["drafts:1"].state == "Connecting"


async def test_a_draft_that_drains_is_left_before_its_stream_ends_and_no_step_is_without_trees() -> None:
    async with draft_server() as old, draft_server() as other, fleet_of(old.address, other.address) as fleet:
        await until(lambda: fleet.connected == 2)
        drained = asyncio.Event()

        async def drain() -> None:
            async def end() -> None:
                await old.loop.drain(20.0)
                drained.set()

            ending.append(asyncio.create_task(end()))
            await until(lambda: by_address(fleet)[old.address].state == "Draining")

        ending: list[asyncio.Task[None]] = []
        step = target_step(PAIR.target, POLICY, fleet)
        tokens, reports = await run(step, at=3, disturb=drain, prompts=PROMPTS)
        await asyncio.gather(*ending)
        assert drained.is_set()
        assert other.engine.opened == len(PROMPTS)
        assert old.engine.opened == 3
        tokens_after, _ = await run(step, prompts=PROMPTS[:2])
        assert old.engine.opened == 3
    assert tokens == await plain(PROMPTS)
    assert tokens_after == await plain(PROMPTS[:2])
    assert all(report.tree_hits == report.asked for report in reports[2:8])


async def test_a_draft_that_ends_stays_for_the_targets_that_still_find_it_and_not_longer() -> None:
    async with draft_server() as old, draft_server() as new:
        known = [old.address]

        async def names(_: str) -> tuple[str, ...]:
            return tuple(known)

        async with fleet_of("drafts:1", resolver=names) as fleet:
            await until(lambda: fleet.connected == 1)
            ending = asyncio.create_task(old.loop.drain(20.0, linger_s=3600.0))
            await until(lambda: by_address(fleet)[old.address].state == "Draining")
            async with fleet_of(old.address) as late:
                await until(lambda: old.address in by_address(late))
                await until(lambda: by_address(late)[old.address].state == "Draining")
            await asyncio.sleep(4 * DRAIN_POLL_S)
            assert not ending.done(), "it has no sequence, and a target that has not left"
            known[:] = [new.address]
            fleet._look_again.set()
            await until(ending.done)
            assert set(by_address(fleet)) == {new.address}


class Scripted(rpc.DraftServicer):
    """Says that it drafts; `answers` decides what."""

    def __init__(self, answer: Callable[[pb.Open], pb.DraftMessage | None]) -> None:
        self.opened = 0
        self._answer = answer

    async def Describe(self, request: object, context: object) -> pb.DescribeResponse:
        return pb.DescribeResponse(
            model="odd", tokenizer_fingerprint="same", vocabulary_size=VOCABULARY, free_sequences=8
        )

    async def Speculate(
        self, request_iterator: AsyncIterator[pb.TargetMessage], context: object
    ) -> AsyncIterator[pb.DraftMessage]:
        async for message in request_iterator:
            for opened in message.open:
                self.opened += 1
                answer = self._answer(opened)
                if answer is not None:
                    yield answer


@contextlib.asynccontextmanager
async def scripted(answer: Callable[[pb.Open], pb.DraftMessage | None]) -> AsyncIterator[tuple[Scripted, str]]:
    server = grpc.aio.server()
    odd = Scripted(answer)
    rpc.add_DraftServicer_to_server(odd, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield odd, f"127.0.0.1:{port}"
    finally:
        await server.stop(grace=None)


def broken_tree(opened: pb.Open) -> pb.DraftMessage:
    tree = pb.Tree(
        sequence=opened.sequence,
        epoch=opened.epoch,
        base_position=len(opened.tokens),
        tokens=[VOCABULARY + 1],
        parents=[0],
        scores=[-1.0],
    )
    return pb.DraftMessage(tree=[tree])


async def test_a_draft_that_breaks_the_protocol_loses_its_sequences_to_the_other_and_rests() -> None:
    async with (
        draft_server() as honest,
        scripted(broken_tree) as (odd, address),
        fleet_of(address, honest.address, policy=IMPATIENT) as fleet,
    ):
        await until(lambda: fleet.connected == 2)
        step = target_step(PAIR.target, IMPATIENT, fleet)
        tokens, reports = await run(step, prompts=PROMPTS)
        assert odd.opened == 3
        assert honest.engine.opened == len(PROMPTS)
    assert tokens == await plain(PROMPTS)
    assert max(report.tree_hits for report in reports) == len(PROMPTS)


async def test_a_silent_draft_rests_after_two_steps_and_its_sequences_move() -> None:
    async with (
        draft_server() as honest,
        scripted(lambda _: None) as (silent, address),
        fleet_of(address, honest.address, policy=IMPATIENT) as fleet,
    ):
        await until(lambda: fleet.connected == 2)
        step = target_step(PAIR.target, IMPATIENT, fleet)
        tokens, reports = await run(step, prompts=PROMPTS)
        assert by_address(fleet)[address].state == "Resting"
        assert silent.opened == 3
        asked_before = silent.opened
        more, _ = await run(step, prompts=PROMPTS[:3])
        assert silent.opened == asked_before, "one that rests is given nothing new"
    assert tokens == await plain(PROMPTS)
    assert more == await plain(PROMPTS[:3])
    alone = [report.tree_hits for report in reports[1 : 1 + draft_fleet.MISSES_TO_REST]]
    assert alone == [3] * draft_fleet.MISSES_TO_REST, "the other's trees were taken while one was silent"
    assert max(report.tree_hits for report in reports) == len(PROMPTS)


async def test_when_every_draft_is_silent_no_sequence_is_handed_to_and_fro() -> None:
    brief = replace(POLICY, draft_patience_s=0.01)
    async with (
        scripted(lambda _: None) as (one, first),
        scripted(lambda _: None) as (two, second),
        fleet_of(first, second, policy=brief) as fleet,
    ):
        await until(lambda: fleet.connected == 2)
        tokens, _ = await run(target_step(PAIR.target, brief, fleet), prompts=PROMPTS)
        assert {report.state for report in fleet.reports} == {"Resting"}
        await until(lambda: one.opened + two.opened >= len(PROMPTS))
        assert one.opened + two.opened == len(PROMPTS)
    assert tokens == await plain(PROMPTS)


async def test_a_draft_that_is_full_gets_no_more_than_it_takes_and_the_rest_go_elsewhere() -> None:
    async with (
        draft_server(max_num_seqs=1) as small,
        draft_server(max_num_seqs=4) as large,
        fleet_of(small.address, large.address) as fleet,
    ):
        await until(lambda: fleet.connected == 2)
        seen: list[tuple[int, int]] = []

        async def look() -> None:
            seen.append((small.engine.sequences, large.engine.sequences))

        step = target_step(PAIR.target, POLICY, fleet)
        tokens, reports = await run(step, at=5, disturb=look, prompts=PROMPTS)
    assert tokens == await plain(PROMPTS)
    assert seen == [(1, 4)]
    assert max(report.tree_hits for report in reports[:6]) == 5
    assert small.engine.opened + large.engine.opened == len(PROMPTS), "the sixth got a place when another had ended"


async def test_sequences_without_a_place_do_not_have_the_places_counted_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = 0

    def count(fleet: DraftFleet) -> Counter[Member]:
        nonlocal counted
        counted += 1
        return assigned(fleet)

    assigned = DraftFleet._assigned
    async with draft_server(max_num_seqs=2) as draft, fleet_of(draft.address) as fleet:
        await until(lambda: fleet.connected == 1)
        asks = [
            Ask(sequence, [1, 2, 3], 3, Sampling(0.0), max_nodes=8, max_depth=4, target_step_s=0.1, target_node_s=0.0)
            for sequence in range(100)
        ]
        monkeypatch.setattr(DraftFleet, "_assigned", count)
        fleet.ask(asks)
        fleet.ask(asks)
        assert counted <= 4
        assert [report.sequences for report in fleet.reports] == [2]


async def test_three_targets_share_a_draft_that_grows_their_trees_in_one_forward() -> None:
    async with contextlib.AsyncExitStack() as stack:
        draft = await stack.enter_async_context(draft_server(max_num_seqs=9))
        fleets = [await stack.enter_async_context(fleet_of(draft.address)) for _ in range(3)]
        await until(lambda: all(fleet.connected == 1 for fleet in fleets))
        outcomes = await asyncio.gather(
            *(run(target_step(own_target(), POLICY, fleet), prompts=PROMPTS[:3]) for fleet in fleets)
        )
        forwards = draft.engine.reports
    assert [tokens for tokens, _ in outcomes] == [await plain(PROMPTS[:3])] * 3
    assert max(report.sequences for report in forwards) > 3, "sequences of several targets were in one forward"
    assert len(forwards) < sum(report.sequences for report in forwards) / 2
    assert all(hits(reports) > 0 for _, reports in outcomes)


async def test_a_target_that_took_every_place_gives_way_to_one_that_comes_later() -> None:
    async with (
        draft_server(max_num_seqs=4) as draft,
        fleet_of(draft.address) as first,
        fleet_of(draft.address) as later,
    ):
        await until(lambda: first.connected + later.connected == 2)
        outcome: list[tuple[list[list[int]], list[StepReport]]] = []
        most: list[int] = []

        async def come() -> None:
            assert draft.engine.sequences == 4
            outcome.append(await run(target_step(own_target(), POLICY, later), prompts=PROMPTS[:3]))
            most.append(max(report.tree_hits for report in outcome[0][1]))

        tokens, _ = await run(target_step(PAIR.target, POLICY, first), at=3, disturb=come, prompts=PROMPTS[:5])
    assert tokens == await plain(PROMPTS[:5])
    assert outcome[0][0] == await plain(PROMPTS[:3])
    assert most == [2]


async def test_requests_that_are_over_leave_no_sequence_anywhere() -> None:
    async with draft_server() as one, draft_server() as two, fleet_of(one.address, two.address) as fleet:
        await until(lambda: fleet.connected == 2)
        await run(target_step(PAIR.target, POLICY, fleet), prompts=PROMPTS, sampling=SAMPLING)
        served: list[Served] = [one, two]
        await until(lambda: not any(draft.engine.sequences for draft in served))
        assert not fleet._homes
        assert all(report.sequences == 0 for report in fleet.reports)


async def test_a_draft_that_does_not_fit_is_counted_beside_those_that_do() -> None:
    async with (
        draft_server(fingerprint="another") as misfit,
        draft_server() as good,
        fleet_of(misfit.address, good.address) as fleet,
    ):
        await until(lambda: fleet.incompatible == 1)
        await until(lambda: fleet.connected == 1)
        assert by_address(fleet)[misfit.address].state == "Incompatible"
