"""Claims as rows: published, measured, interval, verdict.

A claim states the bounds that support it. The verdict follows from the measured interval alone:
inside → reproduced, outside → not reproduced, across a bound → inconclusive, no runs → not run. One
seed alone stays inconclusive, unless the claim is about a count that no seed can change. Bounds
marked "ours" are not in the paper; a claim that was committed after its result says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.exhibits.exhibit import Exhibit
from analysis.exhibits.forest import ForestRow, forest
from analysis.stats.comparison import Comparison
from analysis.stats.intervals import Estimate

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
EXACT = 1e-9  # rounding allowed to a count, and what makes a bound strict
AFTER = "set after the result"


@dataclass(frozen=True)
class Measured:
    """The number measured for a claim, with the counts behind it."""

    estimate: Estimate
    num_seeds: int
    num_problems: int
    scale: str
    of: str = ""  # what it was measured on, where the runs do not say it


Measure = Callable[[Sequence[Comparison]], Measured | None]


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


def exhibit(title: str, every: Sequence[Claim], rows: list[dict[str, Any]], note: str) -> Exhibit:
    """The judged claims as an exhibit; `note` says how a verdict is reached."""
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return Exhibit(
        name="claims",
        title=title,
        frame=frame,
        table=_table(rows, every),
        figure=forest([_forest_row(c, row) for c, row in zip(every, rows, strict=True)]),
        note=note + (SCALE_NOTE if "toy" in set(frame["scale"]) else ""),
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
