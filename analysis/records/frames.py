"""Loads runs from a source into tidy data frames; refuses to mix runs that do not compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.records.readers import Record, read
from analysis.records.selection import select, text
from twogrpo.errors import ConfigError
from twogrpo.run_record.arms import arm_key, in_order
from twogrpo.run_record.rows import (
    CLOCKS,
    benchmark_results,
    column_sums,
    training_rows,
    training_seconds,
)

WHO = ["run_id", "dataset", "model", "arm", "group_size", "seed"]
COUNTERS = ("generated", "kept", "discarded", "trained_on")


@dataclass(frozen=True, eq=False)
class Runs:
    """Finished runs as frames; every frame names its run by `WHO`.

    runs: a row a run: provenance, config, totals (rollouts, tokens, seconds, `seconds/<phase>`).
    steps: a row a step of the loop, `step` from 0; columns are the logged metrics.
    evaluations: a row a problem: benchmark, problem_id, num_correct of num_samples.
    benchmarks: a row a benchmark: mean, tokens_mean, truncated_fraction, seconds of the evaluation.
    pairs: a row a pair of `pairs.jsonl`, as it was written.
    excluded: runs that are not in the frames, and why.
    """

    runs: pd.DataFrame
    steps: pd.DataFrame
    evaluations: pd.DataFrame
    benchmarks: pd.DataFrame
    pairs: pd.DataFrame
    excluded: pd.DataFrame

    @property
    def settings(self) -> list[tuple[str, str]]:
        """The (dataset, model) pairs, each of which is a comparison of its own."""
        pairs = self.runs[["dataset", "model"]].drop_duplicates()
        return sorted(map(tuple, pairs.to_numpy().tolist()))

    def arms(self, setting: tuple[str, str]) -> list[str]:
        """The arms of a setting in the paper's order."""
        return in_order(rows_of(self.runs, setting)["arm"])


def rows_of(frame: pd.DataFrame, setting: tuple[str, str], arm: str | None = None) -> pd.DataFrame:
    """The rows of a setting, or of one arm of it."""
    chosen = (frame["dataset"] == setting[0]) & (frame["model"] == setting[1])
    return frame[chosen] if arm is None else frame[chosen & (frame["arm"] == arm)]


def load(source: str, *, allow_mixed: bool = False) -> Runs:
    """The finished runs of a source (see `analysis.records.readers`).

    Raises:
        ConfigError: no run is finished; runs of other code, data or evaluation settings are
            mixed and `allow_mixed` is false; an arm and seed has two different configs.
    """
    return frames(read(source), source, allow_mixed=allow_mixed)


def frames(records: list[Record], source: str, *, allow_mixed: bool) -> Runs:
    """The finished ones of the records of a source; raises ConfigError as `load`."""
    finished, excluded = select(records, allow_mixed=allow_mixed)
    if not finished:
        reasons = "; ".join(f"{run}: {reason}" for run, _, reason in excluded)
        raise ConfigError(f"runs={source} has no finished run ({reasons}): let one finish")
    return Runs(
        runs=_frame([_run_row(record) for record in finished]),
        steps=_frame([row for record in finished for row in _step_rows(record)]),
        evaluations=_frame([row for record in finished for row in _problem_rows(record)]),
        benchmarks=_frame([row for record in finished for row in _benchmark_rows(record)]),
        pairs=_frame([_who(record) | pair for record in finished for pair in record.pairs]),
        excluded=pd.DataFrame(excluded, columns=["run_id", "where", "reason"]),
    )


def _who(record: Record) -> dict[str, Any]:
    config = record.about["config"]
    return {
        "run_id": record.run_id,
        "dataset": record.dataset,
        "model": record.model,
        "arm": arm_key(config),
        "group_size": int((config.get("algorithm") or {}).get("group_size") or 0),
        "seed": int(config.get("seed", 0)),
    }


def _run_row(record: Record) -> dict[str, Any]:
    about, config = record.about, record.about["config"]
    training = config.get("training") or {}
    scale = (config.get("algorithm") or {}).get("minibatch_scale", 1)
    lr_scale = (config.get("algorithm") or {}).get("learning_rate_scale", 1)
    lr_scale *= (config["model"].get("lora") or {}).get("learning_rate_scale", 1)
    provenance = {key: about.get(key) for key in ("commit", "code", "identity", "started")}
    return {
        **_who(record),
        **provenance,
        "commit_is_dirty": bool(about.get("commit_is_dirty")),
        "hardware": text(about.get("hardware")),
        "versions": text(about.get("versions")),
        "config": text(config),
        "num_samples": int(config["evaluation"]["num_samples"]),
        "updates_per_step": float(
            training.get("prompts_per_step", 0)
            // max(training.get("prompts_per_minibatch", 0) * scale, 1)
        ),
        "prompts_per_minibatch": float(training.get("prompts_per_minibatch", 0) * scale),
        "learning_rate": float(training.get("learning_rate", 0) * lr_scale),
        **_totals(record),
    }


def _totals(record: Record) -> dict[str, float]:
    """Sums over the run; a column for the seconds of each phase."""
    rows = _rows(record)
    steps = training_rows(rows)
    last = steps[-1] if steps else {}
    tokens, phases = column_sums(rows, "tokens"), column_sums(rows, "seconds")
    counters = {f"rollouts_{name}": float(last.get(f"rollouts/{name}", 0)) for name in COUNTERS}
    spent = counters["rollouts_kept"] + counters["rollouts_discarded"]
    totals = counters | {
        "rollouts_surplus": counters["rollouts_generated"] - spent,
        "num_steps": float(len(steps)),
        "tokens_generated": tokens.get("tokens/generated", 0.0),
        "tokens_trained_on": tokens.get("tokens/trained_on", 0.0),
        "seconds_validation": phases.get("seconds/validate", 0.0),
        "seconds_evaluation": sum(row["seconds"] for row in _benchmark_rows(record)),
    }
    for clock in CLOCKS:
        totals[f"{clock}_training"] = training_seconds(rows, clock)
    return totals | phases


def _rows(record: Record) -> list[dict[str, Any]]:
    return [record.rows[step] for step in sorted(record.rows)]


def _step_rows(record: Record) -> list[dict[str, Any]]:
    return [
        {**_who(record), "step": row["step"]}
        | {
            name: float(value)
            for name, value in row.items()
            if isinstance(value, int | float) and name != "step"
        }
        for row in training_rows(_rows(record))
    ]


def _problem_rows(record: Record) -> list[dict[str, Any]]:
    return [
        {
            **_who(record),
            "benchmark": benchmark,
            "problem_id": str(problem_id),
            "num_correct": int(num_correct),
            "num_samples": int(values["num_samples"]),
        }
        for benchmark, values in sorted(benchmark_results(_rows(record)).items())
        for problem_id, num_correct in zip(
            values["problem_ids"], values["num_correct"], strict=True
        )
    ]


def _benchmark_rows(record: Record) -> list[dict[str, Any]]:
    return [
        {**_who(record), "benchmark": benchmark}
        | {name: float(value) for name, value in values.items() if not isinstance(value, list)}
        for benchmark, values in sorted(benchmark_results(_rows(record)).items())
    ]


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    if frame.empty:
        frame = pd.DataFrame(columns=[*WHO, "step", "benchmark"])
    ours = [name for name in (*WHO, "step", "benchmark") if name in frame]
    return frame[ours + [name for name in sorted(frame.columns) if name not in ours]]
