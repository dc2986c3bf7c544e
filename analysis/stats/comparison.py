"""The comparison of a setting's arms: the numbers that exhibits share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache

from analysis.records import published
from analysis.records.frames import Runs, rows_of
from analysis.records.readers import ADAPTERS
from analysis.stats.intervals import Estimate, Scores, Statistic, of_seeds, scores
from twogrpo.errors import ConfigError
from twogrpo.run_record.arms import ABLATION, arm_label, in_order

BASELINE = "grpo_g16"


class Comparison:
    """The arms of one (dataset, model).

    Raises:
        ConfigError: arms were evaluated on different benchmarks, so that no average compares.
    """

    def __init__(self, runs: Runs, setting: tuple[str, str]) -> None:
        self.setting = setting
        self.runs = rows_of(runs.runs, setting)
        self.steps = rows_of(runs.steps, setting)
        self.evaluations = rows_of(runs.evaluations, setting)
        self.timings = rows_of(runs.benchmarks, setting)
        self.arms = in_order(self.runs["arm"])
        self.evaluated = in_order(self.evaluations["arm"])
        self._scores: dict[tuple[str, int | None], Scores] = {}
        sets = {a: sorted(set(rows["benchmark"])) for a, rows in self.evaluations.groupby("arm")}
        for arm, names in sets.items():
            if names != (first := next(iter(sets.values()))):
                raise ConfigError(
                    f"arm {next(iter(sets))} was evaluated on {', '.join(first)}, arm {arm} on "
                    f"{', '.join(names)}: evaluate both on the same, or keep them in folders apart"
                )

    @property
    def compared_arms(self) -> list[str]:
        """The arms beside 16-GRPO: all but the ablation's, or all if there are no others."""
        return [arm for arm in self.arms if arm == BASELINE or arm not in ABLATION] or self.arms

    @property
    def evaluated_arms(self) -> list[str]:
        """Those of the compared arms that have an evaluation."""
        return [arm for arm in self.compared_arms if arm in self.evaluated]

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
        """The ratio of the arm's mean over seeds to the baseline's."""
        return (self.total(arm, column) / self.total(baseline, column)).interval()

    def retention(self, arm: str) -> Estimate:
        """The ratio of the means of the benchmarks' averages to 16-GRPO's; 1 is 100 %."""
        return (self.average(arm) / self.average(BASELINE)).interval()

    def difference(self, arm: str, baseline: str = BASELINE, *, level: float = 0.95) -> Estimate:
        """The difference of the average Mean@n to the baseline's, in points."""
        return (self.average(arm) - self.average(baseline)).interval(level)

    def counts(self, arms: list[str]) -> str:
        """`n = 3 seeds, 500 problems` of the arms, for a caption; `1–3 seeds` where they differ."""
        problems = {self.num_problems(arm) for arm in arms if arm in self.evaluated}
        counted = f", {_range(problems)} problems" if problems else ""
        return self.count_seeds(arms) + counted

    def count_seeds(self, arms: Iterable[str]) -> str:
        """`n = 3 seeds` of the arms, `1–3` where they differ. An untrained model has none."""
        trained = [arm for arm in arms if arm != "base"] or ["base"]
        seeds = {len(self.seeds(arm)) for arm in trained}
        return f"n = {_range(seeds)} seed{'s' * (seeds != {1})}"

    def not_run(self, arms: Iterable[str]) -> list[str]:
        """`["not run: 4-GRPO; 8-GRPO"]`, for a heading; empty where all of these were trained."""
        absent = [arm_label(key) for key in arms if key not in (*self.arms, "base")]
        return [f"not run: {'; '.join(absent)}"] if absent else []


def _range(counts: set[int]) -> str:
    least, most = min(counts), max(counts)
    return str(least) if least == most else f"{least}–{most}"


@lru_cache(maxsize=8)
def comparisons(runs: Runs) -> tuple[Comparison, ...]:
    """A comparison for each setting."""
    return tuple(Comparison(runs, setting) for setting in runs.settings)
