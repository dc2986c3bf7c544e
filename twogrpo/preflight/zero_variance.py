"""How many groups will be dead: a forecast for every group size from a small probe of the model.

c of n samples of a prompt are correct, p its success rate. A group of G is dead if all its rewards
are equal: with probability p^G + (1−p)^G.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twogrpo.errors import ConfigError

Counts = Sequence[tuple[int, int]]  # (correct, samples) of each prompt


@dataclass(frozen=True)
class Beta:
    """Success rates over prompts as Beta(a, b); both infinite where all have the rate `mean`."""

    a: float
    b: float
    mean: float

    def dead_share(self, group_size: int) -> float:
        """E[p^G + (1−p)^G] = Π (a+i)/(a+b+i) + Π (b+i)/(a+b+i), i = 0 … G−1."""
        if math.isinf(self.a):
            return self.mean**group_size + (1 - self.mean) ** group_size
        total, steps = self.a + self.b, range(group_size)
        all_right = math.prod((self.a + i) / (total + i) for i in steps)
        return all_right + math.prod((self.b + i) / (total + i) for i in steps)


# Where there is no probe: a mean of 0.8, so that 77 % of pairs and 32 % of groups of 16 are dead.
# Ours, between Table 3 of the paper (53 … 77 % of pairs, from mean rewards and so too low) and our
# CPU runs (75 % and 23 %).
ASSUMED = Beta(2.0, 0.5, 0.8)


@dataclass(frozen=True)
class Forecast:
    """What a group size means. Shares are of groups; `error` is one standard error, nan if unknown.

    `prompts_per_minibatch`: so that a mini-batch holds as many rollouts with a gradient as one of
    the reference (16-GRPO's) does.
    """

    group_size: int
    contrastive_share: float
    error: float
    draws_per_kept: float
    prompts_per_minibatch: float


def dead_share(correct: int, samples: int, group_size: int) -> float:
    """Unbiased p^G + (1−p)^G from one prompt: of all subsets of G of its samples, the equal ones.

    [C(c, G) + C(n−c, G)] / C(n, G), as pass@k of Chen et al. 2021 (2107.03374); needs G ≤ n.

    >>> dead_share(4, 8, 2)  # (6 + 6) / 28
    0.42857142857142855
    """
    if not 1 <= group_size <= samples or not 0 <= correct <= samples:
        raise ValueError(f"{correct} of {samples} samples say nothing of groups of {group_size}")
    equal = math.comb(correct, group_size) + math.comb(samples - correct, group_size)
    return equal / math.comb(samples, group_size)


def fit_beta(counts: Counts) -> Beta:
    """By the first two moments, each unbiased: E[p] of c/n, E[p²] of c(c−1)/(n(n−1)).

    a + b = (m₁ − m₂)/(m₂ − m₁²). Where the rates vary no more than the samples' own noise, all
    prompts get the same rate; where no prompt is ever mixed, (nearly) all are 0 or 1.

    Raises:
        ValueError: no prompt, or one with fewer than two samples.
    """
    if not counts or min(n for _, n in counts) < 2:
        raise ValueError("a fit needs prompts with two samples or more")
    first = sum(c / n for c, n in counts) / len(counts)
    second = sum(c * (c - 1) / (n * (n - 1)) for c, n in counts) / len(counts)
    if second <= first**2:
        return Beta(math.inf, math.inf, first)
    total = max((first - second) / (second - first**2), 1e-9)
    return Beta(first * total, (1 - first) * total, first)


def forecast(
    success: Counts | Beta, group_sizes: Sequence[int], *, reference: tuple[int, int] = (16, 32)
) -> list[Forecast]:
    """For each group size; `reference` is a group size and its prompts in a mini-batch.

    Group sizes up to the number of samples are estimated without bias, larger ones through the fit.
    """
    size, prompts = reference
    wanted = prompts * size * (1 - _dead(success, size)[0])
    rows = []
    for group_size in group_sizes:
        dead, error = _dead(success, group_size)
        kept = max(1 - dead, 0.0)
        rows.append(
            Forecast(
                group_size=group_size,
                contrastive_share=kept,
                error=error,
                draws_per_kept=1 / kept if kept else math.inf,
                prompts_per_minibatch=wanted / (group_size * kept) if kept else math.inf,
            )
        )
    return rows


def _dead(success: Counts | Beta, group_size: int) -> tuple[float, float]:
    """Share of dead groups and its standard error."""
    if isinstance(success, Beta):
        return success.dead_share(group_size), math.nan
    if group_size > min(n for _, n in success):
        return fit_beta(success).dead_share(group_size), math.nan
    shares = [dead_share(c, n, group_size) for c, n in success]
    mean = sum(shares) / len(shares)
    if len(shares) < 2:
        return mean, math.nan
    variance = sum((share - mean) ** 2 for share in shares) / (len(shares) - 1)
    return mean, math.sqrt(variance / len(shares))


def read_probe(path: Path) -> list[tuple[int, int]]:
    """Counts by prompt: of an evaluation's `samples.parquet`, or JSON {"prompt": [correct, n]}.

    Raises:
        ConfigError: the file cannot be read or holds no prompt with two samples.
    """
    try:
        if path.suffix == ".parquet":
            counts = _counts_of_samples(path)
        else:
            content = json.loads(path.read_text(encoding="utf-8"))
            counts = [_whole(pair) for pair in content.values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]  # pyarrow lists every column, one a line
        raise ConfigError(
            f"probe={path} cannot be read ({reason}): give an evaluation's samples.parquet, or "
            'JSON {"prompt": [correct, samples], …}'
        ) from error
    if not counts or any(n < 2 or not 0 <= c <= n for c, n in counts):
        raise ConfigError(f"probe={path}: every prompt needs 2 samples or more, 0 ≤ correct ≤ n")
    return counts


def _whole(pair: object) -> tuple[int, int]:
    """Two whole numbers and nothing that could be taken for them: `int` would make 4 and 8 of "48",
    and 3 of 3.7."""
    if not (isinstance(pair, list) and len(pair) == 2 and all(type(n) is int for n in pair)):
        raise ValueError(f"{pair!r} is no [correct, samples]")
    return pair[0], pair[1]


def _counts_of_samples(path: Path) -> list[tuple[int, int]]:
    import pyarrow.parquet  # a second to import, and most plans have no probe

    table = pyarrow.parquet.read_table(path, columns=["benchmark", "problem_id", "is_correct"])
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for row in table.to_pylist():
        key = (row["benchmark"], row["problem_id"])
        correct, samples = counts.get(key, (0, 0))
        if not isinstance(row["is_correct"], bool):
            raise ValueError(f"is_correct={row['is_correct']!r} is neither true nor false")
        counts[key] = (correct + row["is_correct"], samples + 1)
    return list(counts.values())
