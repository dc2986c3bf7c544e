"""Which runs are compared: the finished ones, once each, of one code, data set, training and
evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from analysis.records.arms import arm_key
from analysis.records.readers import Record

# What makes two evaluations comparable.
SAMPLING = ("problems_per_benchmark", "num_samples", "temperature", "top_p", "top_k", "seed")
# Of `training`, what says how a run is saved (twogrpo/config/schema.py, NOT_IDENTIFYING).
SAVING = ("checkpoint", "preemption")
LeftOut = list[tuple[str, str, str]]  # run_id, where, reason


def select(records: list[Record], *, allow_mixed: bool) -> tuple[list[Record], LeftOut]:
    """The runs to compare, and the others with the reason.

    An evaluation of a trained checkpoint completes the run that trained it, if that has none; one
    of a start model is the arm `base` of every data set that this model was trained on.

    Raises:
        ValueError: runs of other code, data, training or evaluation settings, or seeds of an arm
            with other algorithms, stand side by side and `allow_mixed` is false; or an arm and seed
            has two different configs.
    """
    records, left_out = _finished_once(records)
    if not allow_mixed:
        _refuse_mixed(records)
    training = [record for record in records if not is_evaluation(record)]
    evaluations = [record for record in records if is_evaluation(record)]
    for record in evaluations:
        if arm_key(record.about["config"]) == "base":
            training += _base_of_each_dataset(record, records)
        else:
            left_out += _complete(record, training)
    _refuse_two_configs(training)
    return sorted(training, key=lambda r: (r.run_id, r.dataset)), sorted(left_out)


def is_evaluation(record: Record) -> bool:
    """Whether the run trained nothing."""
    return "training" not in record.about["config"] or arm_key(record.about["config"]) == "base"


def text(value: Any) -> str:
    """As sorted JSON, 1.0 as 1: a server may send either for the same number."""
    return json.dumps(_whole(value), sort_keys=True)


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _finished_once(records: list[Record]) -> tuple[list[Record], LeftOut]:
    latest: dict[str, Record] = {}
    left_out: LeftOut = []
    for record in sorted(records, key=lambda r: (str(r.about.get("started", "")), r.where)):
        if record.fault:
            left_out.append((record.run_id, record.where, f"unreadable: {record.fault}"))
        elif record.status != "finished":
            reason = f"{record.status or 'unfinished'} after {len(record.rows)} rows"
            left_out.append((record.run_id, record.where, reason))
        else:
            key = f"{record.about.get('identity')} {record.about.get('code')}"
            if key in latest:
                older = latest[key]
                reason = f"duplicate: {record.where} is the same run, started later"
                left_out.append((older.run_id, older.where, reason))
            latest[key] = record
    return list(latest.values()), left_out


def _base_of_each_dataset(record: Record, records: list[Record]) -> list[Record]:
    evaluation = record.about["config"]["evaluation"]["name"]
    datasets = {
        other.dataset
        for other in records
        if not is_evaluation(other)
        and other.model == record.model
        and other.about["config"]["evaluation"]["name"] == evaluation
    }
    config = record.about["config"]
    return [
        replace(record, about={**record.about, "config": {**config, "dataset": {"name": name}}})
        for name in sorted(datasets or {record.dataset})
    ]


def _complete(record: Record, training: list[Record]) -> LeftOut:
    """Gives the evaluation to the run that trained the checkpoint; else says why not."""
    config = record.about["config"]
    for run in training:
        if identity(run) != identity(record):
            continue
        steps = sum("rollouts/generated" in row for row in run.rows.values())
        if config.get("step") != steps:
            reason = f"evaluates generation {config.get('step')} of {run.where}, not its last"
        elif any(name.startswith("evaluation/") for row in run.rows.values() for name in row):
            reason = f"evaluates {run.where}, which has an evaluation of its own"
        else:
            run.rows[steps] = max(record.rows.items())[1] | {"step": steps}
            return []
        return [(record.run_id, record.where, reason)]
    return [(record.run_id, record.where, "evaluates a checkpoint whose training is not here")]


def identity(record: Record) -> tuple[Any, ...]:
    """Dataset, model, arm and seed: what may be there only once."""
    config = record.about["config"]
    return record.dataset, record.model, arm_key(config), int(config.get("seed", 0))


def _refuse_mixed(records: list[Record]) -> None:
    # The code's hash, not the commit: an edited README between two runs changes no number.
    _same("code", ((r.about.get("code") or r.about.get("commit"), r) for r in records))
    trained = [record for record in records if not is_evaluation(record)]
    for name in sorted({record.dataset for record in trained}):
        configs = ((r.about["config"], r) for r in trained if r.dataset == name)
        _same(f"dataset {name}", ((text(config["dataset"]), r) for config, r in configs))
    _refuse_mixed_training(trained)
    for name in sorted({r.about["config"]["evaluation"]["name"] for r in records}):
        evaluations = ((r.about["config"]["evaluation"], r) for r in records)
        _same(
            f"evaluation {name}",
            (
                (text({k: e.get(k) for k in SAMPLING}), r)
                for e, r in evaluations
                if e["name"] == name
            ),
        )


def _refuse_mixed_training(trained: list[Record]) -> None:
    """Arms of a data set and model share `training`; the seeds of an arm, its algorithm too."""
    for setting in sorted({(r.dataset, r.model) for r in trained}):
        of_it = [r for r in trained if (r.dataset, r.model) == setting]
        name = f"{setting[0]} with {setting[1]}"
        _same(f"training on {name}", ((text(_trained_how(r)), r) for r in of_it))
        for arm in sorted({arm_key(r.about["config"]) for r in of_it}):
            seeds = ((r.about["config"], r) for r in of_it)
            algorithms = ((text(c["algorithm"]), r) for c, r in seeds if arm_key(c) == arm)
            _same(f"algorithm {arm} on {name}", algorithms)


def _trained_how(record: Record) -> dict[str, Any]:
    training = record.about["config"]["training"]
    return {key: value for key, value in training.items() if not key.startswith(SAVING)}


def _same(what: str, values: Iterable[tuple[Any, Record]]) -> None:
    seen: dict[str, str] = {}
    for value, record in values:
        seen.setdefault(str(value), record.where)
    if len(seen) > 1:
        examples = "; ".join(f"{where}: {value}" for value, where in list(seen.items())[:2])
        raise ValueError(
            f"runs differ in their {what} ({examples}): keep them in folders apart, "
            "or compare them all the same with allow_mixed=true"
        )


def _refuse_two_configs(records: list[Record]) -> None:
    seen: dict[tuple[Any, ...], Record] = {}
    for record in records:
        other = seen.setdefault(identity(record), record)
        if other is not record:
            _, _, arm, seed = identity(record)
            raise ValueError(
                f"{other.where} and {record.where} are two runs of arm={arm} seed={seed} "
                "(other config or code): keep them in folders apart"
            )
