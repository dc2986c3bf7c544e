"""summary.md: what the runs showed, for a person with two minutes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis import claims, published, table_1
from analysis.comparison import BASELINE, Comparison, comparisons
from analysis.exhibit import command, markdown
from analysis.runs import Runs

EMBEDDED = "chain_arithmetic"


def build(runs: Runs) -> str:
    """The page, as Markdown."""
    settings = list(comparisons(runs))
    parts = [
        f"# Results: {'; '.join(c.name for c in settings)}",
        _scale(settings),
        *[_headline(comparison) for comparison in settings],
        markdown(_arms(runs)),
        *[_expectations(c) for c in settings if c.setting[0] == EMBEDDED],
        _verdicts(claims.build(runs).frame),
        READING,
        provenance(runs),
    ]
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


READING = """## How to read it

Mean@n is the mean accuracy of n samples a problem, averaged over the benchmarks; retained is its
ratio to 16-GRPO's. In brackets: 95 % paired bootstrap over seeds and problems (few seeds make it
somewhat too narrow). In parentheses: what the paper published. Time is training without any
evaluation. Every number is in a CSV file beside this page: `claims.csv`, `table_1.csv`, …"""


def _scale(settings: Sequence[Comparison]) -> str:
    if all(comparison.scale == "paper" for comparison in settings):
        return ""
    return (
        "> **Toy scale: evidence about the code, not about the paper.** These models are thousands "
        "of times smaller than the paper's; agreement says that the algorithms do what they "
        "should, and a disagreement is no disproof."
    )


def _headline(comparison: Comparison) -> str:
    if not {"two_grpo", BASELINE} <= set(comparison.evaluated):
        return f"{comparison.name}: 2-GRPO and 16-GRPO are not both there, so there is no headline."
    retained = comparison.retention("two_grpo")
    rollouts = comparison.share("two_grpo", "rollouts_generated")
    seconds = comparison.share("two_grpo", "seconds_training")
    there = published.headline("two_grpo")
    return (
        f"**2-GRPO kept {retained.value:.1%} [{retained.low:.1%}, {retained.high:.1%}] of "
        f"16-GRPO's average Mean@{comparison.num_samples} with {rollouts.value:.1%} of its "
        f"rollouts and {seconds.value:.1%} of its training time** "
        f"({comparison.name}, {comparison.counts(['two_grpo', BASELINE])}). "
        f"Published: {there.retention:.1%}, 12.5%, {there.time_share:.1%}."
    )


def _arms(runs: Runs) -> pd.DataFrame:
    table = table_1.build(runs).table
    assert table is not None
    wanted = ("setting", "arm", "average", "Δ", "retained", "time", "rollouts")
    return table[[name for name in table if str(name).startswith(wanted)]]


def _expectations(comparison: Comparison) -> str:
    """What the embedded experiment should show, and whether it did."""
    if not {"base", BASELINE, "two_grpo", "two_grpo_rs"} <= set(comparison.evaluated):
        return ""
    first = comparison.benchmarks[0]
    lift = comparison.by_benchmark(BASELINE)[first][0] - comparison.by_benchmark("base")[first][0]
    rollouts = comparison.share("two_grpo", "rollouts_generated").value
    retained = comparison.retention("two_grpo").value
    seconds = comparison.share("two_grpo", "seconds_training").value
    rs_rollouts = comparison.share("two_grpo_rs", "rollouts_generated").value
    gap = comparison.difference(BASELINE, baseline="two_grpo").value
    closed = (
        comparison.difference("two_grpo_rs", baseline="two_grpo").value / gap if gap > 0 else 1.0
    )
    found = [
        (lift >= 25, f"16-GRPO gains 25 points or more on {first}: {lift:+.1f}"),
        (retained >= 0.92, f"2-GRPO keeps 92 % or more: {retained:.1%}"),
        (rollouts == 0.125, f"with exactly 12.5 % of the rollouts: {rollouts:.4%}"),
        (seconds <= 0.15, f"and at most 15 % of the training time: {seconds:.1%}"),
        (closed > 0.5, f"+RS closes most of the gap to 16-GRPO: {closed:.0%} of {gap:.1f} points"),
        (rs_rollouts <= 1, f"within 16-GRPO's budget of rollouts: {rs_rollouts:.1%}"),
    ]
    lines = [f"- {'yes' if holds else '**no**'}: {text}" for holds, text in found]
    return "## What this experiment should show, and whether it did\n\n" + "\n".join(lines)


def _verdicts(frame: pd.DataFrame) -> str:
    groups = [
        f"- **{verdict}**: {', '.join(f'`{name}`' for name in rows['claim'])}"
        for verdict, rows in frame.groupby("verdict", sort=False)
    ]
    return "## The paper's claims here (`claims.md`)\n\n" + "\n".join(groups)


def provenance(runs: Runs) -> str:
    """Commits, code, machines, versions, dates and what was left out."""
    frame = runs.runs.drop_duplicates("run_id")
    pairs = set(zip(frame["commit"].fillna(""), frame["commit_is_dirty"], strict=True))
    commits = [
        f"{commit[:10] or 'no git'}{' + uncommitted changes' if is_dirty else ''}"
        for commit, is_dirty in sorted(pairs)
    ]
    machines = [json.loads(text) or {} for text in sorted(frame["hardware"].unique())]
    versions = [json.loads(text) or {} for text in sorted(frame["versions"].unique())]
    dates = sorted(str(started)[:10] for started in frame["started"])
    lines = [
        f"- {len(frame)} runs, started {dates[0]} to {dates[-1]}",
        f"- commit {', '.join(commits)}; code {', '.join(map(str, frame['code'].unique()))}",
        *[f"- machine: {_listed(machine)}" for machine in machines],
        *[f"- versions: {_listed(version)}" for version in versions],
        *[
            f"- left out: {_plain(r.where)} ({_plain(r.reason)})"
            for r in runs.left_out.itertuples()
        ],
    ]
    return "## Where it comes from\n\n" + "\n".join(lines)


def _listed(values: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def _plain(text: object) -> str:
    return " ".join(str(text).replace("<", "&lt;").split())


def write(runs: Runs, out: Path) -> None:
    """`out/summary.md`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.md").write_text(build(runs))


if __name__ == "__main__":
    command(write)
