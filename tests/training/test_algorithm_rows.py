"""Each file of conf/algorithm/ on one pair, worked by hand: advantage × surrogate × aggregation."""

import pytest
import torch

from tests.conftest import make_group
from twogrpo.core.surrogates import SURROGATES
from twogrpo.training.minibatches import training_samples

# The correct rollout has 2 tokens, the wrong one 4; a response may have 6 (the `small` run).
PAIR = make_group([1, 0], [2, 4])
MASK = torch.tensor([[True, True, False, False], [True] * 4])


def token_coefficients(config, log_ratios: torch.Tensor) -> torch.Tensor:
    """∂J/∂log π_θ(o_t) of the row's objective on the pair, at the given log π_θ − log π_old."""
    sequences = training_samples([PAIR], config, step=0)
    old = torch.full((2, 4), -1.0)
    policy = (old + log_ratios).requires_grad_()
    values = SURROGATES[config.algorithm.surrogate].function(
        policy,
        old,
        advantages_N=torch.tensor([s.advantage for s in sequences]),
        response_mask_NT=MASK,
        clip_low=config.algorithm.clip_low,
        clip_high=config.algorithm.clip_high,
    )
    weights = torch.tensor([[s.token_weight] for s in sequences])
    (values * MASK * weights).sum().backward()
    return policy.grad


@pytest.mark.parametrize(
    ("row", "correct", "wrong"),
    [
        ("grpo", 1 / (2 * 2), -1 / (2 * 4)),  # ±1, mean of token means: 1/(B |o|)
        ("two_grpo", 1 / (2 * 2), -1 / (2 * 4)),
        ("two_grpo_rs", 1 / (2 * 2), -1 / (2 * 4)),
        ("ctr_grpo", 2 / (2 * 2), -2 / (2 * 4)),  # ±2 = ±1/(1/2)
        ("dr_grpo", 0.5 / (2 * 6), -0.5 / (2 * 6)),  # ±1/2, fixed length 6
        ("rloo", 1 / 2, -1 / 2),  # 1 − 0 and 0 − 1, mean of token sums: 1/B
        ("gspo", 1 / (2 * 2), -1 / (2 * 4)),  # on policy a sequence ratio equals its token ratios
        ("dapo", 1 / 6, -1 / 6),  # ±1, 2 + 4 tokens
        ("dpo", 0.1 / 2, -0.1 / 2),  # ±G β σ(0) = ±2 · 0.1 / 2, mean of token sums: 1/B
    ],
)
def test_on_policy_coefficients(make_config, row: str, correct: float, wrong: float) -> None:
    config = make_config(f"algorithm={row}", "algorithm.group_size=2")
    expected = torch.tensor([[correct], [wrong]]) * MASK
    coefficients = token_coefficients(config, torch.zeros(2, 4))
    torch.testing.assert_close(coefficients, expected, rtol=1e-5, atol=0)


def test_gspo_clips_sequences_at_its_own_bounds(make_config) -> None:
    config = make_config("algorithm=gspo", "algorithm.group_size=2")
    # Correct: token log ratios 0.5 and −0.499, mean 0.0005 > log(1.0004), so all of it is clipped.
    # Wrong: mean −0.0002, above log(1 − 0.0003): s = e^−0.0002 at every token, A s / (B |o|).
    log_ratios = torch.tensor([[0.5, -0.499, 0, 0], [0.3, -0.3008, 0, 0]])
    coefficients = token_coefficients(config, log_ratios)
    assert coefficients[0].tolist() == [0.0] * 4
    torch.testing.assert_close(coefficients[1], torch.full((4,), -0.9998 / 8), rtol=1e-5, atol=0)


def test_dapo_clips_tokens_with_two_bounds(make_config) -> None:
    config = make_config("algorithm=dapo", "algorithm.group_size=2")
    # Ratios 1.25 and 1.3 of a correct rollout, 0.85 and 0.75 of a wrong one; bounds 0.8 and 1.28.
    log_ratios = torch.tensor([[1.25, 1.3, 1, 1], [0.85, 0.75, 1, 1]]).log()
    coefficients = token_coefficients(config, log_ratios)
    expected = torch.tensor([[1.25, 0, 0, 0], [-0.85, 0, -1, -1]]) / 6
    torch.testing.assert_close(coefficients, expected, rtol=1e-5, atol=1e-8)
    assert config.algorithm.resampling == "new_prompt"
