"""The evaluation card: every number with its interval and its full provenance.

It is made from a run's folder alone (`run.json`, the row of results, the samples), so it can be
regenerated. Text is escaped, because names come from data sets and models.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twogrpo.core.bootstrap import bootstrap_interval
from twogrpo.core.estimators import mean_at_k, pass_at_k, powers_of_two
from twogrpo.run_record.files import read_rows, read_run_file, write_atomically
from twogrpo.run_record.rows import benchmark_results

SEED = 0  # for the bootstrap
SAMPLING = (
    *("num_samples", "temperature", "top_p", "top_k"),
    *("max_prompt_tokens", "max_response_tokens"),
)
HEALTH = ("tokens_mean", "truncated_fraction", "verifier_timeouts", "verifier_unparsed", "seconds")


@dataclass(frozen=True)
class Point:
    """One metric of one benchmark on one subset of its problems."""

    benchmark: str
    problems: str  # all | without_contaminated
    metric: str  # mean@n or pass@k
    value: float
    low: float
    high: float
    num_problems: int


def write_card(folder: Path, contaminated: Mapping[str, list[str]] | None = None) -> None:
    """Writes `evaluation/card.json`, `card.md` and `curve.csv` into a run's folder.

    `contaminated` lists, by benchmark, the problems in the training set; None means unknown.
    """
    run = read_run_file(folder)
    results = benchmark_results(read_rows(folder))
    points = list[Point]()
    for benchmark, result in results.items():
        points += curve(benchmark, result, (contaminated or {}).get(benchmark, []))
    counts = (run.get("prompts") or {}).get("benchmarks", {})  # older runs did not count
    card = {
        "about": about(run),
        "benchmarks": {
            name: {"num_problems_dropped": counts.get(name, {}).get("dropped"), **health(result)}
            for name, result in results.items()
        },
        "contaminated": contaminated if contaminated is not None else "not known",
        "points": [asdict(point) for point in points],
    }
    target = folder / "evaluation"
    target.mkdir(exist_ok=True)
    write_atomically(target / "card.json", json.dumps(card, indent=1) + "\n")
    write_atomically(target / "card.md", markdown(card, points))
    with (target / "curve.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(Point.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(map(asdict, points))


def curve(benchmark: str, result: Mapping[str, Any], contaminated: list[str]) -> list[Point]:
    """Mean@n and Pass@k for k = 1, 2, 4, … n, each with a 95 % interval over problems.

    If problems are contaminated, once with and once without them.
    """
    num_samples = result["num_samples"]
    ks = powers_of_two(num_samples)
    values_PK = np.array(
        [
            [mean_at_k(count, num_samples), *(pass_at_k(count, num_samples, k) for k in ks)]
            for count in result["num_correct"]
        ]
    )
    metrics = [f"mean@{num_samples}", *(f"pass@{k}" for k in ks)]
    is_clean = np.array([i not in contaminated for i in result["problem_ids"]])
    subsets = {"all": values_PK}
    if is_clean.any() and not is_clean.all():
        subsets["without_contaminated"] = values_PK[is_clean]
    points = []
    for name, subset in subsets.items():
        intervals = bootstrap_interval(subset, np.random.default_rng(SEED))
        for metric, value, (low, high) in zip(metrics, subset.mean(axis=0), intervals, strict=True):
            points.append(Point(benchmark, name, metric, float(value), low, high, len(subset)))
    return points


def about(run: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance of the numbers, from the run record."""
    config = run["config"]
    evaluation = config["evaluation"]
    engine, versions = config["rollout"]["engine"], run["versions"]
    sources = {
        name: evaluation["folder"] or evaluation["hub"].get(name, {}).get("revision") or "generated"
        for name in evaluation["benchmarks"]
    }
    return {
        "checkpoint": config.get("checkpoint", f"end of {config['run_name']}"),
        "weights_sha256": config.get("weights_sha256", "see the run"),
        "trained_by": f"{config['algorithm']['name']}, G = {config['algorithm']['group_size']}",
        "engine": f"{engine} {versions.get(engine) or versions.get(f'{engine}-cpu') or ''}".strip(),
        "dtype": config["hardware"].get("sampler_dtype", config["hardware"]["dtype"]),
        "template": config["model"]["prompt_template"],
        "end_tokens": run.get("end_tokens") or "not known",  # of an older run
        "sampling": {key: evaluation[key] for key in SAMPLING},
        "seed": evaluation["seed"],
        "reward": config["reward"]["name"],
        "data": sources,
        "commit": run["commit"],
        "commit_is_dirty": run["commit_is_dirty"],
        "versions": run["versions"],
        "hardware": run["hardware"],
        "started": run["started"],
    }


def health(result: Mapping[str, Any]) -> dict[str, Any]:
    """Statistics of sampling and grading other than accuracy."""
    num_problems = len(result["problem_ids"])
    return {
        "num_problems": num_problems,
        "num_samples": result["num_samples"] * num_problems,
        **{key: result[key] for key in HEALTH},
    }


def markdown(card: Mapping[str, Any], points: list[Point]) -> str:
    """The card as Markdown."""
    lines = ["# Evaluation card", "", "| | |", "|---|---|"]
    for key, value in card["about"].items():
        text = value if isinstance(value, str) else json.dumps(value)
        lines.append(f"| {key} | {_cell(text)} |")
    lines += ["", "| benchmark | problems | metric | value | 95 % interval |", "|---" * 5 + "|"]
    for point in points:
        lines.append(
            f"| {_cell(point.benchmark)} | {point.problems} ({point.num_problems}) "
            f"| {point.metric} | {point.value:.1%} | {point.low:.1%} – {point.high:.1%} |"
        )
    lines += [
        "",
        "| benchmark | problems dropped | tokens per response | truncated | verifier time-outs "
        "| unparsed | seconds |",
        "|---" * 7 + "|",
    ]
    for name, row in card["benchmarks"].items():
        num_dropped = row["num_problems_dropped"]
        lines.append(
            f"| {_cell(name)} | {'not known' if num_dropped is None else num_dropped} "
            f"| {row['tokens_mean']:.0f} | {row['truncated_fraction']:.1%} "
            f"| {row['verifier_timeouts']} | {row['verifier_unparsed']} | {row['seconds']:.0f} |"
        )
    lines += ["", "Intervals: percentile bootstrap over problems; other seeds may move more.", ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Escapes text for a Markdown table: no new column, line, tag or terminal escape."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
