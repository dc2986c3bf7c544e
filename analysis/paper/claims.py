"""The paper's claims, one row each: published, measured, interval, verdict.

A claim states the bounds that support it. The verdict follows from the measured interval alone:
inside → reproduced, outside → not reproduced, across a bound → inconclusive, no runs → not run. One
seed alone stays inconclusive, unless the claim is about a count that no seed can change. Bounds
marked "ours" are not in the paper; a claim that was committed after its result says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.exhibits.exhibit import Exhibit, main
from analysis.exhibits.forest import ForestRow, forest
from analysis.paper import claim_metrics, theory_claim_metrics
from analysis.paper.claim_metrics import Measure
from analysis.records import published
from analysis.records.frames import Runs
from analysis.stats.comparison import BASELINE, Comparison, comparisons
from analysis.stats.intervals import OVER_BOTH, OVER_SEEDS, Estimate

COLUMNS = [
    "claim",
    "paper_version",
    "published",
    "measured",
    "ci_low",
    "ci_high",
    "n_seeds",
    "n_problems",
    "verdict",
    "scale",
]
NAN, INFINITE = float("nan"), float("inf")
EXACT = 1e-9
AFTER = "set after the result"
THEORY = "results/theory"  # where `python -m analysis.theory` writes


@dataclass(frozen=True)
class Claim:
    """A claim: its sentence, its source, and the bounds that support it."""

    name: str
    says: str
    version: str
    source: str
    published: float
    low: float
    high: float
    bounds: str
    measure: Measure
    test: str = "95 % interval"
    is_count: bool = False  # fixed by the algorithm: no seed changes it


def claims(theory: Path) -> list[Claim]:
    """All claims, the headline first; those of the theory are read from its folder of CSVs."""
    two, rs = published.headline("two_grpo"), published.headline("two_grpo_rs")
    return [
        Claim(
            "retention_avg",
            "2-GRPO keeps 16-GRPO's accuracy (ratio of means of the benchmarks' averages)",
            "v3", "abstract, Table 1", two.retention, 0.92, INFINITE,
            "at least 0.92 (ours)", claim_metrics.retention("two_grpo"),
        ),
        Claim(
            "rollout_share", "2-GRPO needs an eighth of 16-GRPO's rollouts",
            "v3", "abstract, Table 1", 0.125, 0.125 - EXACT, 0.125 + EXACT,
            "exactly 0.125", claim_metrics.share("two_grpo", "rollouts_generated"), is_count=True,
        ),
        Claim(
            "time_share", "2-GRPO trains in a fifth of 16-GRPO's time (ratio of mean seconds)",
            "v3", "abstract, Table 1", two.time_share, -INFINITE, 0.30,
            "at most 0.30 (v1: over 70 % less)",
            claim_metrics.share("two_grpo", "seconds_training"),
        ),
        Claim(
            "time_share_cpu", "the same, in seconds of the process's CPU",
            "v3", "ours", NAN, -INFINITE, 0.30,
            "at most 0.30 (v1: over 70 % less)",
            claim_metrics.share("two_grpo", "cpu_seconds_training"),
        ),
        Claim(
            "rs_retention_avg", "2-GRPO+RS keeps more than 2-GRPO's published share",
            "v3", "Table 1", rs.retention, two.retention, INFINITE,
            "at least 0.976, 2-GRPO's published share (ours)",
            claim_metrics.retention("two_grpo_rs"),
        ),
        Claim(
            "rs_rollout_share", "2-GRPO+RS stays below 16-GRPO's budget of rollouts",
            "v3", "section on resampling", NAN, -INFINITE, 1 - EXACT,
            "below 1", claim_metrics.share("two_grpo_rs", "rollouts_generated"),
        ),
        Claim(
            "rs_time_share", "2-GRPO+RS trains in less than half of 16-GRPO's time",
            "v3", "Table 1", rs.time_share, -INFINITE, 0.5,
            "at most 0.5 (ours)", claim_metrics.share("two_grpo_rs", "seconds_training"),
        ),
        Claim(
            "rs_time_share_cpu", "the same, in seconds of the process's CPU",
            "v3", "ours", NAN, -INFINITE, 0.5,
            "at most 0.5 (ours)", claim_metrics.share("two_grpo_rs", "cpu_seconds_training"),
        ),
        *more_claims(),
        *theory_claims(theory),
    ]  # fmt: skip


def more_claims() -> list[Claim]:
    """The claims beyond the headline: other readings of it, and further statements of the paper."""
    gaps = published.gaps()
    return [
        Claim(
            "retention_avg_v2", "2-GRPO keeps 98.1 % (its tables, DS-1.5B included, give 97.4 %)",
            "v2", "abstract", 0.981, 0.92, INFINITE,
            "at least 0.92 (ours)", claim_metrics.retention("two_grpo"),
        ),
        Claim(
            "retention_by_benchmark", "2-GRPO keeps 16-GRPO's accuracy (mean of the ratios)",
            "v3", "Table 1, recomputed", gaps["mean_of_ratios"], 0.92, INFINITE,
            "at least 0.92 (ours)", claim_metrics.mean_of_ratios("two_grpo"),
        ),
        Claim(
            "on_par", "2-GRPO is on par with 16-GRPO (difference in points)",
            "v1", "abstract", gaps["difference"], -2, 2,
            "within ±2 points (ours)", claim_metrics.difference("two_grpo", level=0.90),
            "TOST at 5 %",
        ),
        Claim(
            "rs_above_16_grpo", "2-GRPO+RS beats 16-GRPO (difference in points)",
            "v3", "Table 1", gaps["rs_difference"], 0, INFINITE,
            "at least 0", claim_metrics.difference("two_grpo_rs"),
        ),
        Claim(
            "rl_lifts", "16-GRPO lifts the start model's average (points)",
            "v3", "Table 1", gaps["lift"], EXACT, INFINITE,
            "above 0", claim_metrics.difference(BASELINE, "base"),
        ),
        Claim(
            "pass_not_hurt", "2-GRPO does not hurt Pass@n (ratio of averages to 16-GRPO)",
            "v3", "Tables 1 and 4", gaps["pass_retention"], 0.98, INFINITE,
            "at least 0.98 (ours)", claim_metrics.retention("two_grpo", passes=True),
        ),
        Claim(
            "ablation_spread", "the group size hardly matters (largest minus smallest, points)",
            "v3", "Table 4", gaps["ablation_spread"], -INFINITE, 2,
            "at most 2 points, the paper's widest cell (ours)", claim_metrics.ablation_spread,
        ),
        Claim(
            "discard_rate_rises",
            "more and more of 2-GRPO's pairs are dead (rise of the smoothed share)",
            "v3", "Table 3", 0.7141 - 0.5284, EXACT, INFINITE,
            "above 0", claim_metrics.discard_rise,
        ),
        Claim(
            "rs_update_share", "2-GRPO+RS's mini-batches have 2-GRPO's size (by construction)",
            "v3", "section on resampling", 1.0, 1 - EXACT, 1 + EXACT,
            "exactly 1",
            claim_metrics.share("two_grpo_rs", "rollouts_kept", "two_grpo"), is_count=True,
        ),
    ]  # fmt: skip


def theory_claims(theory: Path) -> list[Claim]:
    """The claims about gradients, always at toy scale."""
    models = theory_claim_metrics.measured_models(theory) or {"": ""}
    return [
        Claim(
            "gradient_covariance", "positive and negative gradients of a prompt vary together",
            "v3", "Table 2", 0.08705, EXACT, INFINITE,
            f"above 0 (the paper's sign; {AFTER})", theory_claim_metrics.covariance(theory),
            "95 % interval over prompts",
        ),
        *[
            Claim(
                "_".join(filter(None, ["minibatch_drives_variance", model])),
                "at equal rollouts the gradient's relative variance does not depend on G",
                "v3", "Lemma C.3", 1.0, 0.8, 1.25, f"between 0.8 and 1.25 (ours; {AFTER})",
                theory_claim_metrics.relative_variance_ratio(theory, source),
                "95 % interval over prompts",
            )
            for source, model in models.items()
        ],
    ]  # fmt: skip


def judge(claim: Claim, settings: Sequence[Comparison]) -> dict[str, Any]:
    """The claim's row of claims.csv, and under `of` what it was measured on, for the page."""
    measured = claim.measure(settings)
    row: dict[str, Any] = dict.fromkeys(COLUMNS, NAN)
    row |= {"claim": claim.name, "paper_version": claim.version, "published": claim.published}
    if measured is None:
        return row | {"n_seeds": 0, "n_problems": 0, "verdict": "not run", "scale": ""}
    estimate = measured.estimate
    if measured.num_seeds == 1 and claim.is_count:
        estimate = Estimate(estimate.value, estimate.value, estimate.value)
    found = verdict(estimate.low, estimate.high, claim.low, claim.high)
    if measured.num_seeds == 1 and not claim.is_count:
        found = "inconclusive"  # the spread over seeds is unknown
    return row | {
        "measured": estimate.value,
        "ci_low": estimate.low,
        "ci_high": estimate.high,
        "n_seeds": measured.num_seeds,
        "n_problems": measured.num_problems,
        "verdict": found,
        "scale": measured.scale,
        "of": measured.of,
    }


