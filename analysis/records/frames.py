"""From a source of runs to tidy frames; refuses to mix what cannot be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.records.arms import arm_key, in_order
from analysis.records.readers import Record, read
from analysis.records.selection import select, text

WHO = ["run_id", "dataset", "model", "arm", "group_size", "seed"]
COUNTERS = ("generated", "kept", "discarded", "trained_on")


@dataclass(frozen=True, eq=False)
class Runs:
    """Finished runs as frames; every frame names its run by `WHO`.

    runs: a row a run: provenance, config, totals (rollouts, tokens, seconds).
    steps: a row a generation, `step` from 0; columns are the logged metrics.
    evaluations: a row a problem: benchmark, problem_id, num_correct of num_samples.
    benchmarks: a row a benchmark: mean, tokens_mean, truncated_fraction, seconds of the evaluation.
    left_out: runs that are not in the frames, and why.
    """

    runs: pd.DataFrame
    steps: pd.DataFrame
    evaluations: pd.DataFrame
    benchmarks: pd.DataFrame
    left_out: pd.DataFrame

    @property
    def settings(self) -> list[tuple[str, str]]:
        """The (dataset, model) pairs, each of which is a comparison of its own."""
        pairs = self.runs[["dataset", "model"]].drop_duplicates()
        return sorted(map(tuple, pairs.to_numpy().tolist()))

    def arms(self, setting: tuple[str, str]) -> list[str]:
        """The arms of a setting in the paper's order."""
        return in_order(at(self.runs, setting)["arm"])


def at(frame: pd.DataFrame, setting: tuple[str, str], arm: str | None = None) -> pd.DataFrame:
    """The rows of a setting, and of an arm of it."""
    chosen = (frame["dataset"] == setting[0]) & (frame["model"] == setting[1])
    return frame[chosen] if arm is None else frame[chosen & (frame["arm"] == arm)]


def load(source: str, *, allow_mixed: bool = False) -> Runs:
    """The finished runs of a source (see `analysis.records.readers`).

    Raises:
        ValueError: no run is finished; runs of other code, data or evaluation settings stand
            side by side and `allow_mixed` is false; an arm and seed has two different configs.
    """
    finished, left_out = select(read(source), allow_mixed=allow_mixed)
    if not finished:
        reasons = "; ".join(f"{run}: {reason}" for run, _, reason in left_out)
        raise ValueError(f"runs={source} has no finished run ({reasons}): let one finish")
    return Runs(
        runs=_frame([_run_row(record) for record in finished]),
        steps=_frame([row for record in finished for row in _step_rows(record)]),
        evaluations=_frame([row for record in finished for row in _problem_rows(record)]),
        benchmarks=_frame([row for record in finished for row in _benchmark_rows(record)]),
        left_out=pd.DataFrame(left_out, columns=["run_id", "where", "reason"]),
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
    """Sums over the run. Training seconds are all phases but validation (as in its own summary)."""
    steps = [record.rows[step] for step in sorted(record.rows) if _is_step(record.rows[step])]
    last = steps[-1] if steps else {}
    counters = {f"rollouts_{name}": float(last.get(f"rollouts/{name}", 0)) for name in COUNTERS}
    spent = counters["rollouts_kept"] + counters["rollouts_discarded"]
    totals = counters | {
        "rollouts_surplus": counters["rollouts_generated"] - spent,
        "num_steps": float(len(steps)),
        "tokens_generated": _total(steps, "tokens/generated"),
        "tokens_trained_on": _total(steps, "tokens/trained_on"),
        "seconds_validation": _total(steps, "seconds/validate"),
        "seconds_evaluation": sum(row["seconds"] for row in _benchmark_rows(record)),
    }
    for clock in ("seconds", "cpu_seconds"):
        names = {n for row in steps for n in row if n.startswith(f"{clock}/")}
        names -= {f"{clock}/validate"}
        totals[f"{clock}_training"] = sum(_total(steps, name) for name in sorted(names))
    return totals


def _total(rows: list[dict[str, Any]], name: str) -> float:
    return float(sum(row.get(name, 0.0) for row in rows))


def _is_step(row: dict[str, Any]) -> bool:
    return "rollouts/generated" in row


def _step_rows(record: Record) -> list[dict[str, Any]]:
    return [
        {**_who(record), "step": step}
        | {
            name: float(value)
            for name, value in record.rows[step].items()
            if isinstance(value, int | float) and name != "step"
        }
        for step in sorted(record.rows)
        if _is_step(record.rows[step])
    ]


def _benchmark_values(record: Record) -> dict[str, dict[str, Any]]:
    values: dict[str, dict[str, Any]] = {}
    for step in sorted(record.rows):
        for name, value in record.rows[step].items():
            if name.startswith("evaluation/") and name.count("/") == 2:
                _, benchmark, key = name.split("/")
                values.setdefault(benchmark, {})[key] = value
    return values


def _problem_rows(record: Record) -> list[dict[str, Any]]:
    return [
        {
            **_who(record),
            "benchmark": benchmark,
            "problem_id": str(problem_id),
            "num_correct": int(num_correct),
            "num_samples": int(values["num_samples"]),
        }
        for benchmark, values in sorted(_benchmark_values(record).items())
        for problem_id, num_correct in zip(
            values["problem_ids"], values["num_correct"], strict=True
        )
    ]


def _benchmark_rows(record: Record) -> list[dict[str, Any]]:
    return [
        {**_who(record), "benchmark": benchmark}
        | {name: float(value) for name, value in values.items() if not isinstance(value, list)}
        for benchmark, values in sorted(_benchmark_values(record).items())
    ]


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    if frame.empty:
        frame = pd.DataFrame(columns=[*WHO, "step", "benchmark"])
    ours = [name for name in (*WHO, "step", "benchmark") if name in frame]
    return frame[ours + [name for name in sorted(frame.columns) if name not in ours]]
