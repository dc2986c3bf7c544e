"""Resampling the same prompts: how many groups each round draws and how many prompts end mixed."""

from __future__ import annotations

import math

from twogrpo.preflight.zero_variance import Beta


def same_prompt_rounds(success: Beta, group_size: int, num_draws: int) -> list[float]:
    """Prompts still dead after 0, 1, … b draws, as shares: E[d^j], d = p^G + (1−p)^G of a prompt.

    Round j + 1 draws the j-th share again, so the first b of them add up to the draws a prompt,
    E[(1 − d^b) / (1 − d)], and 1 less the last one ends mixed. A prompt that is dead once is more
    often dead again: E[d^j] > E[d]^j.
    """
    return [_dead_again(success, group_size, times) for times in range(num_draws + 1)]


def _dead_again(success: Beta, group_size: int, times: int) -> float:
    """E[d^j] = Σ C(j, k) E[p^{Gk} (1−p)^{G(j−k)}], k = 0 … j; of one rate for all, d^j."""
    if math.isinf(success.a):
        return success.dead_share(group_size) ** times
    return sum(
        math.comb(times, k) * _moment(success, group_size * k, group_size * (times - k))
        for k in range(times + 1)
    )


def _moment(success: Beta, right: int, wrong: int) -> float:
    """E[p^r (1−p)^w] = B(a + r, b + w) / B(a, b)."""
    a, b = success.a, success.b
    return math.exp(_log_beta(a + right, b + wrong) - _log_beta(a, b))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
