"""Resampling: the budget is kept to the rollout, the counters add up, no drawn group is lost."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import make_group
from twogrpo.training.resampling import (
    Counters,
    NewPromptResampling,
    NoResampling,
    Resampling,
    num_rollouts,
)
from twogrpo.types import Group, Prompt


class World:
    """A source of groups that are mixed with a given probability, and remembers them."""

    def __init__(self, group_size: int, counters: Counters, seed: int = 0) -> None:
        self.group_size = group_size
        self.counters = counters
        self.rng = np.random.default_rng(seed)
        self.mixed_rate = 0.5
        self.step = 0
        self.given: list[Group] = []
        self.fates: Iterator[float] | None = None  # of the next groups; else `mixed_rate` decides

    def new_prompts(self, count: int) -> list[Group]:
        assert count > 0
        fresh = [self._group(len(self.given) + i) for i in range(count)]
        self.given += fresh
        self.counters.generated += num_rollouts(fresh)
        return fresh

    def _group(self, draw: int) -> Group:
        rate = self.mixed_rate if self.fates is None else next(self.fates)
        has_signal = self.rng.random() < rate
        rewards = [1.0] + [0.0 if has_signal else 1.0] * (self.group_size - 1)
        prompt = Prompt(str(draw), f"{draw}=", "0", (draw,))
        lengths = [2] * self.group_size
        return make_group(rewards, lengths, prompt=prompt, draw=draw, step=self.step, logp=-1 / 3)

    def collect(self, resampling: Resampling, step: int) -> list[Group]:
        self.step = step
        return resampling.fill(self, step=step, counters=self.counters)


def new_prompts(wanted: int, group_size: int = 2, budget_group_size: int = 16):
    return NewPromptResampling(
        wanted, group_size=group_size, budget_per_step=wanted * budget_group_size
    )


def test_without_resampling_the_batch_is_what_was_drawn():
    counters, resampling = Counters(), NoResampling(5)
    world = World(4, counters)
    assert world.collect(resampling, 0) == world.given
    assert counters == Counters(generated=20, kept=20, discarded=0, trained_on=0)
    resampling.load_state(json.loads(json.dumps(resampling.state())))
    assert resampling == NoResampling(5)


def test_a_batch_of_two_worked_by_hand():
    """Mixed, dead, then in the next round mixed and a surplus: the batch is draws 0 and 2."""
    counters = Counters()
    resampling = new_prompts(2)
    world = World(2, counters)
    world.fates = iter([1.0, 0.0, 1.0, 1.0])
    batch = world.collect(resampling, 0)
    # Two are wanted, so two are drawn: one is missing, half were mixed, so two more are drawn.
    assert [group.draw for group in batch] == [0, 2]
    assert [group.draw for group in resampling.surplus] == [3]
    assert counters == Counters(generated=8, kept=4, discarded=2, trained_on=0)
    # The surplus is used first: one more is missing, 3 of 4 were mixed.
    world.fates = iter([1.0, 1.0])
    batch = world.collect(resampling, 1)
    assert [group.draw for group in batch] == [3, 4]
    assert [group.draw for group in resampling.surplus] == [5]
    assert counters == Counters(generated=12, kept=8, discarded=2, trained_on=0)


# A success rate of 0.02 or 0.98 makes 4 % of the pairs mixed; every step has its own rate.
RATES = st.lists(st.sampled_from([0.0, 0.02, 0.1, 0.3, 0.5, 0.9, 1.0]), min_size=1, max_size=12)


@given(RATES, st.integers(1, 12), st.integers(2, 5), st.integers(5, 17), st.integers(0, 10**6))
def test_budget_counters_and_batches_at_any_rates(
    rates, wanted, group_size, budget_group_size, seed
):
    counters = Counters()
    resampling = new_prompts(wanted, group_size, budget_group_size)
    world = World(group_size, counters, seed)
    used: list[int] = []
    for step, world.mixed_rate in enumerate(rates):
        budget = (step + 1) * wanted * budget_group_size
        num_given = len(world.given)
        batch = world.collect(resampling, step)
        fresh = world.given[num_given:]
        # The budget is never exceeded, not by one rollout.
        assert counters.generated == num_rollouts(world.given) <= budget
        assert fresh, "a step without a draw has no row to report"
        assert len(batch) == wanted
        assert [group.draw for group in batch] == sorted(group.draw for group in batch)
        used += [group.draw for group in batch]
        surplus = [group.draw for group in resampling.surplus]
        assert len(set(used + surplus)) == len(used) + len(surplus), "a group is used once"
        # Dead groups only where the budget is spent, and only of this step.
        dead = [group for group in batch if not group.has_signal]
        if dead:
            assert budget - counters.generated < group_size
            assert not surplus
            assert all(group.step == step for group in dead)
        assert all(group.has_signal for group in resampling.surplus)
        # Every mixed group is used or waits; every dead one is used or discarded.
        assert {g.draw for g in world.given if g.has_signal} <= {*used, *surplus}
        assert counters.generated == counters.kept + counters.discarded + num_rollouts(
            resampling.surplus
        )
        assert counters.kept == (step + 1) * wanted * group_size


@pytest.mark.parametrize(
    ("wanted", "group_size", "budget_group_size", "generated"),
    [(3, 2, 16, 48), (5, 3, 7, 33)],  # 16 / 2 · 3 groups; 35 rollouts are 11 groups, 2 are left
)
def test_dead_groups_fill_the_batch_when_the_budget_is_spent(
    wanted, group_size, budget_group_size, generated
):
    counters, kept = Counters(), wanted * group_size
    world = World(group_size, counters)
    world.mixed_rate = 0.0
    batch = world.collect(new_prompts(wanted, group_size, budget_group_size), 0)
    assert counters == Counters(generated, kept=kept, discarded=generated - kept, trained_on=0)
    assert [group.draw for group in batch] == list(range(wanted))


def test_the_unused_budget_of_a_step_is_left_to_later_steps():
    counters = Counters()
    resampling = new_prompts(4)
    world = World(2, counters)
    world.mixed_rate = 1.0
    world.collect(resampling, 0)
    assert counters.generated == 8  # of 64
    world.mixed_rate = 0.0
    world.collect(resampling, 1)
    assert counters.generated == 128  # all that the baseline would have drawn in two steps


@given(st.integers(1, 10), st.integers(0, 10**6))
def test_the_state_survives_json_and_draws_the_same_batches(wanted, seed):
    counters = Counters()
    resampling = new_prompts(wanted)
    world = World(2, counters, seed)
    for step in range(3):
        world.collect(resampling, step)
    restored = new_prompts(wanted)
    restored.load_state(json.loads(json.dumps(resampling.state())))
    assert restored == resampling
    twin = World(2, Counters(**asdict(counters)), seed)
    twin.given = list(world.given)
    twin.rng.bit_generator.state = world.rng.bit_generator.state
    assert twin.collect(restored, 3) == world.collect(resampling, 3)
    assert twin.counters == world.counters


def test_a_round_is_sized_by_the_share_of_mixed_groups_in_the_complete_step():
    """A small last round without a mixed group must not make the next step's first huge."""
    counters = Counters()
    resampling = new_prompts(128)
    world = World(2, counters, seed=7)
    world.mixed_rate = 0.3
    drawn = []
    for step in range(40):
        before = counters.generated
        world.collect(resampling, step)
        drawn.append((counters.generated - before) / 2)
    assert max(drawn) < 2 * 128 / 0.3
    assert min(drawn) > 0
    assert math.isclose(sum(drawn) / 40, 128 / 0.3, rel_tol=0.05)
