"""summary.md: the results on one page, for a reader with two minutes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from analysis.exhibits.exhibit import command, markdown, plain_markdown
from analysis.paper import claims, table_1
from analysis.records import published
from analysis.records.frames import Runs
from analysis.stats.comparison import BASELINE, Comparison, comparisons
from analysis.stats.intervals import OVER_BOTH, OVER_SEEDS

EMBEDDED = ("chain_arithmetic", "digit_arithmetic")
TOY_SCALE = (
    "Toy scale: evidence about the code, not about the paper.",
    "These models are many times smaller than the paper's; agreement says that the "
    "algorithms do what they should, and a disagreement is no disproof.",
)
EXPECTED = "Point estimates against our own bars (the verdicts on the claims go by intervals)"
READING = (
    "Mean@n is the mean accuracy of n samples a problem, averaged over the benchmarks; retained is "
    f"its ratio to 16-GRPO's. In brackets: {OVER_BOTH}; of time {OVER_SEEDS}. "
    "In parentheses: what the paper published. Time is training without any evaluation. Every "
    "number is in a CSV file beside this page."
)


def build(runs: Runs, *, theory: str = claims.THEORY) -> str:
    """The page, as Markdown."""
    settings = comparisons(runs)
    parts = [
        f"# {plain_markdown(title(settings))}",
        f"> **{TOY_SCALE[0]}** {TOY_SCALE[1]}" if is_toy(settings) else "",
        *[f"**{plain_markdown(headline(comparison))}**" for comparison in settings],
        markdown(arms_table(runs)),
        *[_expectations(comparison) for comparison in settings],
        "## The paper's claims here (`claims.md`)",
        listed(f"**{verdict}**: {names}" for verdict, names in verdicts(runs, theory).items()),
        f"## How to read it\n\n{READING}",
        f"## Where it comes from\n\n{listed(provenance(runs))}",
    ]
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


def title(settings: Sequence[Comparison]) -> str:
    """The title of the page."""
    return f"Results: {'; '.join(comparison.name for comparison in settings)}"


def is_toy(settings: Sequence[Comparison]) -> bool:
    """Whether any setting is not one of the paper's."""
    return any(comparison.scale == "toy" for comparison in settings)


def headline(comparison: Comparison) -> str:
    """One sentence that compares 2-GRPO with 16-GRPO, and the published numbers."""
    if not {"two_grpo", BASELINE} <= set(comparison.evaluated):
        return f"{comparison.name}: without both 2-GRPO and 16-GRPO there is no headline."
    retained = comparison.retention("two_grpo")
    rollouts = comparison.share("two_grpo", "rollouts_generated")
    seconds = comparison.share("two_grpo", "seconds_training")
    there = published.headline("two_grpo")
    return (
        f"2-GRPO kept {retained.value:.1%} [{retained.low:.1%}, {retained.high:.1%}] of 16-GRPO's "
        f"average Mean@{comparison.num_samples} with {rollouts.value:.1%} of its rollouts and "
        f"{seconds.value:.1%} of its training time ({comparison.name}, "
        f"{comparison.counts(['two_grpo', BASELINE])}). "
        f"Published: {there.retention:.1%}, 12.5%, {there.time_share:.1%}."
    )


def arms_table(runs: Runs) -> pd.DataFrame:
    """Table 1 without the single benchmarks."""
    table = table_1.build(runs).table
    assert table is not None
    wanted = ("setting", "arm", "average", "Δ", "retained", "time", "rollouts")
    return table[[name for name in table if str(name).startswith(wanted)]]


def expectations(comparison: Comparison) -> list[tuple[bool, str]]:
    """The expectations of an embedded experiment and whether they hold; none for others."""
    needed = {"base", BASELINE, "two_grpo", "two_grpo_rs"}
    if comparison.setting[0] not in EMBEDDED or not needed <= set(comparison.evaluated):
        return []
    first = comparison.benchmarks[0]
    start, trained = (comparison.by_benchmark(arm)[first].value for arm in ("base", BASELINE))
    lift = trained - start
    rollouts = comparison.share("two_grpo", "rollouts_generated").value
    retained = comparison.retention("two_grpo").value
    seconds = comparison.share("two_grpo", "seconds_training").value
    rs_rollouts = comparison.share("two_grpo_rs", "rollouts_generated").value
    gap = comparison.difference(BASELINE, baseline="two_grpo").value
    gained = comparison.difference("two_grpo_rs", baseline="two_grpo").value
    regained = f"+RS gains over half of the gap: {gained:.1f} points where it is {gap:.1f}"
    return [
        (lift >= 25, f"16-GRPO gains 25 points or more on {first}: {lift:+.1f}"),
        (retained >= 0.92, f"2-GRPO keeps 92 % or more: {retained:.1%}"),
        (rollouts == 0.125, f"with exactly 12.5 % of the rollouts: {rollouts:.4%}"),
        (seconds <= 0.15, f"and at most 15 % of the training time: {seconds:.1%}"),
        *([(gained > gap / 2, regained)] if gap > 0 else []),
        (rs_rollouts <= 1, f"+RS stays within 16-GRPO's budget of rollouts: {rs_rollouts:.1%}"),
    ]


def verdicts(runs: Runs, theory: str) -> dict[str, str]:
    """The names of the claims by verdict."""
    frame = claims.build(runs, theory=theory).frame
    return {
        str(verdict): ", ".join(f"`{name}`" for name in rows["claim"])
        for verdict, rows in frame.groupby("verdict", sort=False)
    }


def provenance(runs: Runs) -> list[str]:
    """Commits, code, machines, versions, dates and excluded runs."""
    frame = runs.runs.drop_duplicates("run_id")
    pairs = set(zip(frame["commit"].fillna(""), frame["commit_is_dirty"], strict=True))
    commits = [
        f"{commit[:10] or 'no git'}{' + uncommitted changes' if is_dirty else ''}"
        for commit, is_dirty in sorted(pairs)
    ]
    machines = [json.loads(text) or {} for text in sorted(frame["hardware"].unique())]
    versions = [json.loads(text) or {} for text in sorted(frame["versions"].unique())]
    dates = sorted(str(started)[:10] for started in frame["started"])
    gone = zip(runs.excluded["where"], runs.excluded["reason"], strict=True)
    return [
        f"{len(frame)} runs, started {dates[0]} to {dates[-1]}",
        f"commit {', '.join(commits)}; code {', '.join(sorted(map(str, frame['code'].unique())))}",
        *[f"machine: {_listed_values(machine)}" for machine in machines],
        *[f"versions: {_listed_values(version)}" for version in versions],
        *[f"left out: {where} ({reason})" for where, reason in gone],
        "made by: make figures (of your runs: make figures RUNS=FOLDER)",
    ]


def listed(items: Iterable[str]) -> str:
    """A Markdown list, one line for each item."""
    return "\n".join(f"- {plain_markdown(item)}" for item in items)


def _expectations(comparison: Comparison) -> str:
    found = expectations(comparison)
    lines = [f"{'yes' if holds else '**no**'}: {text}" for holds, text in found]
    return f"## {EXPECTED}\n\n{listed(lines)}" if found else ""


def _listed_values(values: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def write(runs: Runs, out: Path, *, theory: str = claims.THEORY) -> None:
    """Writes `out/summary.md`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.md").write_text(build(runs, theory=theory), encoding="utf-8")


if __name__ == "__main__":
    command(write)
