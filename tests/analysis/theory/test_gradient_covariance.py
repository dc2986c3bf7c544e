"""Table 2's statistics: by hand, by numpy on the vectors themselves, and what the score says."""

import numpy as np
import pytest
import torch

from analysis.theory.gradient_covariance import build, grams, permuted_covariances, rows, statistics

RNG = np.random.default_rng(0)


def made(num_prompts: int = 12, shared: float = 1.0) -> tuple[np.ndarray, torch.Tensor]:
    """Two correct and two wrong responses a prompt; both classes share a prompt's own vector."""
    generator = torch.Generator().manual_seed(1)
    own = torch.randn(num_prompts, 1, 7, generator=generator, dtype=torch.float64)
    noise = torch.randn(num_prompts, 4, 7, generator=generator, dtype=torch.float64)
    return np.tile([1.0, 0.0, 1.0, 0.0], (num_prompts, 1)), shared * own + noise


def test_statistics_by_hand() -> None:
    # One dimension, three prompts: g+ = 1, 2, 3 and g− = 0, 2, 4. Cov = (1·2 + 0 + 1·2)/2 = 2,
    # Var g+ = 1, Var g− = 4, c* = 2/4, ρ² = 4/4: g+ is a line in g−, all of its variance goes.
    rewards = np.array([[1.0, 0.0]] * 3)
    vectors = torch.tensor([[[1.0], [0.0]], [[2.0], [2.0]], [[3.0], [4.0]]], dtype=torch.float64)
    found = statistics(grams(rewards, vectors), np.arange(3))
    variances = {"variance_positive": 1.0, "variance_negative": 4.0, "variance_saved": 1.0}
    assert found == pytest.approx({"covariance": 2.0, "optimal_c": 0.5, **variances})


def test_statistics_are_numpys_traces_and_prop_4_1_holds() -> None:
    rewards, vectors = made()
    found = statistics(grams(rewards, vectors), np.arange(12))
    positive, negative = vectors[:, [0, 2]].mean(dim=1), vectors[:, [1, 3]].mean(dim=1)

    def variance(of: torch.Tensor) -> float:
        return of.var(dim=0).sum().item()

    assert found["variance_positive"] == pytest.approx(variance(positive))
    assert found["covariance"] == pytest.approx(
        (variance(positive + negative) - variance(positive - negative)) / 4
    )
    c, rho_squared = found["optimal_c"], found["variance_saved"]
    assert 0.1 < c < 1
    assert variance(positive - c * negative) == pytest.approx(
        (1 - rho_squared) * variance(positive)
    )
    assert variance(positive - 2 * c * negative) == pytest.approx(variance(positive))


def test_permuting_the_prompts_takes_the_covariance_away_and_two_prompts_are_refused() -> None:
    g = grams(*made(40))
    permuted = permuted_covariances(g, np.random.default_rng(0))
    assert abs(permuted.mean()) < 0.1 * statistics(g, np.arange(40))["covariance"]
    with pytest.raises(ValueError, match="only 2 prompts"):
        grams(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), torch.zeros(3, 2, 5))


@pytest.mark.parametrize(("shared", "is_significant"), [(1.0, True), (0.0, False)])
def test_intervals_and_p_value(shared: float, is_significant: bool) -> None:
    found = rows("made up", *made(40, shared), np.random.default_rng(0))
    of = {row["statistic"]: row for row in found}
    covariance, permuted = of["covariance"], of["covariance_permuted"]
    assert covariance["low"] < covariance["value"] < covariance["high"]
    assert (covariance["low"] > 0) == is_significant
    assert (permuted["p_value"] < 0.01) == is_significant
    assert build(found).figure is not None


def test_on_policy_the_two_expected_gradients_of_a_prompt_oppose_each_other() -> None:
    """Σ_o π(o) ∇log π(o) = 0, so p ḡ+ = −(1−p) ḡ−: only differences between prompts can make the
    covariance positive, as where prompts share a direction d: ḡ+ = (1−p) d and ḡ− = −p d."""
    rates = np.array([0.2, 0.5, 0.8])
    direction = torch.tensor([3.0, 4.0], dtype=torch.float64)
    vectors = torch.stack([torch.stack([(1 - p) * direction, -p * direction]) for p in rates])
    found = statistics(grams(np.array([[1.0, 0.0]] * 3), vectors), np.arange(3))
    # Cov = |d|² Var(p) with |d|² = 25 and Var(p) = 0.09.
    assert found["covariance"] == pytest.approx(25 * 0.09)
    opposed = (vectors[:, 0] * vectors[:, 1]).sum(dim=1)
    assert (opposed < 0).all()
