"""verl's formulas, written out by hand, beside ours on the same log-probabilities.

verl itself is not installed. Its losses are per token, minimised, and then aggregated. All in
float64, as gradients of the log-probabilities; many tokens are clipped.
"""

import pytest
import torch
from torch import Tensor

from twogrpo.core.advantages import ADVANTAGES
from twogrpo.core.aggregation import AGGREGATIONS
from twogrpo.core.surrogates import SURROGATES, truncated_importance_weights

P, G, T = 6, 4, 9
B = P * G
LOW, HIGH, CAP = 0.2, 0.28, 2.0
GENERATOR = torch.Generator().manual_seed(0)
REWARDS_PG = (torch.rand(P, G, generator=GENERATOR) < 0.4).double()
LENGTHS_B = torch.randint(1, T + 1, (B,), generator=GENERATOR)
MASK_BT = torch.arange(T) < LENGTHS_B[:, None]


def noise(scale: float) -> Tensor:
    return scale * torch.randn(B, T, generator=GENERATOR, dtype=torch.float64)


OLD_BT = -noise(1.0).abs()
LOGPS_BT, SAMPLER_BT = OLD_BT + noise(0.35), OLD_BT + noise(0.5)
LOGPS_BT[0, 0] = OLD_BT[0, 0] + 1.5  # a ratio of 4.5, which only the dual clip bounds
A_BT = ADVANTAGES["standardised_sample"].from_rewards(REWARDS_PG, epsilon=1e-6).view(B, 1)
A_BT[0] = -1.0


def their_loss(logps: Tensor, *, dual_clip: float | None) -> Tensor:
    """max(−A ρ, −A clip(ρ)); where A < 0 at most −A c."""
    ratios = (logps - OLD_BT).exp()
    losses = torch.maximum(-A_BT * ratios, -A_BT * ratios.clamp(1 - LOW, 1 + HIGH))
    if dual_clip is None:
        return losses
    return torch.where(A_BT < 0, torch.minimum(losses, -A_BT * dual_clip), losses)


def their_gspo_loss(logps: Tensor) -> Tensor:
    """The sequence's ratio in value; each token's log-probability carries its own gradient."""
    means = ((logps - OLD_BT) * MASK_BT).sum(1, keepdim=True) / LENGTHS_B[:, None]
    ratios = (means.detach() + logps - logps.detach()).exp()
    return torch.maximum(-A_BT * ratios, -A_BT * ratios.clamp(1 - LOW, 1 + HIGH))


THEIR_AGGREGATIONS = {
    "token_mean": lambda losses: (losses * MASK_BT).sum() / MASK_BT.sum(),
    "sequence_mean_of_token_sums": lambda losses: (losses * MASK_BT).sum(1).mean(),
    "sequence_mean_of_token_means": lambda losses: (
        (losses * MASK_BT).sum(1) / (MASK_BT.sum(1) + 1e-8)
    ).mean(),
}


def their_gradient(loss, aggregation: str, weights=1.0, **kwargs) -> Tensor:
    logps = LOGPS_BT.clone().requires_grad_()
    THEIR_AGGREGATIONS[aggregation](loss(logps, **kwargs) * weights).backward()
    return -logps.grad


def our_gradient(surrogate: str, aggregation: str, cap: float | None = None) -> Tensor:
    logps = LOGPS_BT.clone().requires_grad_()
    values = SURROGATES[surrogate].function(
        logps, OLD_BT, advantages_N=A_BT[:, 0], response_mask_NT=MASK_BT, clip_low=LOW,
        clip_high=HIGH,
    )  # fmt: skip
    weights = AGGREGATIONS[aggregation](LENGTHS_B, max_response_tokens=T)[:, None] * MASK_BT
    if cap is not None:
        weights = weights * our_cap(cap)
    (values * weights).sum().backward()
    return logps.grad


def our_cap(cap: float) -> Tensor:
    return truncated_importance_weights(OLD_BT, SAMPLER_BT, response_mask_NT=MASK_BT, cap=cap)


