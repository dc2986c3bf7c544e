"""A step's row, worked by hand from two groups and two updates."""

import math

import pytest
import torch

from tests.conftest import make_group
from twogrpo.policy.protocol import UpdateMetrics
from twogrpo.training import metrics
from twogrpo.types import TrainingSample

GROUPS = [
    make_group([1, 0], [1, 3], logp=-0.5, finish_reasons=["stop", "length"]),
    make_group([1, 1], [2, 4], logp=-0.5),
]


def test_sampling_row_worked_by_hand():
    row = metrics.sampling_row(GROUPS)
    assert row["reward/mean"] == 3 / 4
    assert row["groups/contrastive_share"] == row["groups/discard_rate"] == 1 / 2
    # 9/16 + 1/16, and what is left of 1.
    assert row["groups/discard_rate_of_mean"] == pytest.approx(10 / 16)
    assert row["groups/kept_rate_of_mean"] == pytest.approx(6 / 16)
    assert row["response/tokens_mean"] == 10 / 4
    assert row["response/truncated_fraction"] == 1 / 4
    assert row["tokens/generated"] == 10
    assert row["policy/entropy"] == pytest.approx(0.5)


def test_rates_of_the_mean_go_by_correct_responses_and_the_groups_own_size():
    # 3 of 6 are correct, whatever their rewards: (1/2)³ + (1/2)³, and what is left of 1.
    trios = [make_group(r, [1] * 3) for r in ([1.5, 1.0, 1.0], [0.0, 0.5, 0.0])]
    row = metrics.sampling_row(trios)
    assert row["reward/mean"] == 4 / 6
    assert row["groups/discard_rate_of_mean"] == 1 / 4
    assert row["groups/kept_rate_of_mean"] == 3 / 4


def update(norm: float, low: float, high: float, num_tokens: int) -> UpdateMetrics:
    return UpdateMetrics(norm, norm / 100, low, high, num_sequences=2, num_tokens=num_tokens)


def test_update_row_worked_by_hand():
    def sequence(advantage: float) -> TrainingSample:
        return TrainingSample((3,), (4,), advantage, 1.0, torch.zeros(1))

    row = metrics.update_row(
        [[sequence(1.0), sequence(-1.0)], [sequence(0.0), sequence(0.0)]],
        [update(1.0, 0.5, 0.0, 2), update(3.0, 0.0, 0.25, 8)],
    )
    assert row["advantage/rms"] == pytest.approx(0.5**0.5)
    assert row["policy/gradient_norm"] == 2
    # By tokens: 0.5 · 2 of 10 and 0.25 · 8 of 10.
    assert row["policy/clip_fraction_low"] == pytest.approx(0.1)
    assert row["policy/clip_fraction_high"] == pytest.approx(0.2)
    assert row["policy/learning_rate"] == 0.03
    assert row["tokens/trained_on"] == 10
    of_zeros = metrics.update_row([[sequence(0.0)]], [update(0.0, 0.0, 0.0, 0)])
    assert of_zeros["policy/clip_fraction_low"] == of_zeros["policy/clip_fraction_high"] == 0


class Halved:
    """A start policy under which every token is half as likely as under the sampler (e^−½ / 2)."""

    def token_logps(self, sequences):
        return [torch.full((len(s.response_token_ids),), -0.5 - math.log(2)) for s in sequences]


@pytest.mark.parametrize("num_rollouts", [1, 3, 100])
def test_kl_row_worked_by_hand(num_rollouts):
    # d = log π_start − log π = −log 2: ½ − 1 + log 2.
    start: object = Halved()
    row = metrics.kl_row(GROUPS, start, num_rollouts=num_rollouts)  # type: ignore[arg-type]
    assert row["policy/kl_from_start"] == pytest.approx(math.log(2) - 0.5, abs=1e-6)
    assert metrics.kl_row(GROUPS, start, num_rollouts=0) == {}  # type: ignore[arg-type]


def test_progress_names_reward_share_rollouts_and_speed():
    row = metrics.sampling_row(GROUPS) | {"rollouts/generated": 1234}
    # 10 tokens were sampled: in 0.3 + 0.2 s that is 20 a second
    row |= metrics.speed_row(row | {"seconds/generate": 0.3, "seconds/update": 0.2})
    text = metrics.progress_text(row)
    assert all(part in text for part in ("reward 0.750", "50%", "1,234", "20 tok/s"))
