"""What a finished run's record must hold for the analysis; one that does not is left out."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from twogrpo.run_record.rows import CLOCKS, benchmark_results, training_rows

Row = Mapping[str, Any]
LARGEST = sys.float_info.max


def defect(about: Mapping[str, Any], rows: Mapping[int, Row], pairs: Sequence[Any]) -> str:
    """Returns what is wrong with a record, in a few words; "" where nothing is."""
    try:
        _check_config(about["config"])
        hardware = about.get("hardware") or {}
        _whole(hardware.get("num_gpus") or 0, "hardware.num_gpus", at_least=0)
        steps = training_rows(rows.values())
        _check_steps(steps)
        for step, row in rows.items():
            _check_row(row, f"step {step}")
        for name, result in benchmark_results(rows.values()).items():
            _check_benchmark(result, f"benchmark {name}")
        known = {row["step"] for row in steps}
        for pair in pairs:
            _check_pair(pair, known)
    except KeyError as error:
        return f"it lacks {error}"
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        return str(error)
    return ""


def _check_config(config: Any) -> None:
    names = [config["dataset"]["name"], config["model"]["name"], config["evaluation"]["name"]]
    names += config["evaluation"]["benchmarks"]
    algorithm, training = config.get("algorithm") or {}, config.get("training") or {}
    if algorithm or training:
        names.append(algorithm["name"])
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"names {names} are not all text")
    _whole(config["evaluation"]["num_samples"], "evaluation.num_samples", at_least=1)
    _whole(config.get("seed", 0), "seed", at_least=0)
    _whole(algorithm.get("group_size") or 0, "algorithm.group_size", at_least=0)
    for key in ("prompts_per_step", "prompts_per_minibatch"):
        _whole(training.get(key, 1), f"training.{key}", at_least=1)
    _whole(algorithm.get("minibatch_scale", 1), "algorithm.minibatch_scale", at_least=1)
    for key, section in (
        ("learning_rate", training),
        ("learning_rate_scale", algorithm),
        ("learning_rate_scale", config["model"].get("lora") or {}),
    ):
        _number(section.get(key, 1), key)


def _check_steps(steps: Sequence[Row]) -> None:
    for row in steps:
        row["reward/mean"], row["tokens/generated"]


def _check_row(row: Row, where: str) -> None:
    for name, value in row.items():
        is_time = name.partition("/")[0] in CLOCKS or name.endswith("/seconds")
        if is_time or name.startswith(("reward/", "rollouts/", "tokens/")):
            _number(value, f"{name} of {where}", at_least=0.0 if is_time else -math.inf)
        elif not isinstance(value, float | list):  # a float may be NaN: nothing to measure
            _number(value, f"{name} of {where}")


def _check_benchmark(result: Row, where: str) -> None:
    most = _whole(result["num_samples"], f"num_samples of {where}", at_least=1)
    _number(result["seconds"], f"seconds of {where}", at_least=0.0)
    ids, counts = result["problem_ids"], result["num_correct"]
    if not ids or len(ids) != len(counts) or len(set(map(str, ids))) != len(ids):
        raise ValueError(f"{where} has {len(ids)} problem_ids for {len(counts)} num_correct")
    if max(_whole(count, f"num_correct of {where}", at_least=0) for count in counts) > most:
        raise ValueError(f"num_correct of {where} is over its num_samples={most}")
    for name, value in result.items():
        if not isinstance(value, list):
            _number(value, f"{name} of {where}")


def _check_pair(pair: Any, steps: set[Any]) -> None:
    for kind in ("right", "wrong"):
        for name in ("reward", "advantage"):
            _number(pair[kind][name], f"{name} of a pair")
        pair[kind]["response"], pair["prompt"], pair["num_right"], pair["num_rollouts"]
    if _whole(pair["step"], "step of a pair", at_least=0) not in steps:
        raise ValueError(f"a pair is of step {pair['step']}, which is none of the run's")


def _whole(value: Any, name: str, *, at_least: int) -> int:
    if type(value) is not int and not (isinstance(value, float) and value.is_integer()):
        raise TypeError(f"{name}={value} is no whole number")
    return int(_number(value, name, at_least=at_least))


def _number(value: Any, name: str, *, at_least: float = -math.inf) -> float:
    """The value as a finite number; a server may send 1.0 for 1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}={value} is no number")
    if not max(at_least, -LARGEST) <= value <= LARGEST:  # not NaN; an int may be over it
        raise ValueError(f"{name}={value} is out of range")
    return float(value)