def distance(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def test_advantages_are_the_same_and_the_paper_s_are_scaled():
    centred = REWARDS_PG - REWARDS_PG.mean(1, keepdim=True)
    grpo = centred / (REWARDS_PG.std(1, keepdim=True) + 1e-6)
    rloo = REWARDS_PG * G / (G - 1) - REWARDS_PG.mean(1, keepdim=True) * G / (G - 1)
    for name, theirs in (
        ("standardised_sample", grpo),
        ("leave_one_out", rloo),
        ("centred", centred),
    ):
        ours = ADVANTAGES[name].from_rewards(REWARDS_PG, epsilon=1e-6)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    population = ADVANTAGES["standardised_population"].from_rewards(REWARDS_PG, epsilon=0)
    torch.testing.assert_close(population, grpo * (G / (G - 1)) ** 0.5, rtol=1e-5, atol=0)


@pytest.mark.parametrize("aggregation", THEIR_AGGREGATIONS)
@pytest.mark.parametrize("cap", [None, CAP])
def test_clipped_gradients_are_the_same_without_the_dual_clip(aggregation, cap):
    weights = 1.0 if cap is None else (OLD_BT - SAMPLER_BT).exp().clamp(max=cap)
    theirs = their_gradient(their_loss, aggregation, weights, dual_clip=None)
    ours = our_gradient("token_ratio_clipped", aggregation, cap)
    assert distance(ours, theirs) < (1e-8 if aggregation.endswith("means") else 1e-14)  # their 1e-8
    assert float((ours == 0)[MASK_BT].double().mean()) > 0.2  # clipped, or without advantage


def test_the_dual_clip_only_stops_bad_tokens_whose_ratio_passed_three():
    plain = their_gradient(their_loss, "token_mean", dual_clip=None)
    dual = their_gradient(their_loss, "token_mean", dual_clip=3.0)
    changed = ((plain != dual) & MASK_BT).nonzero().tolist()
    assert changed == [[0, 0]] and dual[0, 0] == 0 and plain[0, 0] < 0


def test_gspo_is_the_same_and_its_importance_weights_are_not():
    """Ours, as TRL's, multiplies s A by each token's weight: a sequence gets their mean."""
    name = "sequence_mean_of_token_means"
    theirs = their_gradient(their_gspo_loss, name)
    assert distance(our_gradient("sequence_ratio_clipped", name), theirs) < 1e-8
    ours = our_gradient("sequence_ratio_clipped", name, CAP)
    means_B1 = (our_cap(CAP).sum(1) / LENGTHS_B)[:, None]
    torch.testing.assert_close(ours, theirs * means_B1, rtol=1e-7, atol=0)
    each = their_gradient(their_gspo_loss, name, (OLD_BT - SAMPLER_BT).exp().clamp(max=CAP))
    cosine = torch.cosine_similarity(ours.flatten(), each.flatten(), dim=0)
    assert 0.8 < float(cosine) < 0.99


def test_the_norm_mode_is_ours_up_to_the_number_of_rollouts():
    """verl's seq-mean-token-sum-norm divides the sum by the length alone, not by the rollouts."""
    logps = LOGPS_BT.clone().requires_grad_()
    ((their_loss(logps, dual_clip=None) * MASK_BT).sum() / T).backward()
    ours = our_gradient("token_ratio_clipped", "sequence_mean_of_fixed_length")
    assert distance(B * ours, -logps.grad) < 1e-14


def test_rloo_is_reinforce_with_the_mean_of_the_others_on_policy():
    """A ∇log π(o) of the whole response, mean over B: Ahmadian et al. 2024, TRL's RLOOTrainer."""
    advantages = ADVANTAGES["leave_one_out"].from_rewards(REWARDS_PG, epsilon=0).view(B, 1)
    logps = OLD_BT.clone().requires_grad_()
    values = SURROGATES["token_ratio_clipped"].function(
        logps, OLD_BT, advantages_N=advantages[:, 0], response_mask_NT=MASK_BT, clip_low=LOW,
        clip_high=HIGH,
    )  # fmt: skip
    weights = AGGREGATIONS["sequence_mean_of_token_sums"](LENGTHS_B, max_response_tokens=T)
    (values * weights[:, None] * MASK_BT).sum().backward()
    torch.testing.assert_close(logps.grad, advantages * MASK_BT / B, rtol=1e-12, atol=0)
