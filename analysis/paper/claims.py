"""The paper's claims, with the bounds that support each (analysis.exhibits.claim_table)."""

from __future__ import annotations

from pathlib import Path

from analysis.exhibits.claim_table import AFTER, EXACT, INFINITE, NAN, Claim, exhibit, judge
from analysis.exhibits.exhibit import Exhibit, main
from analysis.paper import claim_metrics, theory_claim_metrics
from analysis.records import published
from analysis.records.frames import Runs
from analysis.stats.comparison import BASELINE, comparisons
from analysis.stats.intervals import OVER_BOTH, OVER_SEEDS

THEORY = "results/theory"  # where `python -m analysis.theory` writes

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
            "more and more of 2-GRPO's pairs have no signal (rise of the smoothed share)",
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
                "v3", "Lemma C.3, our reading", NAN, 0.8, 1.25,
                f"between 0.8 and 1.25 (ours; {AFTER})",
                theory_claim_metrics.relative_variance_ratio(theory, source),
                "95 % interval over prompts",
            )
            for source, model in models.items()
        ],
    ]  # fmt: skip


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
    return exhibit("The paper's claims", [claim for claim, _ in measured_on], rows, RULES)


def _retention_with_adapters() -> Claim:
    return Claim(
        "retention_avg_lora", "2-GRPO keeps 16-GRPO's accuracy where both train adapters (LoRA)",
        "–", "ours", NAN, 0.92, INFINITE,
        f"at least 0.92 (ours; {AFTER})", claim_metrics.retention("two_grpo"),
    )  # fmt: skip


if __name__ == "__main__":
    main(build)
