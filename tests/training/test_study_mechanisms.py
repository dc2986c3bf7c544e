"""The mechanisms of the studies: label noise, an older sampler, groups skipped or replayed."""

import json
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import make_group, parse_config
from tests.outcomes import assert_bit_for_bit, outcome
from tests.training.test_interruption import Killed, interrupt_at
from twogrpo.core.advantages import (
    standardised_population,
    standardised_without_zero_variance,
)
from twogrpo.errors import ConfigError
from twogrpo.run_record.files import read_rows
from twogrpo.training import loop, resume
from twogrpo.training.label_noise import with_label_noise
from twogrpo.training.minibatches import training_samples
from twogrpo.training.resampling import Counters, OnePair, Replay, SkipSolved, best_and_worst
from twogrpo.training.stale_weights import StaleWeights
from twogrpo.types import Draw, Prompt


def prompt(name: str) -> Prompt:
    return Prompt(name, f"{name}=", "0", (2,))


class Source:
    """Gives pairs of the rewards it is told, in order, and asks `skips` about each draw."""

    def __init__(self, *rewards, names="abcdefgh"):
        self.rewards, self.names, self.number = list(rewards), names, 0

    def new_prompts(self, count, *, skips=lambda _: False):
        groups = []
        while len(groups) < count:
            draw = Draw(self.number, prompt(self.names[self.number % len(self.names)]))
            self.number += 1
            if not skips(draw):
                rewards = self.rewards.pop(0)
                lengths = [1] * len(rewards)
                groups.append(make_group(rewards, lengths, prompt=draw.prompt, draw=draw.number))
        return groups


def test_noise_flips_the_given_share_of_rewards_and_leaves_what_is_correct():
    groups = [make_group([1, 0], [1, 1], prompt=prompt("a"), draw=draw) for draw in range(4000)]
    noisy = with_label_noise(groups, 0.1, seed=0)
    flipped = [
        one.reward != other.reward
        for before, after in zip(groups, noisy, strict=True)
        for one, other in zip(before.verdicts, after.verdicts, strict=True)
    ]
    # 800 of 8,000, standard deviation sqrt(8000 × .1 × .9) = 27: four of them either way.
    assert 692 <= sum(flipped) <= 908
    assert all(group.verdicts[0].is_correct for group in noisy)
    assert {reward for group in noisy for reward in group.rewards} == {0.0, 1.0}
    # The same rollout is flipped in any company, and by its own seed.
    assert with_label_noise(groups[7:9], 0.1, seed=0) == noisy[7:9]
    assert with_label_noise(groups, 0.1, seed=1) != noisy
    assert with_label_noise(groups, 0.0, seed=0) == groups
    assert all(g.rewards == (0.0, 1.0) for g in with_label_noise(groups, 1.0, seed=0))


def test_noise_is_in_the_training_rewards_and_not_in_validation(make_run, tmp_path):
    rows = {}
    for noise in (0, 1):
        folder = tmp_path / str(noise)
        loop.train(make_run("algorithm=two_grpo", f"reward.noise={noise}", f"output_dir={folder}"))
        rows[noise] = read_rows(folder)[0]
    assert rows[1]["reward/mean"] == pytest.approx(1 - rows[0]["reward/mean"])
    # The first step's tokens are the same, so their truth is.
    assert rows[1]["groups/discard_rate_of_mean"] == rows[0]["groups/discard_rate_of_mean"]


class Recorder:
    """A sampler that remembers what was loaded."""

    def __init__(self):
        self.loaded = []

    def load(self, weights):
        self.loaded.append({name: tensor.item() for name, tensor in weights})


def test_the_sampler_gets_older_weights_back_before_it_samples():
    policy, sampler, stale = torch.zeros(()), Recorder(), StaleWeights(2)

    def weights():
        return [("w", policy)]

    stale.after_update(weights, 0)
    seen = []
    for step in range(5):
        before = len(sampler.loaded)
        stale.before_sampling(sampler, step)
        seen.append(sampler.loaded[before:])
        policy.add_(1)  # in place, as an optimiser does
        stale.after_update(weights, step + 1)
    # Steps 0 and 1 sample with 0 updates, 2 and 3 with 2, 4 with 4; nothing to give back when due.
    assert seen == [[], [{"w": 0.0}], [], [{"w": 2.0}], []]


