"""Beyond the paper: length, truncation, entropy, KL, clipping and gradients during training."""

from __future__ import annotations

from analysis.exhibits.curve_figures import Panel, curves_exhibit
from analysis.exhibits.exhibit import Exhibit, main
from analysis.records.frames import Runs

SHOWN = tuple(
    Panel(metric, label, unit, "spent/generations")
    for metric, label, unit in (
        ("response/tokens_mean", "Response length", "tokens"),
        ("response/truncated_fraction", "Truncated responses", "share of responses"),
        ("policy/entropy", "Entropy", "nats a token"),
        ("policy/kl_from_start", "KL from the start", "nats a token"),
        ("policy/gradient_norm", "Gradient norm", "L2"),
        ("groups/contrastive_share", "Groups with a gradient", "share of groups"),
        ("policy/clip_fraction_low", "Clipped low", "share of tokens, A ≠ 0"),
        ("policy/clip_fraction_high", "Clipped high", "share of tokens, A ≠ 0"),
    )
)


def build(runs: Runs) -> Exhibit:
    """Eight panels for each setting, over the steps."""
    title = "What moves during training"
    return curves_exhibit(runs, "dynamics", title, shown=SHOWN, num_columns=4)


if __name__ == "__main__":
    main(build)
