"""Yours beside ours: your runs against the committed ones of the same experiment.

python -m analysis.committed.compare runs=runs/mine       into runs/mine/report

Each number of Table 1 and each claim is equal to the last digit, inside our interval or outside it.
Numbers of arms that only one side has are not compared; the figure draws them all.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from analysis.committed.records import RESULTS, load_committed
from analysis.exhibits.exhibit import Exhibit, command, records, write
from analysis.exhibits.style import heading, legend, log_axis, look, panels
from analysis.paper import claims, table_1
from analysis.records.frames import Runs
from analysis.records.selection import EVALUATED_BY
from analysis.stats.comparison import Comparison, comparisons
from analysis.stats.curves import WINDOW, curve
from twogrpo.errors import ConfigError
from twogrpo.run_record.arms import in_order

NAME = "yours_beside_ours"
EQUAL, INSIDE, OUTSIDE = "equal", "inside", "outside"
NO_THEORY = "no folder"  # the theory's claims are not about these runs
COLOURS = {EQUAL: "#0072B2", INSIDE: "#009E73", OUTSIDE: "#D55E00"}  # Okabe and Ito's
COLUMNS = ["setting", "of", "number", "ours", "low", "high", "yours", "agreement", "is_time"]
# The figure cuts distances at this many half-widths of our interval.
FARTHEST = 3.0
NOTE = (
    "Each number of Table 1 and each claim of your runs: equal to ours to six digits, inside our "
    "interval, or outside it. Times are those of a machine and its other work: they are listed and "
    "not counted. Your code: {yours}; ours: {ours}."
)


@dataclass(frozen=True)
class Committed:
    """A folder of results, and its runs."""

    folder: Path
    runs: Runs


def same_experiment(runs: Runs) -> Committed | None:
    """The committed runs of the same data, model and evaluation; None where there are none.

    Raises:
        ConfigError: `runs` are of several settings, or a committed record is damaged.
    """
    if len(runs.settings) > 1:
        names = "; ".join(f"{model} on {dataset}" for dataset, model in runs.settings)
        raise ConfigError(f"these runs are of several settings ({names}): give RUNS= one of them")
    for folder in sorted(RESULTS.glob("*/runs")):
        ours = load_committed(folder)
        if _experiments(ours.runs) & _experiments(runs.runs):
            return Committed(folder.parent, ours)
    return None


def _experiments(runs: pd.DataFrame) -> set[str]:
    """The data, the number of prompts, the model and the evaluation of the trained arms."""
    found = set()
    for text in runs[runs["arm"] != "base"]["config"]:
        config = json.loads(text)
        evaluation = {k: v for k, v in config["evaluation"].items() if k in EVALUATED_BY}
        dataset = {k: config["dataset"].get(k) for k in ("name", "num_prompts", "seed")}
        model = [config["model"]["name"], bool(config["model"].get("lora"))]
        found.add(json.dumps([dataset, model, evaluation], sort_keys=True))
    return found


def build(runs: Runs, committed: Committed) -> Exhibit:
    """The comparison as an exhibit."""
    ours = committed.runs
    frame = compared(numbers(ours), numbers(runs))
    codes = {"yours": _codes(runs), "ours": f"{_codes(ours)} ({committed.folder.name})"}
    figure, axes = panels(1, 3, height=3.0)
    left, middle, right = axes.flat
    _draw_agreement(left, frame)
    [their], [our] = comparisons(runs), comparisons(ours)
    _draw_points(middle, our, their)
    _draw_curves(right, our, their)
    legend(figure, axes)
    return Exhibit(NAME, "Yours beside ours", frame, _table(frame), figure, NOTE.format(**codes))


def numbers(runs: Runs) -> pd.DataFrame:
    """Every number of Table 1, and every claim that these runs decide; some have no interval."""
    rows: list[tuple[object, ...]] = []
    table = table_1.build(runs).frame
    names = [name for name in table if f"{name}_low" in table]
    for row in records(table):
        for name in names:
            low, high = row[f"{name}_low"], row[f"{name}_high"]
            rows.append((row["model"], row["label"], name, row[name], low, high))
    for row in records(claims.build(runs, theory=NO_THEORY).frame):
        values = (row["measured"], row["ci_low"], row["ci_high"])
        rows.append((runs.settings[0][1], "claims", row["claim"], *values))
    frame = pd.DataFrame(rows, columns=["setting", "of", "number", "value", "low", "high"])
    return frame.dropna(subset=["value"])


def compared(ours: pd.DataFrame, yours: pd.DataFrame) -> pd.DataFrame:
    """Our numbers that have an interval and yours of the same name, with their agreement."""
    keys = ["setting", "of", "number"]
    both = ours.dropna(subset=["low"]).merge(
        yours[[*keys, "value"]], on=keys, suffixes=("_ours", "_yours")
    )
    both = both.rename(columns={"value_ours": "ours", "value_yours": "yours"})
    both["is_time"] = both["number"].str.contains("seconds|time")
    values = records(both[["ours", "low", "high", "yours"]])
    both["agreement"] = [agreement(**row) for row in values]
    return both[COLUMNS]


def agreement(ours: float, low: float, high: float, yours: float) -> str:
    """Whether your number is equal to ours, inside our interval, or outside it.

    >>> agreement(91.0, 89.1, 92.9, 91.0), agreement(91.0, 89.1, 92.9, 92.0)
    ('equal', 'inside')
    >>> agreement(12.5, 12.5, 12.5, 12.6)
    'outside'
    """
    if f"{ours:.6g}" == f"{yours:.6g}":
        return EQUAL
    return INSIDE if low <= yours <= high else OUTSIDE


def headline(frame: pd.DataFrame) -> str:
    """One line that counts the numbers by their agreement."""
    counted, times = frame[~frame["is_time"]], frame[frame["is_time"]]
    words = {EQUAL: "equal to the digit", INSIDE: "inside our interval", OUTSIDE: "outside it"}
    counts = {key: int((counted["agreement"] == key).sum()) for key in words}
    parts = ", ".join(f"{counts[key]} {text}" for key, text in words.items())
    outside = int((times["agreement"] == OUTSIDE).sum())
    of_times = f"of {len(times)} times {outside} outside"
    return f"yours beside ours: of {len(counted)} numbers {parts}; {of_times}"


def _table(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "of": frame["of"],
            "number": [str(name).replace("_", " ") for name in frame["number"]],
            "ours": [f"{r['ours']:.4g} [{r['low']:.4g}, {r['high']:.4g}]" for r in records(frame)],
            "yours": [f"{value:.4g}" for value in frame["yours"]],
            "agreement": [r["agreement"] + " (time)" * r["is_time"] for r in records(frame)],
        }
    )


def _codes(runs: Runs) -> str:
    frame = runs.runs[["commit", "code"]].fillna("").drop_duplicates()
    return ", ".join(f"commit {str(c)[:10] or '–'}, code {h}" for c, h in frame.to_numpy())


def _draw_agreement(axis: Axes, frame: pd.DataFrame) -> None:
    """A row for each arm: how far each number is from ours, in half-widths of our interval."""
    rows = list(dict.fromkeys(frame["of"]))
    axis.axvspan(-1, 1, color="#e8e8e8", zorder=0)
    for row in records(frame):
        gap = row["yours"] - row["ours"]
        width = row["high"] - row["ours"] if gap > 0 else row["ours"] - row["low"]
        x = 0.0 if row["agreement"] == EQUAL else FARTHEST if not width else gap / abs(width)
        x = max(-FARTHEST, min(FARTHEST, x))
        axis.plot(
            x, rows.index(row["of"]), "o", ms=4, alpha=0.7, color=COLOURS[row["agreement"]],
            fillstyle="none" if row["is_time"] else "full",
        )  # fmt: skip
    for key, colour in COLOURS.items():
        count = int(((frame["agreement"] == key) & ~frame["is_time"]).sum())
        axis.plot([], [], "o", ms=4, color=colour, label=f"{key}: {count}")
    axis.plot([], [], "o", ms=4, color="#555555", fillstyle="none", label="a time")
    axis.set_yticks(range(len(rows)), rows)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(-FARTHEST - 0.3, FARTHEST + 0.3)
    axis.set_xlabel("yours − ours, in half-widths of our interval")
    heading(axis, "Agreement", "grey: inside our interval")


def _draw_points(axis: Axes, ours: Comparison, yours: Comparison) -> None:
    """Accuracy against rollouts: ours filled with its interval, yours in outline."""
    drawn = set[str]()
    for comparison, is_ours in ((ours, True), (yours, False)):
        for key in (key for key in comparison.evaluated if key != "base"):
            spent = comparison.total(key, "rollouts_generated").value
            found = comparison.average(key).interval()
            style = look(key) | {"linestyle": "none", "elinewidth": 1, "capsize": 0}
            style |= {} if is_ours else {"fillstyle": "none", "markersize": 9}
            if key in drawn:
                style |= {"label": None}
            drawn.add(key)
            error = [[found.value - found.low], [found.high - found.value]] if is_ours else None
            axis.errorbar(spent, found.value, yerr=error, **style)
    log_axis(axis, "rollouts generated")
    axis.set_ylabel(f"average Mean@{ours.num_samples} (%)")
    heading(axis, "Accuracy", f"{ours.name}; outline: yours")


def _draw_curves(axis: Axes, ours: Comparison, yours: Comparison) -> None:
    for key in in_order(yours.arms):
        for comparison, is_ours in ((ours, True), (yours, False)):
            line = curve(comparison, key, "reward/mean", "spent/rollouts", WINDOW)
            if key == "base" or line.empty:
                continue
            colour = look(key)["color"]
            axis.plot(line["x"], line["value"], color=colour, ls="-" if is_ours else "--")
            if is_ours:
                low, high = line["low"], line["high"]
                axis.fill_between(line["x"], low, high, color=colour, alpha=0.15, linewidth=0)
    log_axis(axis, "rollouts generated")
    axis.set_ylabel("mean reward")
    heading(axis, "Training", "dashed: yours; bands: ours")


def main(runs: Runs, out: Path) -> None:
    """Writes the comparison and prints its count.

    Raises:
        ConfigError: nothing committed is of the same experiment.
    """
    committed = same_experiment(runs)
    if committed is None:
        raise ConfigError(
            f"results/ has no runs of {' on '.join(reversed(runs.settings[0]))} with these prompts "
            "and this evaluation: compare runs of a committed scale"
        )
    exhibit = build(runs, committed)
    write(exhibit, out)
    sys.stdout.write(f"{headline(exhibit.frame)}\n{out / NAME}.md, .csv, .png\n")


if __name__ == "__main__":
    command(main)
