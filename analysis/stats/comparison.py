"""The comparison of a setting's arms: the numbers that exhibits share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache

from analysis.records import published
from analysis.records.frames import Runs, rows_of
from analysis.records.readers import ADAPTERS
from analysis.stats.intervals import Estimate, Scores, Statistic, of_seeds, scores
from twogrpo.run_record.arms import MAIN, arm_label, in_order

BASELINE = "grpo_g16"


class Comparison:
    """The arms of one (dataset, model)."""

    def __init__(self, runs: Runs, setting: tuple[str, str]) -> None:
        self.setting = setting
        self.runs = rows_of(runs.runs, setting)
        self.steps = rows_of(runs.steps, setting)
        self.evaluations = rows_of(runs.evaluations, setting)
        self.timings = rows_of(runs.benchmarks, setting)
        self.arms = in_order(self.runs["arm"])
        self.evaluated = in_order(self.evaluations["arm"])
        self._scores: dict[tuple[str, int | None], Scores] = {}

    @property
    def main_arms(self) -> list[str]:
        """The evaluated arms of the paper's comparison, or all evaluated arms if there are none."""
        return [arm for arm in self.evaluated if arm in MAIN] or self.evaluated

    @property
    def name(self) -> str:
        """The setting in a title: model on data set."""
        return f"{self.setting[1]} on {self.setting[0]}"

    @property
    def scale(self) -> str:
        """`paper` for a cell of the paper's Table 1, else `toy`: evidence about the code only."""
        return "paper" if published.is_paper_setting(self.setting) else "toy"

    @property
    def has_adapters(self) -> bool:
        """Whether adapters were trained beside frozen weights (LoRA)."""
        return self.setting[1].endswith(ADAPTERS)

    @property
    def benchmarks(self) -> list[str]:
        """The evaluated benchmarks in the order of the configuration."""
        order = [
            b for text in self.runs["config"] for b in json.loads(text)["evaluation"]["benchmarks"]
        ]
        found = set(self.evaluations["benchmark"])
        return [name for name in dict.fromkeys(order) if name in found]

    @property
    def num_samples(self) -> int:
        """The n of Mean@n and Pass@n."""
        return int(self.evaluations["num_samples"].min())

    def seeds(self, arm: str) -> list[int]:
        """The seeds of the arm's runs."""
        return sorted(self.runs[self.runs["arm"] == arm]["seed"].tolist())

    def num_problems(self, arm: str) -> int:
        """The number of problems of all benchmarks together."""
        return self.scores(arm).num_problems

    def scores(self, arm: str, k: int | None = None) -> Scores:
        """The arm's scores by benchmark, seed and problem: Mean@n, or Pass@k."""
        if (arm, k) not in self._scores:
            rows = self.evaluations[self.evaluations["arm"] == arm]
            self._scores[arm, k] = scores(rows, k, (self.setting, arm))
        return self._scores[arm, k]

    def average(self, arm: str, k: int | None = None) -> Statistic:
        """The unweighted mean over benchmarks, in percent."""
        return self.scores(arm, k).average()

    def by_benchmark(self, arm: str, k: int | None = None) -> dict[str, Statistic]:
        """Each benchmark's mean in percent."""
        return self.scores(arm, k).benchmark_means()

    def total(self, arm: str, column: str) -> Statistic:
        """The mean over seeds of a column of the runs frame."""
        return self.over_seeds(arm, self.runs[self.runs["arm"] == arm][column])

    def over_seeds(self, arm: str, values: Iterable[float]) -> Statistic:
        """The mean of one number a seed of the arm."""
        return of_seeds((self.setting, arm), values)

    def share(self, arm: str, column: str, baseline: str = BASELINE) -> Estimate:
        """The ratio of the arm's mean to the baseline's; of their sums, if equally many seeds."""
        return (self.total(arm, column) / self.total(baseline, column)).interval()

    def retention(self, arm: str, k: int | None = None, baseline: str = BASELINE) -> Estimate:
        """The ratio of the means of the benchmarks' averages; 1 is 100 %."""
        return (self.average(arm, k) / self.average(baseline, k)).interval()

    def difference(self, arm: str, k: int | None = None, baseline: str = BASELINE) -> Estimate:
        """The difference of the average to the baseline's, in points."""
        return (self.average(arm, k) - self.average(baseline, k)).interval()

    def counts(self, arms: list[str]) -> str:
        """`n = 3 seeds, 500 problems` of the arms, for a caption; a range where they differ."""
        problems = sorted({self.num_problems(arm) for arm in arms if arm in self.evaluated})
        counted = f", {'–'.join(map(str, problems))} problems" if problems else ""
        return self.count_seeds(arms) + counted

    def count_seeds(self, arms: Iterable[str]) -> str:
        """`n = 3 seeds` of the arms; a range where they differ. An untrained model has none."""
        trained = [arm for arm in arms if arm != "base"] or ["base"]
        seeds = sorted({len(self.seeds(arm)) for arm in trained})
        return f"n = {'–'.join(map(str, seeds))} seed{'s' * (seeds != [1])}"

    def not_run(self, arms: Iterable[str]) -> list[str]:
        """`["not run: 4-GRPO; 8-GRPO"]`, for a heading; empty where all of these were trained."""
        absent = [arm_label(key) for key in arms if key not in (*self.arms, "base")]
        return [f"not run: {'; '.join(absent)}"] if absent else []


@lru_cache(maxsize=8)
def comparisons(runs: Runs) -> tuple[Comparison, ...]:
    """A comparison for each setting."""
    return tuple(Comparison(runs, setting) for setting in runs.settings)
