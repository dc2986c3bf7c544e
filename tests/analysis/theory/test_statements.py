"""Prop. C.4, the discard rates, the cosines and what-if: values by hand, and figures that build."""

from pathlib import Path

import numpy as np
import pytest
import torch

from analysis.theory import (
    exploration,
    gradient_cosine,
    gradient_variance,
    what_if,
    zero_variance_rate,
)
from analysis.theory.run_folders import TrainingRun
from twogrpo.run_record.rollouts import CachedGroup


def group(step: int, prompt: str, *rewards: float) -> CachedGroup:
    return CachedGroup(step, prompt, (3,), tuple(rewards), ((5,),) * len(rewards))


class Kept(TrainingRun):
    """A run whose cached rollouts are given."""

    def groups(self) -> list[CachedGroup]:
        return [group(0, "a", 0, 0), group(0, "b", 1, 0), group(1, "a", 0, 1), group(1, "c", 1, 1)]


RUN = Kept("two_grpo", 2, Path(), [{"step": 0, "gradient/cosine_of_grpo_and_dpo": 0.9}])


@pytest.mark.parametrize("start", [0.01, 0.2, 0.9])
def test_pairs_under_an_improving_policy_find_no_less(start: float) -> None:
    rng = np.random.default_rng(0)
    for pairs in (1, 2, 8):
        rates = start + (1 - start) * np.sort(rng.random(pairs))
        assert exploration.found_by_pairs(rates) >= exploration.found_by_one_group(start, 2 * pairs)
        fixed = exploration.found_by_pairs([start] * pairs)
        assert fixed == pytest.approx(exploration.found_by_one_group(start, 2 * pairs), abs=1e-12)


def test_hard_prompts_and_the_share_solved() -> None:
    base = [group(0, "a", *[0.0] * 24), group(0, "b", 1, *[0.0] * 19), group(0, "c", *[0.0] * 9)]
    hard = exploration.hard_prompts(base)
    assert hard == {"a", "c"}  # b has 1 of 20, not under 5 %
    # After step 0 neither is solved; in step 1 a and c are.
    assert exploration.solved_curve(RUN.groups(), hard) == [
        {"rollouts": 4, "share": 0.0},
        {"rollouts": 8, "share": 1.0},
    ]
    frame = exploration.build([RUN], base).frame
    assert set(frame["arm"].dropna()) == {"two_grpo"}
    frame = exploration.build([], []).frame  # the formula alone
    assert frame["arm"].isna().all()
    assert (frame["share"] >= frame["one_group"] - 1e-12).all()


def test_discard_rates_of_a_generation_by_hand() -> None:
    # Rewards 1100 and 1000: mean 3/8. Equal pairs: 2 of 6 and 3 of 6, mean 5/12; both are mixed.
    row = zero_variance_rate.generation_row([group(0, "a", 1, 1, 0, 0), group(0, "b", 1, 0, 0, 0)])
    expected = {"mean_reward": 3 / 8, "measured": 0, "per_prompt": 5 / 12}
    assert row == pytest.approx(expected | {"of_mean": 34 / 64, "printed": 30 / 64})
    # (3/8)² + (5/8)² = 34/64, and 2 · 3/8 · 5/8 = 30/64.


def test_discard_and_cosine_build() -> None:
    frame = zero_variance_rate.build([RUN]).frame
    assert frame["measured"].tolist() == [0.5, 0.5]
    assert gradient_cosine.build([RUN]).frame["cosine"].tolist() == [0.9]


REWARDS = np.array([[1.0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]])


def vectors() -> torch.Tensor:
    return torch.randn(4, 4, 6, generator=torch.Generator().manual_seed(0))


def test_what_if_counts_by_hand() -> None:
    # Pairs of 1000: 3 of 6 dead; of 1100: 2 of 6; of 0000: all; of 1110: 3 of 6.
    counted = what_if.counts(REWARDS, sub_size=2)
    assert counted["dead_share"] == pytest.approx((1 / 2 + 1 / 3 + 1 + 1 / 2) / 4)
    assert counted["rollouts_a_mixed_group_new_prompt"] == pytest.approx(2 / (1 - 7 / 12))
    # At most two draws of the same prompt: 1 + d drawn, 1 − d² mixed at the end.
    dead = np.array([1 / 2, 1 / 3, 1, 1 / 2])
    expected = 2 * (1 + dead).mean() / (1 - dead**2).mean()
    assert counted["rollouts_a_mixed_group_same_prompt"] == pytest.approx(expected)


def test_what_if_directions_end_at_one() -> None:
    frame = what_if.build(REWARDS, vectors(), np.random.default_rng(0)).frame
    assert frame["group_size"].tolist() == [2, 4]
    last = frame.iloc[-1]
    assert last["cosine_expected"] == pytest.approx(1, abs=1e-6)
    assert last["cosine_one_draw"] == pytest.approx(1, abs=1e-6)
    first = frame.iloc[0]
    assert first["cosine_one_draw_low"] < first["cosine_one_draw"] < first["cosine_expected"] < 1


def test_what_if_refuses_what_it_cannot_answer() -> None:
    with pytest.raises(ValueError, match="groups of 4 or more"):
        what_if.table(REWARDS[:, :2], None, np.random.default_rng(0))
    with pytest.raises(ValueError, match="0 or 1"):
        what_if.table(REWARDS / 2, None, np.random.default_rng(0))


def test_measured_variance_of_vectors_without_signal_follows_the_lemma_up_to_the_weight() -> None:
    """Independent N(0, 1) vectors: given k correct of G the squared norm is D/G, so B·Var of one
    group, G · E|g|², is D · P(mixed): Lemma C.3 but for the dead groups."""
    rng = np.random.default_rng(0)
    rewards = (rng.random((400, 16)) < 0.5).astype(float)
    noise = torch.randn(400, 16, 50, generator=torch.Generator().manual_seed(0))
    rows = gradient_variance.measured_rows("noise", rewards, noise, rng)
    for row in rows:
        size = row["group_size"]
        expected = 50 * (1 - 2 * 0.5**size) / gradient_variance.NUM_ROLLOUTS
        assert row["variance"] == pytest.approx(expected, rel=0.05)
        assert row["variance_low"] <= row["variance"] / rows[-1]["variance"] <= row["variance_high"]
    assert gradient_variance.build(rows, rng).figure is not None
