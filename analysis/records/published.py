"""The paper's published numbers (arXiv 2510.00977), typed from its tables: `published/*.csv`.

Names are those of conf/, so that a cell of ours finds its cell of the paper's. Percent and hours.
`version` is the version of the paper that the row was read from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parent / "published"
BENCHMARKS = {
    "math500": "MATH-500",
    "amc23": "AMC 2023",
    "minerva": "Minerva",
    "aime25": "AIME 2025",
    "olympiad": "Olympiad",
}
PAPERS_OWN = ("math", "qwen25_math_1_5b")  # the cell of its Figure 1
# 7.5k prompts × 10 epochs × G, in millions (v3's abstract and Table 1).
ROLLOUTS_MILLION = {"grpo_g16": 1.2, "two_grpo": 0.15}
# 7,500 × 10 / 512: the steps of a run, of which Table 3 shows five.
NUM_GENERATIONS = 146


@lru_cache
def table(number: int) -> pd.DataFrame:
    """Table 1, 2, 3 or 4 as printed; not to be changed in place."""
    return pd.read_csv(FOLDER / f"table_{number}.csv")


def main_settings() -> pd.DataFrame:
    """The four settings of Table 1 in v3: two models on two training sets, four arms each."""
    printed = table(1)
    return printed[printed["version"] == "v3"]


def is_paper_setting(setting: tuple[str, str]) -> bool:
    """Whether Table 1 has this (dataset, model)."""
    return not rows(1, setting).empty


def nearest(setting: tuple[str, str]) -> tuple[str, str]:
    """The setting itself, or for one that is not in the paper the paper's own."""
    return setting if is_paper_setting(setting) else PAPERS_OWN


def rows(number: int, setting: tuple[str, str], arm: str | None = None) -> pd.DataFrame:
    """The rows of a table for a (dataset, model), or for one arm of it."""
    found = table(number)
    chosen = (found["dataset"] == setting[0]) & (found["model"] == setting[1])
    return found[chosen] if arm is None else found[chosen & (found["arm"] == arm)]


def benchmark_name(key: str) -> str:
    """The name of a benchmark in tables and figures.

    >>> benchmark_name("math500"), benchmark_name("big_digits")
    ('MATH-500', 'big digits')
    """
    return BENCHMARKS.get(key, key.replace("_", " "))


def version(setting: tuple[str, str]) -> str:
    """The version of the paper that Table 1's rows of the setting were read from."""
    return str(rows(1, setting)["version"].iloc[0])


@dataclass(frozen=True)
class Headline:
    """An arm relative to 16-GRPO, over the four settings of Table 1 (v3); shares of 1."""

    retention: float  # ratio of the means of the settings' averages
    time_share: float  # ratio of the summed hours


def headline(arm: str) -> Headline:
    """The headline of `two_grpo` or `two_grpo_rs`.

    >>> round(headline("two_grpo").retention, 4), round(headline("two_grpo").time_share, 4)
    (0.9763, 0.2096)
    """
    cells = main_settings()
    ours, baseline = cells[cells["arm"] == arm], cells[cells["arm"] == "grpo_g16"]
    return Headline(
        retention=float(ours["average_mean32"].mean() / baseline["average_mean32"].mean()),
        time_share=float(ours["hours"].sum() / baseline["hours"].sum()),
    )


def scores(setting: tuple[str, str], arm: str, metric: str = "mean32") -> dict[str, float]:
    """Published percent by benchmark (and `average` where printed); empty if the paper has none.

    Tables 1 and 4 hold different arms; where both have one, Table 1 counts.
    """
    for number in (1, 4):
        chosen = rows(number, setting, arm)
        if len(chosen):
            row = chosen.iloc[0]
            names = [*BENCHMARKS, "average"]
            values = {name: row.get(f"{name}_{metric}") for name in names}
            return {name: float(v) for name, v in values.items() if v is not None and pd.notna(v)}
    return {}


def hours(setting: tuple[str, str], arm: str) -> float | None:
    """Table 1's training time, if it has one."""
    chosen = rows(1, setting, arm)["hours"].dropna()
    return float(chosen.iloc[0]) if len(chosen) else None


def gaps() -> dict[str, float]:
    """Further numbers on 2-GRPO and 16-GRPO, recomputed from the paper's tables (v3).

    mean_of_ratios: of the twenty cells (benchmark × setting) of Table 1, 2-GRPO / 16-GRPO.
    difference, rs_difference, lift: points of the mean average, to 16-GRPO and of it to base.
    pass_retention: ratio of means of Table 4's Pass@32 averages.
    ablation_spread: mean over settings of the largest minus the smallest average, equal prompts.
    """
    by_arm = {
        arm: of_it.set_index(["dataset", "model"]) for arm, of_it in main_settings().groupby("arm")
    }
    average = {arm: of_it["average_mean32"].mean() for arm, of_it in by_arm.items()}
    cells = [f"{name}_mean32" for name in BENCHMARKS]
    ablation = table(4)
    passes = ablation.groupby("arm")["average_pass32"].mean()
    equal_prompts = ablation[ablation["arm"].str.startswith("grpo_g")]
    spread = equal_prompts.groupby(["dataset", "model"])["average_mean32"].agg(["max", "min"])
    ratios = by_arm["two_grpo"][cells] / by_arm["grpo_g16"][cells]
    return {
        "mean_of_ratios": float(ratios.to_numpy().mean()),
        "difference": float(average["two_grpo"] - average["grpo_g16"]),
        "rs_difference": float(average["two_grpo_rs"] - average["grpo_g16"]),
        "lift": float(average["grpo_g16"] - average["base"]),
        "pass_retention": float(passes["two_grpo"] / passes["grpo_g16"]),
        "ablation_spread": float((spread["max"] - spread["min"]).mean()),
    }
