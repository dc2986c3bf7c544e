"""Selects the runs to compare: finished ones of the same code, data, training and evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from analysis.records.readers import Record
from twogrpo.errors import ConfigError
from twogrpo.run_record.arms import arm_key, training_identity
from twogrpo.run_record.rows import benchmark_results, training_rows

# Evaluations are comparable if they agree in these.
EVALUATED_BY = (
    *("benchmarks", "problems_per_benchmark", "num_samples"),
    *("temperature", "top_p", "top_k", "seed"),
)
LENGTH = ("training.epochs", "training.rollouts")
Excluded = list[tuple[str, str, str]]  # run_id, where, reason


def select(records: list[Record], *, allow_mixed: bool) -> tuple[list[Record], Excluded]:
    """The runs to compare, and the excluded ones with the reason.

    An evaluation of a trained checkpoint completes the run that trained it, if that has none; one
    of an initial model is the arm `base` of every data set that this model was trained on, with
    adapters or without.

    Raises:
        ConfigError: runs of other code, data, training or evaluation settings, or seeds of an arm
            with other algorithms, are mixed and `allow_mixed` is false; or an arm and seed
            has two different configs.
    """
    records, excluded = _finished_once(records)
    if not allow_mixed:
        _refuse_mixed(records)
    training = [record for record in records if not is_evaluation(record)]
    evaluations = [record for record in records if is_evaluation(record)]
    for record in evaluations:
        if arm_key(record.about["config"]) == "base":
            training += _base_of_each_setting(record, records)
        else:
            excluded += _complete(record, training)
    _refuse_two_configs(training)
    return sorted(training, key=lambda r: (r.run_id, r.dataset)), sorted(excluded)


def is_evaluation(record: Record) -> bool:
    """Whether the run trained nothing."""
    return "training" not in record.about["config"] or arm_key(record.about["config"]) == "base"


def text(value: Any) -> str:
    """The value as sorted JSON, with 1 for 1.0: a server may send either for the same number."""
    return json.dumps(_with_integers(value), sort_keys=True)


def _with_integers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_integers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_integers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _finished_once(records: list[Record]) -> tuple[list[Record], Excluded]:
    latest: dict[str, Record] = {}
    excluded: Excluded = []
    for record in sorted(records, key=lambda r: (str(r.about.get("started", "")), r.where)):
        if record.fault:
            excluded.append((record.run_id, record.where, f"unreadable: {record.fault}"))
        elif record.status != "finished":
            reason = f"{record.status or 'unfinished'} after {len(record.rows)} rows"
            excluded.append((record.run_id, record.where, reason))
        else:
            key = f"{record.about.get('identity')} {record.about.get('code')}"
            if key in latest:
                older = latest[key]
                reason = f"duplicate: {record.where} is the same run, started later"
                excluded.append((older.run_id, older.where, reason))
            latest[key] = record
    return list(latest.values()), excluded


def _base_of_each_setting(record: Record, records: list[Record]) -> list[Record]:
    config = record.about["config"]
    model, evaluation = config["model"], config["evaluation"]["name"]
    settings = {
        (other.dataset, other.model): other.about["config"]["model"].get("lora")
        for other in records
        if not is_evaluation(other)
        and other.about["config"]["model"]["name"] == model["name"]
        and other.about["config"]["evaluation"]["name"] == evaluation
    } or {(record.dataset, record.model): None}
    bases = []
    for (dataset, _), lora in sorted(settings.items()):
        adapters = {"model": {**model, "lora": lora}} if lora else {}
        of_it = {**config, "dataset": {"name": dataset}, **adapters}
        bases.append(replace(record, about={**record.about, "config": of_it}))
    return bases


def _complete(record: Record, training: list[Record]) -> Excluded:
    """Adds the evaluation to the run that trained the checkpoint, or returns why it cannot."""
    config = record.about["config"]
    for run in training:
        if identity(run) != identity(record):
            continue
        steps = len(training_rows(run.rows.values()))
        if config.get("step") != steps:
            reason = f"evaluates generation {config.get('step')} of {run.where}, not its last"
        elif benchmark_results(run.rows.values()):
            reason = f"evaluates {run.where}, which has an evaluation of its own"
        else:
            final = run.rows.get(steps, {})  # its seconds after the last step
            run.rows[steps] = final | max(record.rows.items())[1] | {"step": steps}
            return []
        return [(record.run_id, record.where, reason)]
    return [(record.run_id, record.where, "evaluates a checkpoint whose training is not here")]


def identity(record: Record) -> tuple[Any, ...]:
    """Data set, model, arm and seed, which only one run may have."""
    config = record.about["config"]
    return record.dataset, record.model, arm_key(config), int(config.get("seed", 0))


def _refuse_mixed(records: list[Record]) -> None:
    # The code's hash, not the commit: an edited README between two runs changes no number.
    _same("code", ((r.about.get("code") or r.about.get("commit"), r) for r in records))
    for name, of_it in _by_setting(records).items():
        trainings = [(training_identity(r.about["config"]), r) for r in of_it]
        _same(f"training on {name}", ((text(_without_length(t)), r) for t, r in trainings))
        arms = [(t, r) for t, r in trainings if not r.about["config"].get("cell")]
        _same(f"training on {name}", ((text(t), r) for t, r in arms))
    refuse_mixed_seeds(records)


def refuse_mixed_seeds(records: list[Record]) -> None:
    """Refuses other data or evaluations in a setting, and other training among an arm's seeds.

    Arms may differ in their training, as the cells of a study do.

    Raises:
        ConfigError: records differ in these.
    """
    evaluations = [(r.about["config"]["evaluation"], r) for r in records]
    for name in sorted({e["name"] for e, _ in evaluations}):
        _same(f"evaluation {name}", (_sampling(e, r) for e, r in evaluations if e["name"] == name))
    for name, of_it in _by_setting(records).items():
        configs = [(r.about["config"], r) for r in of_it]
        _same(f"evaluation on {name}", ((c["evaluation"]["name"], r) for c, r in configs))
        for arm in sorted({arm_key(config) for config, _ in configs}):
            seeds = [(c, r) for c, r in configs if arm_key(c) == arm]
            _same(f"algorithm {arm} on {name}", ((text(c["algorithm"]), r) for c, r in seeds))
            lengths = ((text(training_identity(c)), r) for c, r in seeds)
            _same(f"training {arm} on {name}", lengths)
    trained = [record for record in records if not is_evaluation(record)]
    for name in sorted({record.dataset for record in trained}):
        configs = [(r.about["config"], r) for r in trained if r.dataset == name]
        _same(f"dataset {name}", ((text(config["dataset"]), r) for config, r in configs))


def _by_setting(records: list[Record]) -> dict[str, list[Record]]:
    """The training runs by the name of their setting."""
    found: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda r: (r.dataset, r.model)):
        if not is_evaluation(record):
            found.setdefault(f"{record.dataset} with {record.model}", []).append(record)
    return found


def _sampling(evaluation: dict[str, Any], record: Record) -> tuple[str, Record]:
    return text({key: evaluation.get(key) for key in EVALUATED_BY}), record


def _without_length(training: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in training.items() if key not in LENGTH}


def _same(what: str, values: Iterable[tuple[Any, Record]]) -> None:
    seen: dict[str, str] = {}
    for value, record in values:
        seen.setdefault(str(value), record.where)
    if len(seen) > 1:
        examples = "; ".join(f"{where}: {value}" for value, where in list(seen.items())[:2])
        raise ConfigError(
            f"runs differ in their {what} ({examples}): keep them in folders apart, "
            "or compare them all the same with allow_mixed=true"
        )


def _refuse_two_configs(records: list[Record]) -> None:
    seen: dict[tuple[Any, ...], Record] = {}
    for record in records:
        other = seen.setdefault(identity(record), record)
        if other is not record:
            _, _, arm, seed = identity(record)
            raise ConfigError(
                f"{other.where} and {record.where} are two runs of arm={arm} seed={seed} "
                "(other config or code): keep them in folders apart"
            )
