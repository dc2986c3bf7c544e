"""How long responses are: log-normal, cut off at the longest allowed; their mean is after the cut.

About the shape nothing is published; its parameters are ours. With X before the cut at L, of mean m
and standard deviation LENGTH_VARIATION · m, a response has min(X, L) tokens, and what is given,
measured or fitted is E[min(X, L)]. A mean of L says that all are of that length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

LENGTH_VARIATION = 0.8  # standard deviation over mean, before the cut
_VARIANCE = math.log(1 + LENGTH_VARIATION**2)  # of log X
_FARTHEST = 1e6  # times the longest: as good as all cut


def survival(tokens: float, mean: float, longest: float) -> float:
    """Share of responses with more than `tokens` tokens, for tokens under `longest`."""
    return _survival(tokens, uncut_mean(mean, longest))


def running_tokens(mean: float, longest: float) -> float:
    """That a response has so far, on the mean over all that run at some moment; and, just as much,
    the mean number of response tokens before a token.

    E[n²] / 2E[n] for n = min(X, L): long ones run longer, so it is more than half of the mean.
    """
    return _second_moment(uncut_mean(mean, longest), longest) / (2 * min(mean, longest))


@cache
def uncut_mean(mean: float, longest: float) -> float:
    """E[X] at which E[min(X, L)] is `mean`; L and beyond: so large that all are cut."""
    return bisect(lambda uncut: _cut_mean(uncut, longest), mean, low=mean, high=_FARTHEST * longest)


def _survival(tokens: float, uncut: float) -> float:
    """P(X > tokens)."""
    return _above(tokens, uncut, 0) if tokens > 0 else 1.0


def _cut_mean(uncut: float, longest: float) -> float:
    """E[min(X, L)] = E[X; X < L] + L · P(X > L)."""
    beyond = _above(longest, uncut, 0)
    return uncut * (1 - _above(longest, uncut, 1)) + longest * beyond


def _second_moment(uncut: float, longest: float) -> float:
    """E[min(X, L)²]."""
    below = uncut**2 * math.exp(_VARIANCE) * (1 - _above(longest, uncut, 2))
    return below + longest**2 * _above(longest, uncut, 0)


def _above(tokens: float, uncut: float, power: int) -> float:
    """E[X^k; X > tokens] / E[X^k]: for k = 0 the share above, for 1 their share of all tokens."""
    z = (math.log(tokens / uncut) + (0.5 - power) * _VARIANCE) / math.sqrt(_VARIANCE)
    return 0.5 * math.erfc(z / math.sqrt(2))


def bisect(f: Callable[[float], float], wanted: float, *, low: float, high: float) -> float:
    """x in [low, high], on a log scale, at which a monotone f is nearest `wanted`."""
    rises = f(high) > f(low)
    for _ in range(60):
        middle = math.sqrt(low * high)
        is_below = (f(middle) < wanted) == rises
        low, high = (middle, high) if is_below else (low, middle)
    return middle
