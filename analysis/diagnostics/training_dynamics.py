"""Beyond the paper: what moves in training: length, truncation, entropy, KL, clips, gradients."""

from __future__ import annotations

from analysis.exhibits.curve_figures import Panel, curves_exhibit
from analysis.exhibits.exhibit import Exhibit, main
from analysis.records.arms import MAIN
from analysis.records.frames import Runs

SHOWN = tuple(
    Panel(metric, spoken, unit, "spent/generations")
    for metric, spoken, unit in (
        ("response/tokens_mean", "Response length", "tokens"),
        ("response/truncated_fraction", "Truncated responses", "share of responses"),
        ("policy/entropy", "Entropy", "nats a token"),
        ("policy/kl_from_start", "KL from the start", "nats a token"),
        ("policy/gradient_norm", "Gradient norm", "L2"),
        ("groups/contrastive_share", "Groups with a gradient", "share of groups"),
        ("policy/clip_fraction_low", "Clipped low", "share of tokens"),
        ("policy/clip_fraction_high", "Clipped high", "share of tokens"),
    )
)


def build(runs: Runs) -> Exhibit:
    """Eight panels a setting, over generations."""
    title = "What moves during training"
    return curves_exhibit(runs, "dynamics", title, arms=MAIN, shown=SHOWN, num_columns=4)


if __name__ == "__main__":
    main(build)
