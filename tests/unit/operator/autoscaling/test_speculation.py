"""Drafts: as many as the trees need, told off before they go, and back before they are asked."""

from __future__ import annotations

from dataclasses import replace

from outrider_operator.autoscaling.decide import decide
from outrider_operator.autoscaling.decision import Decision
from outrider_operator.autoscaling.draft import LONGEST_CONFIRMATION_S
from outrider_operator.autoscaling.gate import FIRST_BACKOFF_S, STABLE_S
from outrider_operator.autoscaling.history import History
from outrider_operator.autoscaling.observation import DraftTime, Observation, Pods
from outrider_operator.autoscaling.policy import Behavior, Bounds, Rate, Rules
from outrider_operator.autoscaling.remember import with_other_models
from unit.operator.autoscaling.world import ACCEPTED, POLICY, TICK_S, World, chat, observation, signals

AT_ONCE = Behavior(down=Rules(0.0, Behavior().down.rates))
EAGER = replace(POLICY, draft=Bounds(0, 4, AT_ONCE))
WORTHLESS = (0.02,)


def draft_counts(world: World) -> list[int]:
    return [decision.draft_replicas for _, _, decision in world.seen]


def reading(decision: Decision, role: str) -> str:
    return next(reason.code for reason in decision.reasons if reason.role == role)


def test_where_speculation_does_not_pay_it_goes_off_and_the_drafts_with_it() -> None:
    world = World(policy=EAGER, accepted=WORTHLESS)
    world.run(STABLE_S + 120, chat(3))
    assert not world.told
    assert draft_counts(world)[-1] == 0


COPIED = (0.9, 0.85, 0.8)


def by_ngrams(seen: Observation) -> Observation:
    """Texts that are copied from their prompts: n-grams earn 1.4 whether or not a draft is asked, and it adds 1 %."""
    assert seen.signals is not None
    draft_gain = 1.01 if seen.drafting else 1.0
    return replace(seen, signals=replace(seen.signals, gain=1.4, draft_gain=draft_gain, path_acceptance=COPIED))


def test_a_draft_goes_that_adds_nothing_to_what_ngrams_earn() -> None:
    world = World(policy=EAGER)
    world.run(STABLE_S + 120, chat(3), by_ngrams)
    assert not world.told
    assert draft_counts(world)[-1] == 0
    world.run(STABLE_S + 120, chat(3), by_ngrams)
    assert not world.told, "what n-grams earn alone is no reason to ask a draft"
    assert world.reasons("speculation") == {"BelowGain", "DoesNotPay"}


def test_targets_that_do_not_tell_the_drafts_part_are_judged_by_all_that_speculation_earns() -> None:
    def older(seen: Observation) -> Observation:
        assert seen.signals is not None
        return replace(seen, signals=replace(seen.signals, gain=1.4, draft_gain=None))

    world = World(policy=EAGER, accepted=WORTHLESS)
    world.run(STABLE_S + 120, chat(3), older)
    assert world.told


def test_a_target_that_ngrams_help_is_taken_to_carry_more() -> None:
    """Without a draft, or while it is told off: steps are fewer all the same."""
    told = signals(chat(10), pods=4, running=40.0, path_acceptance=COPIED, draft_time=None)
    plain = replace(told, path_acceptance=())
    off = [observation(each, targets=4, drafts=0, speculating=False) for each in (told, plain)]
    with_ngrams, without = (decided(each).target_replicas for each in off)
    assert with_ngrams < without


def test_the_targets_stop_asking_before_the_drafts_go() -> None:
    world = World(policy=EAGER, accepted=WORTHLESS)
    world.run(STABLE_S + 120, chat(3))
    off = next(index for index, (_, _, decision) in enumerate(world.seen) if not decision.speculate)
    gone = next(index for index, count in enumerate(draft_counts(world)) if count == 0)
    assert world.seen[off][2].draft_replicas == 1
    assert gone > off
    # When the drafts went, what was seen was that nobody asks.
    assert not world.seen[gone][1].speculating


def test_a_target_that_never_confirms_is_not_waited_for_for_ever() -> None:
    world = World(policy=EAGER, accepted=WORTHLESS)
    world.run(STABLE_S + LONGEST_CONFIRMATION_S + 60, chat(3), lambda seen: replace(seen, speculating=True))
    off_s = next(at_s for at_s, _, decision in world.seen if not decision.speculate)
    gone_s = next(at_s for at_s, _, decision in world.seen if decision.draft_replicas == 0)
    assert gone_s - off_s == LONGEST_CONFIRMATION_S


def test_back_again_the_draft_comes_first_and_is_asked_when_it_is_ready() -> None:
    world = World(policy=EAGER, accepted=WORTHLESS)
    world.run(STABLE_S + 120, chat(3))
    began_s = world.now_s
    world.run(FIRST_BACKOFF_S, chat(3))
    later = [(at_s, seen, decision) for at_s, seen, decision in world.seen if at_s >= began_s]
    wanted_s = next(at_s for at_s, _, decision in later if decision.draft_replicas >= 1)
    told_s, seen = next((at_s, seen) for at_s, seen, decision in later if decision.speculate)
    assert told_s - wanted_s >= world.draft_start_s
    assert seen.draft.ready >= 1


