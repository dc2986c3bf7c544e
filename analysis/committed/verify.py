"""Checks the committed results: they follow from their records, and fresh runs meet the records.

python -m analysis.committed.verify runs=runs/verify theory=runs/verify/theory/report

1. Every committed table is built again from its records and must be the same to the byte; the
   pages of `PAGES` must have the rows of their summaries.
2. Each fresh run below `runs` must have the accuracies of the committed run of its name: equal to
   the digit with the same torch on a CPU of the same family. Elsewhere rounding makes another run:
   its average must be inside the 95 % prediction interval for one more seed. Times do not count.
3. The CSV files of the theory: the same bytes, elsewhere each number inside its own interval.
"""

from __future__ import annotations

import math
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import all as every_exhibit
from analysis.committed.records import CODE_FILE, RESULTS, load_committed
from analysis.exhibits.exhibit import arguments, guard
from analysis.stats.intervals import t_quantile
from analysis.studies import __main__ as studies
from twogrpo.errors import ConfigError
from twogrpo.run_record.files import read_json, read_rows, read_run_file, run_folders
from twogrpo.run_record.provenance import ROOT
from twogrpo.run_record.rows import benchmark_results

# The page that has the table of a result.
PAGES = {"cpu": "README.md", "smollm2": "docs/reproduction.md"}


def tables(result: Path) -> Iterator[str]:
    """The committed tables of a scale that its records do not give."""
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / result.name
        every_exhibit.main(load_committed(result / "runs"), built, pages=False)
        for file in sorted([*result.glob("*.csv"), *result.glob("*.md")]):
            fresh = built / file.name
            if file.name == "report.md":  # a page, and not in git
                continue
            if not fresh.exists() or fresh.read_bytes() != file.read_bytes():
                yield f"results/{result.name}/{file.name} is not what its records give"
        if result.name not in PAGES:
            return
        page = (ROOT / PAGES[result.name]).read_text(encoding="utf-8")
        for line in (built / "summary.md").read_text(encoding="utf-8").splitlines():
            if line.startswith("|") and line not in page:
                yield f"{PAGES[result.name]} lacks this line of {result.name}/summary.md: {line}"


def study_tables() -> Iterator[str]:
    """The committed tables of the studies, and of all their claims, that no record gives."""
    committed = RESULTS / "studies"
    with tempfile.TemporaryDirectory() as folder:
        studies.draw_committed(Path(folder), pages=False)
        for file in sorted([*committed.rglob("*.csv"), *committed.rglob("*.md")]):
            name = file.relative_to(committed)
            fresh = Path(folder) / name
            if not fresh.exists() or fresh.read_bytes() != file.read_bytes():
                yield f"results/studies/{name} is not what its records give"


def runs(fresh: Path, committed: Path) -> Iterator[str]:
    """The accuracies of a fresh run that do not meet the committed run of the same name."""
    if not committed.exists():
        raise ConfigError(f"{committed} is not there: verify runs of a committed name")
    ours, found = _accuracies(committed), _accuracies(fresh)
    if is_same_machine(read_run_file(fresh), read_run_file(committed)):
        for name in (name for name in ours if ours[name] != found.get(name)):
            yield f"{fresh.name} {name}: {found.get(name)} %, committed {ours[name]} %"
        return
    arm = re.sub(r"\d+$", "", committed.name)
    seeds = [_accuracies(folder) for folder in sorted(committed.parent.glob(f"{arm}[0-9]*"))]
    low, high = prediction([seed["average"] for seed in seeds])
    if not low <= found.get("average", float("nan")) <= high:
        yield f"{fresh.name} average: {found.get('average')} %, expected {low:.2f} to {high:.2f}"


def prediction(values: list[float]) -> tuple[float, float]:
    """The 95 % prediction interval for one more seed, from the committed ones (normal spread).

    >>> low, high = prediction([84.0, 86.0, 88.0])
    >>> round(low, 2), round(high, 2)
    (76.06, 95.94)

    Raises:
        ConfigError: a single seed has no spread.
    """
    if len(values) < 2:
        raise ConfigError(f"{len(values)} committed seed: the interval needs two or more")
    middle, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    width = t_quantile(0.975, len(values) - 1) * spread * math.sqrt(1 + 1 / len(values))
    return middle - width, middle + width


def theory(fresh: Path, committed: Path) -> Iterator[str]:
    """The numbers of the theory that a fresh measurement does not meet."""
    same = is_same_machine(read_json(fresh / CODE_FILE), read_json(committed / CODE_FILE))
    for file in sorted(fresh.glob("*.csv")):
        if same:
            if file.read_bytes() != (committed / file.name).read_bytes():
                yield f"results/theory/{file.name} is not what `make theory` gives"
            continue
        ours, found = pd.read_csv(committed / file.name), pd.read_csv(file)
        if len(ours) != len(found):
            yield f"results/theory/{file.name}: {len(found)} rows, committed {len(ours)}"
            continue
        for low in (name for name in ours if name == "low" or name.endswith("_low")):
            value, high = low.removesuffix("low").rstrip("_") or "value", low[:-3] + "high"
            if value not in ours:
                continue
            # Only where the interval is that column's own: some belong to a ratio of two rows.
            is_own = ours[value].between(ours[low], ours[high])
            if not (found[value].between(ours[low], ours[high]) | ~is_own).all():
                yield f"results/theory/{file.name}: {value} is outside its interval"


def is_same_machine(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two runs had the same torch and a CPU of the same family, so that bits are equal."""

    def machine(about: dict[str, Any]) -> tuple[str, list[str]]:
        versions, hardware = about.get("versions") or {}, about.get("hardware") or {}
        return str(versions.get("torch")), str(hardware.get("cpu")).split()[:2]

    return machine(one) == machine(other)


def _accuracies(folder: Path) -> dict[str, float]:
    """The mean of every benchmark and their average, in percent; empty without an evaluation."""
    means = {
        name: 100 * float(np.mean(values["num_correct"])) / values["num_samples"]
        for name, values in benchmark_results(read_rows(folder)).items()
    }
    return means and means | {"average": float(np.mean(list(means.values())))}


def main(argv: list[str]) -> int:
    """Prints a line for each check; returns 1 if one failed."""
    given = arguments(argv, runs="", theory="")
    checks = {f"tables of {f.parent.name}": tables(f.parent) for f in RESULTS.glob("*/runs")}
    checks["tables of the studies"] = study_tables()
    for folder in run_folders(Path(given["runs"])) if given["runs"] else []:
        committed = RESULTS / "cpu" / "runs" / folder.name
        if "theory" not in folder.parts:
            checks[f"fresh {folder.name}"] = runs(folder, committed)
    if given["theory"]:
        checks["theory"] = theory(Path(given["theory"]), RESULTS / "theory")
    found = {what: list(problems) for what, problems in checks.items()}
    for what, problems in found.items():
        sys.stdout.write(f"{'FAIL' if problems else 'ok':4}  {what}\n")
        sys.stdout.writelines(f"      {problem}\n" for problem in problems)
    return int(any(found.values()))


if __name__ == "__main__":
    with guard():
        sys.exit(main(sys.argv[1:]))
