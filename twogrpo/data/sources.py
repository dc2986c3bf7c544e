"""Loads the configured problems from a generator, a file or the hub."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from twogrpo.config.schema import DatasetConfig, EvaluationConfig, HubConfig
from twogrpo.data.files import ROOT, benchmark_file, dataset_file, is_of_hub
from twogrpo.data.filtering import Check, FilteredProblems, prepare, read_problems, select_problems
from twogrpo.data.problems import Problem, Row, content_id, from_hub, from_path
from twogrpo.data.tasks import chain_arithmetic, digit_arithmetic
from twogrpo.errors import ConfigError

# The seed that selects validation problems; differs from every training seed.
VALIDATION_SEED = -1
MOST_GENERATED = 100_000
# Tasks that need no files; each module has BENCHMARKS and problems(split, count, seed).
GENERATORS = {"chain_arithmetic": chain_arithmetic, "digit_arithmetic": digit_arithmetic}


def training_problems(dataset: DatasetConfig, check: Check | None = None) -> list[Problem]:
    """`dataset.num_prompts` problems, drawn with `dataset.seed`; for `check` see `prepare`.

    Raises:
        ConfigError: the source cannot be read, or has fewer usable problems.
    """
    if dataset.source == "generated":
        task, key = _generator("dataset.name", dataset.name), "dataset.num_prompts"
        return _generated(task, "rl_pool", dataset.num_prompts, dataset.seed, key=key)
    prepared = prepared_dataset(dataset, check)
    problems = prepared.problems
    if prepared.dropped or prepared.num_system_messages:
        sys.stderr.write(f"dataset.name={dataset.name}: {prepared.summary}\n")
    if len(problems) < dataset.num_prompts:
        raise ConfigError(
            f"dataset.num_prompts={dataset.num_prompts} but only {len(problems)} usable problems: "
            f"use dataset.num_prompts={len(problems)} or fewer"
        )
    return select_problems(problems, dataset.num_prompts, dataset.seed)


def validation_problems(
    dataset: DatasetConfig, evaluation: EvaluationConfig, check: Check | None = None
) -> list[Problem]:
    """Selects `evaluation.validation_problems` problems of each split for validation, none of them
    used for training.

    Raises:
        ConfigError: training leaves fewer, or a split is none of the data's.
    """
    count, splits = evaluation.validation_problems, evaluation.validation_splits
    is_generated = dataset.source == "generated"
    task = _generator("dataset.name", dataset.name) if is_generated else None
    known = task.VALIDATION if task else ("validation",)
    if not splits or len(set(splits)) < len(splits) or not set(splits) <= set(known):
        raise ConfigError(
            f"evaluation.validation_splits={splits}: give one or more of {', '.join(known)}, each "
            "once"
        )
    if task:
        key = "evaluation.validation_problems"
        return [p for split in splits for p in _generated(task, split, count, 0, key=key)]
    problems = prepared_dataset(dataset, check).problems
    left = select_problems(problems, len(problems), dataset.seed)[dataset.num_prompts :]
    if len(left) < count:
        raise ConfigError(
            f"evaluation.validation_problems={count} but dataset.num_prompts={dataset.num_prompts} "
            f"leaves only {len(left)} of {len(problems)} problems: lower dataset.num_prompts, or "
            "use evaluation.validation_every=0"
        )
    return select_problems(left, count, VALIDATION_SEED)


def benchmark_problems(evaluation: EvaluationConfig, benchmark: str) -> list[Problem]:
    """A benchmark's problems, unfiltered: repeats stay, so that its size is the published one.

    Raises:
        ConfigError: the source cannot be read.
    """
    count = evaluation.problems_per_benchmark
    if evaluation.source == "generated":
        if count is None:
            raise ConfigError(
                "evaluation.problems_per_benchmark=null but a generated benchmark is endless: "
                "set a number such as 100"
            )
        task = _generator("evaluation.name", evaluation.name)
        if benchmark not in task.BENCHMARKS:
            raise ConfigError(
                f"evaluation.benchmarks={benchmark} is unknown: use {', '.join(task.BENCHMARKS)}"
            )
        return _generated(task, benchmark, count, 0, key="evaluation.problems_per_benchmark")
    path, hub = benchmark_file(evaluation, benchmark), evaluation.hub.get(benchmark)
    where = f"evaluation.benchmarks={benchmark}: {path}"
    origin, rows = _rows(evaluation.source, path, hub, "evaluation.folder", where)
    return read_problems(rows, origin=origin)[:count]


def prepared_dataset(dataset: DatasetConfig, check: Check | None = None) -> FilteredProblems:
    """All usable problems of a published dataset, and the dropped ids; for `check` see `prepare`.

    `dataset.ids` is a file of content ids, one per line, relative to the repository root.

    Raises:
        ConfigError: the source cannot be read, or lacks ids listed in `dataset.ids`.
    """
    path = dataset_file(dataset)
    origin, rows = _rows(dataset.source, path, dataset.hub, "dataset.path", f"dataset.path={path}")
    prepared = prepare(rows, origin=origin, english_only=dataset.english_only, check=check)
    if dataset.ids is None:
        return prepared
    try:
        ids = set((ROOT / dataset.ids).read_text(encoding="utf-8").split())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"dataset.ids={dataset.ids} cannot be read ({getattr(error, 'strerror', error)}): "
            "give a file with one content id a line, or dataset.ids=null"
        ) from error
    kept = [p for p in prepared.problems if content_id(p.text, p.images) in ids]
    if len(kept) < len(ids):
        raise ConfigError(
            f"{origin} lacks {len(ids) - len(kept)} of the {len(ids)} problems of "
            f"dataset.ids={dataset.ids} ({prepared.summary}): give the full data set, or "
            "dataset.ids=null"
        )
    others = [p.problem_id for p in prepared.problems if content_id(p.text, p.images) not in ids]
    return replace(prepared, problems=kept, dropped={**prepared.dropped, "not_in_ids": others})


def _generator(key: str, name: str) -> ModuleType:
    if name not in GENERATORS:
        raise ConfigError(f"{key}={name} cannot be generated: use one of {', '.join(GENERATORS)}")
    return GENERATORS[name]


def _generated(task: ModuleType, split: str, count: int, seed: int, *, key: str) -> list[Problem]:
    if count > MOST_GENERATED:
        raise ConfigError(f"{key}={count} would take minutes to draw: use {MOST_GENERATED} or less")
    try:
        problems: list[Problem] = task.problems(split, count, seed)
        return problems
    except ValueError as error:
        raise ConfigError(f"{key}={count}: {error}") from error


def _rows(
    source: str, path: Path | None, hub: HubConfig | None, key: str, where: str
) -> tuple[str, Iterator[Row]]:
    """The rows' origin, which is `where` for a file, and the rows; `key` sets the path."""
    group = key.partition(".")[0]
    if source not in ("auto", "hub", "path"):
        raise ConfigError(f"{group}.source={source} is unknown: use auto, hub, path or generated")
    if not is_of_hub(source, path):
        if path is None:
            raise ConfigError(f"{group}.source=path but {key} is not set: {key}=…")
        return where, from_path(path, origin=where)
    if hub is None:
        raise ConfigError(f"{group}.source=hub but {group}.hub names no data set: set {key}=…")
    origin = f"{group}.hub={hub.id} ({hub.split})"
    return origin, from_hub(hub, origin=origin, remedy=f"{key}=…")