def test_drafts_that_went_to_none_come_back_where_behavior_has_per_cents_only() -> None:
    doubling = Behavior(Rules(0.0, (Rate("Percent", 100, 15.0),)), AT_ONCE.down)
    world = World(policy=replace(EAGER, draft=Bounds(0, 4, doubling)), accepted=WORTHLESS)
    world.run(STABLE_S + 120, chat(3))
    assert draft_counts(world)[-1] == 0
    world.accepted = ACCEPTED
    world.run(FIRST_BACKOFF_S + 300, chat(3))
    assert (world.told, draft_counts(world)[-1]) == (True, 1)


def test_a_new_draft_model_is_tried_at_once_however_long_the_old_one_s_backoff_is() -> None:
    world = World(policy=EAGER, accepted=WORTHLESS)
    world.run(STABLE_S + 120, chat(3))
    assert not world.told
    world.accepted = ACCEPTED
    world.history = with_other_models(world.history, world.now_s)
    began_s = world.now_s
    world.run(STABLE_S + 120, chat(3))
    assert draft_counts(world)[-1] == 1
    assert world.told
    told_s = next(at_s for at_s, _, decision in world.seen if at_s >= began_s and decision.speculate)
    assert told_s - began_s <= world.draft_start_s + TICK_S


def test_a_draft_that_is_never_ready_is_never_asked_and_nothing_flips() -> None:
    world = World(policy=EAGER, drafts=[], told=False, draft_start_s=1e9)
    world.run(2 * 3600, chat(3))
    assert not any(decision.speculate for _, _, decision in world.seen)
    assert draft_counts(world)[-1] >= 1


def test_a_minimum_above_zero_is_kept_while_speculation_is_off() -> None:
    world = World(policy=replace(EAGER, draft=Bounds(2, 4, AT_ONCE)), accepted=WORTHLESS, drafts=[0.0, 0.0])
    world.run(STABLE_S + 300, chat(3))
    assert not world.told
    assert set(draft_counts(world)) == {2}


def test_always_keeps_speculating() -> None:
    world = World(policy=replace(EAGER, always=True), accepted=WORTHLESS)
    world.run(900, chat(3))
    assert world.told
    assert 0 not in draft_counts(world)


def test_without_a_draft_nothing_is_turned_off() -> None:
    """N-grams are the targets' own, and their own gate judges them."""
    seen = Observation(Pods(1, 1), Pods(0, 0), True, signals(gain=1.0, draft_time=None))
    decision, _ = decide(seen, replace(POLICY, draft=None), History(0.0), 0.0)
    assert decision.speculate
    assert reading(decision, "speculation") == "NoDraft"


def decided(told: Observation, **policy: object) -> Decision:
    return decide(told, replace(POLICY, **policy), History(0.0), 0.0)[0]  # type: ignore[arg-type]


SLOW = DraftTime(0.002, 0.0005)


def test_more_sequences_need_more_drafts() -> None:
    few = decided(observation(signals(running=2.0, draft_time=SLOW)), drafts_per_target=2.0)
    many = decided(observation(signals(running=60.0, draft_time=SLOW)), drafts_per_target=2.0)
    assert (few.draft_replicas, many.draft_replicas) == (1, 3)


def test_drafts_keep_their_ratio_to_the_targets() -> None:
    told = signals(running=60.0, draft_time=SLOW)
    assert decided(observation(told), drafts_per_target=0.5).draft_replicas == 1
    assert decided(observation(told), drafts_per_target=2.0).draft_replicas > 1


def test_one_more_draft_where_targets_wait_for_trees() -> None:
    decision = decided(observation(signals(draft_wait_share=0.2)), drafts_per_target=1.0)
    assert (decision.draft_replicas, reading(decision, "draft")) == (2, "TargetsWait")


def test_no_draft_is_added_to_one_that_starts() -> None:
    told = replace(observation(signals(draft_wait_share=0.2)), draft=Pods(2, 1, 1))
    assert decided(told, drafts_per_target=2.0).draft_replicas == 2


def test_no_draft_is_taken_away_while_targets_wait() -> None:
    window = Behavior(down=Rules(0.0, Behavior().down.rates))
    calm = observation(signals(draft_wait_share=0.0), drafts=2)
    waiting = observation(signals(draft_wait_share=0.04), drafts=2)
    assert decided(calm, draft=Bounds(0, 4, window), drafts_per_target=2.0).draft_replicas == 1
    assert decided(waiting, draft=Bounds(0, 4, window), drafts_per_target=2.0).draft_replicas == 2


def test_without_its_level_time_a_draft_is_judged_by_how_busy_it_is() -> None:
    busy = observation(signals(draft_time=None, draft_busy=1.0), drafts=2)
    calm = observation(signals(draft_time=None, draft_busy=0.85), drafts=2)
    assert decided(busy, drafts_per_target=2.0).draft_replicas == 3
    assert decided(calm, drafts_per_target=2.0).draft_replicas == 2


def test_of_targets_scaled_to_none_by_hand_that_still_answer_drafts_are_decided_too() -> None:
    decision = decided(replace(observation(signals()), target=Pods(0, 1)))
    assert reading(decision, "target") == "ScalingDisabled"
    assert decision.draft_replicas == 1


def test_drafts_follow_the_targets_that_are_wanted() -> None:
    """A surge asks for more targets; the drafts they will need start with them, not after them."""
    world = World(policy=replace(POLICY, drafts_per_target=0.5), targets=[0.0, 0.0])
    world.run(300, chat(2))
    decision = world.run(TICK_S, chat(24))[-1]
    assert decision.target_replicas > 4
    assert decision.draft_replicas >= 1