def verdict(ci_low: float, ci_high: float, low: float, high: float) -> str:
    """The verdict on a claim with bounds [low, high] from the interval [ci_low, ci_high].

    >>> verdict(0.93, 0.97, 0.92, math.inf), verdict(0.8, 0.9, 0.92, math.inf)
    ('reproduced', 'not reproduced')
    >>> verdict(0.9, 0.95, 0.92, math.inf)
    'inconclusive'
    """
    if math.isnan(ci_low) or math.isnan(ci_high):
        return "inconclusive"
    if low <= ci_low and ci_high <= high:
        return "reproduced"
    return "not reproduced" if ci_high < low or ci_low > high else "inconclusive"


def build(runs: Runs, *, theory: str = THEORY) -> Exhibit:
    """All claims: claims.csv, and for readers claims.md and a forest plot.

    The paper trains all weights: its claims are measured on runs without adapters, if any.
    """
    settings = comparisons(runs)
    whole = [c for c in settings if not c.has_adapters]
    measured_on = [(claim, whole or settings) for claim in claims(Path(theory))]
    if whole and len(whole) < len(settings):
        adapters = [c for c in settings if c.has_adapters]
        measured_on.insert(1, (_retention_with_adapters(), adapters))
    rows = [judge(claim, of_it) for claim, of_it in measured_on]
    return exhibit("The paper's claims", [claim for claim, _ in measured_on], rows)