@pytest.mark.parametrize(
    "overrides",
    [
        ["training.sync_every=2"],
        ["training.sync_every=null"],
        ["algorithm.resampling=skip_solved"],
        ["algorithm.resampling=replay"],
        ["algorithm.resampling=one_pair", "algorithm.group_size=4"],
        ["reward.noise=0.3"],
    ],
    ids=" ".join,
)
def test_an_interrupted_run_of_a_study_ends_like_the_uninterrupted_one(
    overrides, make_run, tmp_path
):
    given = ["algorithm=two_grpo", *overrides]
    loop.train(make_run(*given, f"output_dir={tmp_path / 'whole'}"))
    run = make_run(*given)
    interrupt_at(run, "during sampling", 3, Killed)
    with pytest.raises(Killed):
        loop.train(run)
    resumed = make_run(*given)
    # Between two hand-overs there is no checkpoint: before step 3 the last is that of step 2.
    assert resume.resume(resumed) == (2 if "training.sync_every=2" in overrides else 3)
    loop.train(resumed)
    assert_bit_for_bit(outcome(tmp_path / "run"), outcome(tmp_path / "whole"))


def test_rollouts_of_an_older_policy_are_trained_on_with_its_log_probabilities(make_run, tmp_path):
    run = make_run("algorithm=two_grpo", "training.sync_every=null")
    loop.train(run)
    rows = read_rows(tmp_path / "run")[:-1]
    # The sampler is the initial policy in every step: the policy moves away from it alone.
    assert rows[0]["mismatch/max"] < 1e-4 < 1e-3 < rows[-1]["mismatch/max"]
    assert all(row["policy/kl_from_start"] == pytest.approx(0, abs=1e-6) for row in rows)
    groups = run.collector.collect(9).batch
    assert {group.step for group in groups} == {0}
    samples = training_samples(groups, run.config, step=9)
    assert all(torch.equal(s.old_logps, s.sampler_logps) for s in samples)


@pytest.mark.parametrize(
    ("every", "sync", "expected"), [(4, 5, [5, 10, 12]), (1, 5, [5, 10, 12]), (4, 1, [4, 8, 12])]
)
def test_checkpoints_wait_for_the_next_hand_over(every, sync, expected, monkeypatch):
    saved: list[int] = []
    monkeypatch.setattr(resume, "save_checkpoint", lambda run, state: saved.append(state))
    monkeypatch.setattr(resume, "loop_state", lambda run, step: step)
    config = SimpleNamespace(
        checkpointing=SimpleNamespace(every=every),
        training=SimpleNamespace(sync_every=sync),
        num_steps=12,
    )
    collector = SimpleNamespace(stale_weights=StaleWeights(sync))
    timer = SimpleNamespace(phase=lambda name: nullcontext())
    for step in range(12):
        run = SimpleNamespace(step=step, config=config, collector=collector, timer=timer)
        resume.save_checkpoint_if_due(run)
    assert saved == expected


def test_a_prompt_solved_in_its_last_visits_is_skipped_and_returns():
    resampling, counters = SkipSolved(1, seed=0), Counters()
    source = Source(*[(1, 1)] * 200, names="a")
    for step in range(200):
        resampling.fill(source, step=step, counters=counters)
    assert resampling.times_solved == {"a": 200}
    # From the fifth visit on it is sampled once in 16 draws; 195 of them take 3,120 draws,
    # standard deviation sqrt(195 × 15 × 16) = 216.
    assert 2400 <= source.number <= 3900
    assert counters.kept == 400
    source.rewards = [(1, 0)]
    resampling.fill(source, step=200, counters=counters)
    assert resampling.times_solved == {"a": 0}
    drawn = source.number
    source.rewards = [(0, 0), (1, 1)]  # unsolved prompts are not skipped
    resampling.fill(source, step=201, counters=counters)
    resampling.fill(source, step=202, counters=counters)
    assert source.number == drawn + 2
    other = SkipSolved(1, seed=0)
    other.load_state(json.loads(json.dumps(resampling.state())))
    assert other == resampling


