"""From a configuration to prompts, and the endless, seekable stream in which a run draws them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
from transformers import PreTrainedTokenizerBase

from twogrpo.config import ConfigError, Dataset, Evaluation, Hub
from twogrpo.data import chain_arithmetic, digit_arithmetic
from twogrpo.data.pictures import Pictures
from twogrpo.data.preparation import Prepared, draw, draw_key, prepare
from twogrpo.data.problems import SUFFIXES, Problem, content_id, from_hub, from_path
from twogrpo.data.templates import render
from twogrpo.plain_text import plain
from twogrpo.records import Prompt

ROOT = Path(__file__).resolve().parent.parent.parent
# Draws the validation problems, apart from the training's.
VALIDATION_SEED = -1
MOST_GENERATED = 100_000
# The tasks that need no files; each has BENCHMARKS and problems(split, count, seed).
GENERATORS = {"chain_arithmetic": chain_arithmetic, "digit_arithmetic": digit_arithmetic}


def training_prompts(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    template: str,
    pictures: Pictures | None = None,
) -> list[Prompt]:
    """The prompts of a dataset, the same for the same `dataset.seed` on every machine.

    `pictures` is how the model takes them; None where it takes none.
    """
    return _prompts(
        training_problems(dataset),
        tokenizer,
        template=template,
        pictures=pictures,
        limit=dataset.max_prompt_tokens,
        key="dataset.max_prompt_tokens",
    )


def validation_prompts(
    dataset: Dataset,
    evaluation: Evaluation,
    tokenizer: PreTrainedTokenizerBase,
    *,
    template: str,
    pictures: Pictures | None = None,
) -> list[Prompt]:
    """The validation split, on which settings are chosen; never a benchmark.

    Of a published dataset it is drawn from what training leaves over; empty where nobody looks.
    """
    if not evaluation.validation_every:
        return []
    return _prompts(
        _validation_problems(dataset, evaluation.validation_problems),
        tokenizer,
        template=template,
        pictures=pictures,
        limit=dataset.max_prompt_tokens,
        key="dataset.max_prompt_tokens",
    )


def benchmark_prompts(
    evaluation: Evaluation,
    tokenizer: PreTrainedTokenizerBase,
    *,
    template: str,
    pictures: Pictures | None = None,
) -> dict[str, list[Prompt]]:
    """The prompts of every benchmark of `evaluation.benchmarks`, by name."""
    return {
        benchmark: _prompts(
            benchmark_problems(evaluation, benchmark),
            tokenizer,
            template=template,
            pictures=pictures,
            limit=evaluation.max_prompt_tokens,
            key="evaluation.max_prompt_tokens",
        )
        for benchmark in evaluation.benchmarks
    }


def training_problems(dataset: Dataset) -> list[Problem]:
    """`dataset.num_prompts` problems, drawn with `dataset.seed`.

    Raises:
        ConfigError: the source cannot be read, or has fewer usable problems.
    """
    if dataset.source == "generated":
        task = _generator("dataset.name", dataset.name)
        key = "dataset.num_prompts"
        return _generated(task, "rl_pool", dataset.num_prompts, dataset.seed, key=key)
    problems = prepared_dataset(dataset).problems
    if len(problems) < dataset.num_prompts:
        raise ConfigError(
            f"dataset.num_prompts={dataset.num_prompts} but only {len(problems)} usable problems: "
            f"use dataset.num_prompts={len(problems)} or fewer"
        )
    return draw(problems, dataset.num_prompts, dataset.seed)


def prepared_dataset(dataset: Dataset) -> Prepared:
    """All usable problems of a published dataset, with what was dropped.

    Raises:
        ConfigError: the source cannot be read, or lacks ids that `dataset.ids` names.
    """
    origin, rows = _rows(dataset.source, dataset_file(dataset), dataset.hub, key="dataset.path")
    prepared = prepare(rows, origin=origin, english_only=dataset.english_only)
    if dataset.ids is None:
        return prepared
    wanted = read_ids(dataset.ids)
    kept = [p for p in prepared.problems if content_id(p.text, p.images) in wanted]
    if len(kept) < len(wanted):
        raise ConfigError(
            f"{origin} lacks {len(wanted) - len(kept)} of the {len(wanted)} problems of "
            f"dataset.ids={dataset.ids}: give the whole data set, or dataset.ids=null"
        )
    chosen = {problem.problem_id for problem in kept}
    others = [p.problem_id for p in prepared.problems if p.problem_id not in chosen]
    return Prepared(kept, prepared.num_rows, {**prepared.dropped, "not_in_ids": others})


def dataset_file(dataset: Dataset) -> Path | None:
    """The file of `dataset.path`, in a folder its prompt set; None where the hub is the source."""
    if dataset.path is None or dataset.source == "hub":
        return None
    found = Path(dataset.path) if Path(dataset.path).exists() else ROOT / dataset.path
    return found / "prompts.parquet" if found.is_dir() else found


def read_ids(path: str) -> set[str]:
    """The content ids of a file, one a line; from the repository's root if relative.

    Raises:
        ConfigError: there is no such file.
    """
    try:
        return set((ROOT / path).read_text().split())
    except OSError as error:
        raise ConfigError(f"dataset.ids={path} cannot be read ({error.strerror})") from error


def benchmark_problems(evaluation: Evaluation, benchmark: str) -> list[Problem]:
    """A benchmark's problems, repeats and all: it is what it is, and its size is known.

    Raises:
        ConfigError: the source cannot be read.
    """
    count = evaluation.problems_per_benchmark
    if evaluation.source == "generated":
        if count is None:
            raise ConfigError(
                "evaluation.problems_per_benchmark=null: a generated benchmark has no end, say 100"
            )
        task = _generator("evaluation.name", evaluation.name)
        if benchmark not in task.BENCHMARKS:
            raise ConfigError(
                f"evaluation.benchmarks={benchmark} is no benchmark: "
                f"use {', '.join(task.BENCHMARKS)}"
            )
        return _generated(task, benchmark, count, 0, key="evaluation.problems_per_benchmark")
    path = _benchmark_file(evaluation.folder, benchmark)
    origin, rows = _rows(
        evaluation.source, path, evaluation.hub.get(benchmark), key="evaluation.folder"
    )
    return prepare(rows, origin=origin, drop=False).problems[:count]


class PromptStream:
    """All prompts in a new order each epoch, for ever; its whole state is `position`."""

    def __init__(self, prompts: Sequence[Prompt], *, seed: int, position: int = 0) -> None:
        self._prompts = prompts
        self._seed = seed
        self.position = position
        self._epoch = -1
        self._order = np.empty(0, dtype=int)

    def next(self, count: int) -> list[tuple[int, Prompt]]:
        """The next `count` prompts, each with its position, which is unique within a run."""
        drawn = [(p, self._at(p)) for p in range(self.position, self.position + count)]
        self.position += count
        return drawn

    def _at(self, position: int) -> Prompt:
        epoch, place = divmod(position, len(self._prompts))
        if epoch != self._epoch:
            rng = np.random.default_rng([self._seed, epoch])
            self._epoch, self._order = epoch, rng.permutation(len(self._prompts))
        return self._prompts[self._order[place]]


def _generator(key: str, name: str) -> ModuleType:
    if name not in GENERATORS:
        raise ConfigError(f"{key}={name} cannot be generated: use one of {', '.join(GENERATORS)}")
    return GENERATORS[name]


def _generated(task: ModuleType, split: str, count: int, seed: int, *, key: str) -> list[Problem]:
    if count > MOST_GENERATED:
        raise ConfigError(f"{key}={count} would take minutes to draw: use {MOST_GENERATED} or less")
    try:
        problems = task.problems(split, count, seed)
    except ValueError as error:
        raise ConfigError(f"{key}={count}: {error}") from error
    return [Problem(problem.problem_id, problem.text, problem.answer) for problem in problems]


def _validation_problems(dataset: Dataset, count: int) -> list[Problem]:
    if dataset.source == "generated":
        task = _generator("dataset.name", dataset.name)
        return _generated(task, "validation", count, 0, key="evaluation.validation_problems")
    problems = prepared_dataset(dataset).problems
    left = sorted(problems, key=lambda p: draw_key(p, dataset.seed))[dataset.num_prompts :]
    if len(left) < count:
        raise ConfigError(
            f"evaluation.validation_problems={count} but dataset.num_prompts={dataset.num_prompts} "
            f"leaves {len(left)} of {len(problems)} problems over: lower dataset.num_prompts, or "
            "use evaluation.validation_every=0"
        )
    return draw(left, count, VALIDATION_SEED)


def _rows(source: str, path: Path | None, hub: Hub | None, *, key: str):  # type: ignore[no-untyped-def]
    """Where the rows come from, in words, and the rows."""
    group = key.partition(".")[0]
    if source not in ("auto", "hub", "path"):
        raise ConfigError(f"{group}.source={source} is unknown: use auto, hub, path or generated")
    if source == "path" or (source == "auto" and path is not None):
        if path is None:
            raise ConfigError(f"{group}.source=path but {key} is not set: {key}=…")
        return str(path), from_path(path)
    if hub is None:
        raise ConfigError(f"{group}.source=hub but {group}.hub names no data set: set {key}=…")
    return f"{hub.id} ({hub.split})", from_hub(hub)


def _benchmark_file(folder: str | None, benchmark: str) -> Path | None:
    if folder is None:
        return None
    base = Path(folder) if Path(folder).is_dir() else ROOT / folder
    files = [base / f"{benchmark}{suffix}" for suffix in SUFFIXES]
    return next((file for file in files if file.is_file()), files[0])


def _prompts(
    problems: Sequence[Problem],
    tokenizer: PreTrainedTokenizerBase,
    *,
    template: str,
    pictures: Pictures | None,
    limit: int,
    key: str,
) -> list[Prompt]:
    """Prompts of at most `limit` tokens; longer ones are dropped and counted, never cut."""
    if pictures is None and any(problem.images for problem in problems):
        raise ConfigError(
            "the problems have pictures, which model.path takes none of: use a vision-language "
            "model (model=qwen25_vl_7b) or a data set of text"
        )
    prompts, unusable = list[Prompt](), list[str]()
    for problem in problems:
        try:
            prompts.append(_prompt(problem, tokenizer, template=template, pictures=pictures))
        except ConfigError:
            raise  # it is of the configuration, not of this problem
        except ValueError as error:
            unusable.append(f"{problem.problem_id}: {error}")
    _tell_dropped(len(unusable), len(problems), f"cannot be shown ({', '.join(unusable[:1])})")
    kept = [prompt for prompt in prompts if len(prompt.token_ids) <= limit]
    if prompts and not kept:
        shortest = min(len(prompt.token_ids) for prompt in prompts)
        raise ConfigError(f"{key}={limit}: every prompt is longer, use {shortest} or more")
    if not kept:
        raise ConfigError(f"no problem can be shown ({', '.join(unusable[:1])}): give others")
    num_longer = len(prompts) - len(kept)
    _tell_dropped(num_longer, len(problems), f"are longer than {key}={limit} tokens")
    if template == "plain":
        _check_symbols(kept, tokenizer)
    return kept


def _prompt(
    problem: Problem,
    tokenizer: PreTrainedTokenizerBase,
    *,
    template: str,
    pictures: Pictures | None,
) -> Prompt:
    """Raises ValueError where the text's places are not as many as its pictures."""
    images = problem.images
    token_ids = render(problem.text, template=template, tokenizer=tokenizer, num_images=len(images))
    if images:
        assert pictures is not None  # checked
        token_ids = pictures.expanded(token_ids, images)
    return Prompt(problem.problem_id, problem.text, problem.answer, tuple(token_ids), images)


def _tell_dropped(count: int, total: int, why: str) -> None:
    if count:
        sys.stderr.write(f"{count} of {total} prompts {plain(why)}: dropped\n")


def _check_symbols(prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase) -> None:
    for prompt in prompts:
        if tokenizer.decode(prompt.token_ids) != prompt.text:
            raise ConfigError(
                f"the tokenizer of model.path does not know the symbols of {prompt.prompt_id}: "
                "use the model's own tokenizer, or a model that knows the task"
            )