def _retention_with_adapters() -> Claim:
    return Claim(
        "retention_avg_lora", "2-GRPO keeps 16-GRPO's accuracy where both train adapters (LoRA)",
        "–", "ours", NAN, 0.92, INFINITE,
        f"at least 0.92 (ours; {AFTER})", claim_metrics.retention("two_grpo"),
    )  # fmt: skip


def exhibit(
    title: str, every: Sequence[Claim], rows: list[dict[str, Any]], note: str = ""
) -> Exhibit:
    """The judged claims as an exhibit; `note` stands in place of the paper's rules."""
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return Exhibit(
        name="claims",
        title=title,
        frame=frame,
        table=_table(rows, every),
        figure=forest([_forest_row(c, row) for c, row in zip(every, rows, strict=True)]),
        note=(note or RULES) + (SCALE_NOTE if "toy" in set(frame["scale"]) else ""),
    )


RULES = (
    "A verdict follows from the interval in brackets alone: inside the bounds of 'borne out by': "
    "reproduced; outside them: not reproduced; astride: inconclusive. One seed alone is "
    "inconclusive, but for counts that the algorithm fixes. Where problems are counted, brackets "
    f"hold {OVER_BOTH}; elsewhere {OVER_SEEDS}; of gradients bootstrap intervals over prompts. The "
    "ablation's spread has Bonferroni's interval over the pairs of arms. TOST: two one-sided tests "
    "of equivalence, so that interval is a 90 % one. Bounds marked 'ours' are not the paper's. "
    f"They were committed before the first results, but for those marked '{AFTER}'. The method of "
    "the intervals changed after the first results, from a bootstrap to these, mostly wider. "
    "The n of Pass@n stands in table_1's column heads; the paper's is 32. "
)
SCALE_NOTE = (
    "Toy scale: evidence about the code, not about the paper. The same commands on the paper's "
    "models give rows with scale = paper."
)


def _forest_row(claim: Claim, row: dict[str, Any]) -> ForestRow:
    given = {name: row[name] for name in ("published", "measured", "ci_low", "ci_high", "verdict")}
    bounds = claim.bounds.split(" (")[0].split(",")[0]  # without its source
    says = f"{claim.says} ({AFTER})" if AFTER in claim.bounds else claim.says
    return ForestRow(claim.name, says, low=claim.low, high=claim.high, bounds=bounds, **given)


def _table(judged: list[dict[str, Any]], every: Sequence[Claim]) -> pd.DataFrame:
    rows = []
    for claim, row in zip(every, judged, strict=True):
        was_run = row["verdict"] != "not run"
        measured = f"{row['measured']:.4g}"
        if not math.isnan(row["ci_low"]):
            measured += f" [{row['ci_low']:.4g}, {row['ci_high']:.4g}]"
        measured += f" ({row['of']})" if row.get("of") else ""
        rows.append(
            {
                "claim": claim.name,
                "verdict": row["verdict"],
                "says": claim.says,
                "paper": f"{claim.version}, {claim.source}",
                "published": "–" if math.isnan(claim.published) else f"{claim.published:.4g}",
                "measured": measured if was_run else "–",
                "borne out by": claim.bounds,
                "test": claim.test,
                "seeds": str(row["n_seeds"] or "–"),
                "problems": str(row["n_problems"] or "–"),
                "scale": row["scale"] or "–",
            }
        )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main(build)