def test_earlier_groups_with_signal_stand_in_for_zero_variance_groups_once():
    resampling, counters = Replay(3), Counters()
    source = Source((1, 0), (0, 0), (0, 1), (1, 1), (1, 0), (0, 0), (1, 1), (1, 1), (1, 1))
    draws = [
        [group.draw for group in resampling.fill(source, step=step, counters=counters)]
        for step in range(3)
    ]
    # Draws 0, 2 and 4 have a signal. In step 1 the newest that waits, 2, stands in for 3, and 0 for
    # 5; in step 2 only 4 is left.
    assert draws == [[0, 1, 2], [2, 4, 0], [4, 7, 8]]
    assert (counters.kept, counters.discarded) == (12, 6)
    assert resampling.waiting == []


def test_one_right_and_one_wrong_rollout_are_left_of_a_group():
    group = make_group([0, 0, 1, 1], [1, 2, 3, 4])
    pair = best_and_worst(group)
    assert pair.rewards == (0.0, 1.0)
    assert [len(rollout.token_ids) for rollout in pair.rollouts] == [1, 3]
    assert best_and_worst(make_group([1, 0, 0], [1, 2, 3])).rewards == (1.0, 0.0)
    same = best_and_worst(make_group([1, 1, 1], [1, 2, 3]))
    assert [len(rollout.token_ids) for rollout in same.rollouts] == [1, 2]
    counters = Counters()
    assert OnePair(2).fill(Source((1, 0, 1, 1), (0, 0, 0, 0)), step=0, counters=counters)
    assert (counters.kept, counters.discarded) == (4, 4)


def test_zero_variance_groups_leave_the_denominator_as_if_they_were_not_there():
    groups = [make_group(rewards, [3, 3]) for rewards in ([1, 0], [1, 1], [0, 0], [0, 1])]
    config = parse_config("algorithm=two_grpo")
    config.algorithm.advantage = "standardised_without_zero_variance"
    kept = training_samples(groups, config, step=0)
    config.algorithm.advantage = "standardised_population"
    filtered = training_samples([groups[0], groups[3]], config, step=0)
    weights = [s.advantage * s.token_weight for s in kept if s.advantage]
    assert weights == pytest.approx([s.advantage * s.token_weight for s in filtered])
    rewards = torch.zeros(3, 2)  # no group with signal: no division by zero
    assert not standardised_without_zero_variance(rewards, epsilon=0.0).any()
    mixed = torch.tensor([[1.0, 0.0]])
    expected = standardised_population(mixed, epsilon=1e-6)
    assert torch.equal(standardised_without_zero_variance(mixed, epsilon=1e-6), expected)


def test_validation_of_both_kinds_is_logged_by_kind(make_run, tmp_path):
    splits = "evaluation.validation_splits=[validation,validation_longer]"
    run = make_run("algorithm=two_grpo", splits)
    loop.train(run)
    operands = [sum(map(str.isdigit, p.text)) for p in run.validation]
    assert len(operands) == 6 and set(operands[:3]) <= {3, 4, 5} and set(operands[3:]) == {6}
    row = read_rows(tmp_path / "run")[0]
    kinds = (row["validation/validation"], row["validation/validation_longer"])
    assert sum(kinds) / 2 == pytest.approx(row["validation/mean"])


@pytest.mark.parametrize("splits", ["[]", "[longer]", "[validation,validation]"])
def test_a_benchmark_is_no_validation_split(splits, make_run):
    with pytest.raises(ConfigError, match=r"evaluation\.validation_splits=.* validation_longer"):
        make_run(f"evaluation.validation_splits={splits}")


def test_a_group_keeps_its_attempt_when_it_is_cut_down():
    group = replace(make_group([1, 0, 1], [1, 1, 1]), attempt=2)
    assert best_and_worst(group).attempt == 2
