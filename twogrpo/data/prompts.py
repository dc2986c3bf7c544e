"""Turns problems into prompts, and draws them from an endless, seekable stream."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from twogrpo.config.schema import DatasetConfig, EvaluationConfig
from twogrpo.data.files import is_of_hub
from twogrpo.data.filtering import Check
from twogrpo.data.images import ImageProcessor
from twogrpo.data.problems import Problem
from twogrpo.data.sources import benchmark_problems, training_problems, validation_problems
from twogrpo.data.templates import render
from twogrpo.errors import ConfigError, escape_control_chars
from twogrpo.types import Draw, Prompt


class Prompts(list[Prompt]):
    """The usable prompts; `counts` has their number and that of the too long or ill-formed ones."""

    def __init__(self, prompts: Sequence[Prompt], num_dropped: int) -> None:
        super().__init__(prompts)
        self.num_dropped = num_dropped
        self.counts = {"used": len(self), "dropped": num_dropped}


@dataclass(frozen=True)
class PromptProcessor:
    """Turns problems into prompts: the tokenizer, the template and, for a vision-language model,
    the image processor (None where the model takes no images).
    """

    tokenizer: PreTrainedTokenizerBase
    template: str
    image_processor: ImageProcessor | None = None

    def prompt(self, problem: Problem) -> Prompt:
        """Raises ValueError if the problem has a defect, or not as many images as places."""
        if problem.defect:
            raise ValueError(problem.defect)
        images = problem.images
        token_ids = render(problem.text, self.template, self.tokenizer, num_images=len(images))
        if images:
            assert self.image_processor is not None  # checked
            token_ids = self.image_processor.expanded(token_ids, images)
        return Prompt(problem.problem_id, problem.text, problem.answer, tuple(token_ids), images)


def training_prompts(
    dataset: DatasetConfig, processor: PromptProcessor, check: Check | None = None
) -> Prompts:
    """The training prompts; the same `dataset.seed` gives the same prompts on every machine.

    A row of a data set whose answer `check` refuses is dropped and counted.
    """
    problems = training_problems(dataset, check)
    return _prompts(problems, processor, "dataset", dataset.max_prompt_tokens)


def validation_prompts(
    dataset: DatasetConfig,
    evaluation: EvaluationConfig,
    processor: PromptProcessor,
    check: Check | None = None,
) -> Prompts:
    """The validation split, on which settings are chosen; never a benchmark.

    For a published dataset it is drawn from the problems not used for training. It is empty if
    `evaluation.validation_every` is 0.
    """
    if not evaluation.validation_every:
        return Prompts([], 0)
    problems = validation_problems(dataset, evaluation, check)
    return _prompts(problems, processor, "dataset", dataset.max_prompt_tokens)


def benchmark_prompts(
    evaluation: EvaluationConfig, processor: PromptProcessor
) -> dict[str, Prompts]:
    """The prompts of every benchmark of `evaluation.benchmarks`, by name."""
    limit = evaluation.max_prompt_tokens
    return {
        name: _prompts(benchmark_problems(evaluation, name), processor, "evaluation", limit)
        for name in evaluation.benchmarks
    }


def hub_hashes(
    evaluation: EvaluationConfig,
    benchmarks: Mapping[str, Sequence[Prompt]],
    dataset: DatasetConfig | None = None,
    training: Sequence[Prompt] = (),
) -> dict[str, dict[str, str]]:
    """The hashes of the prompts that come from the hub, by key and name.

    A data set without a pinned revision may change under its name; then it is another run's.
    """
    found = dict[str, Mapping[str, Sequence[Prompt]]]()
    if dataset is not None and dataset.hub is not None and is_of_hub(dataset.source, dataset.path):
        found["dataset.hub"] = {dataset.hub.id: training}
    if benchmarks and is_of_hub(evaluation.source, evaluation.folder):
        found["evaluation.hub"] = benchmarks
    return {
        key: {name: _sha256(prompts) for name, prompts in of.items()} for key, of in found.items()
    }


def _sha256(prompts: Sequence[Prompt]) -> str:
    """The hash of ids, texts, references, images; the tokens follow from these and the model."""
    digest = hashlib.sha256()
    for p in prompts:
        images = [hashlib.sha256(image).hexdigest() for image in p.images]
        digest.update(repr((p.prompt_id, p.text, p.reference, images)).encode())
    return digest.hexdigest()


def longest(prompts: Iterable[Prompt]) -> int:
    """The number of tokens of the longest prompt; 0 if there are none."""
    return max((len(prompt.token_ids) for prompt in prompts), default=0)


class PromptStream:
    """Endless epochs over all prompts, each in a new order; `position` is the only state."""

    def __init__(self, prompts: Sequence[Prompt], *, seed: int, position: int = 0) -> None:
        self._prompts = prompts
        self._seed = seed
        self.position = position
        self._epoch = -1
        self._order = np.empty(0, dtype=int)

    def next(self, count: int) -> list[Draw]:
        """The next `count` prompts, numbered by their positions, which are unique within a run."""
        draws = [Draw(p, self._at(p)) for p in range(self.position, self.position + count)]
        self.position += count
        return draws

    def _at(self, position: int) -> Prompt:
        epoch, place = divmod(position, len(self._prompts))
        if epoch != self._epoch:
            rng = np.random.default_rng([self._seed, epoch])
            self._epoch, self._order = epoch, rng.permutation(len(self._prompts))
        return self._prompts[self._order[place]]


def _prompts(
    problems: Sequence[Problem], processor: PromptProcessor, section: str, limit: int
) -> Prompts:
    """The prompts of at most `limit` tokens; longer ones are dropped and counted, not truncated."""
    if processor.image_processor is None and any(problem.images for problem in problems):
        raise ConfigError(
            "the problems have images but model.path is a text-only model: use a vision-language "
            "model (model=qwen25_vl_7b) or a text-only data set"
        )
    prompts, unusable, key = list[Prompt](), list[str](), f"{section}.max_prompt_tokens"
    for problem in problems:
        try:
            prompts.append(processor.prompt(problem))
        except ConfigError:
            raise  # a mistake in the configuration, not in this problem
        except ValueError as error:
            unusable.append(f"{problem.problem_id}: {error}")
    _print_dropped(len(unusable), len(problems), f"are ill-formed ({', '.join(unusable[:1])})")
    kept = [prompt for prompt in prompts if len(prompt.token_ids) <= limit]
    if prompts and not kept:
        shortest = min(len(prompt.token_ids) for prompt in prompts)
        raise ConfigError(f"{key}={limit}: every prompt is longer, use {shortest} or more")
    if not kept:
        raise ConfigError(f"all problems are ill-formed ({', '.join(unusable[:1])}): give others")
    num_longer = len(prompts) - len(kept)
    _print_dropped(num_longer, len(problems), f"are longer than {key}={limit} tokens")
    for prompt in kept if processor.template == "plain" else ():
        begins = prompt.token_ids[:1] == (processor.tokenizer.bos_token_id,)
        if processor.tokenizer.decode(prompt.token_ids[begins:]) != prompt.text:
            raise ConfigError(
                f"the tokenizer of model.path cannot encode prompt {prompt.prompt_id}: "
                "use the model's own tokenizer, or a model trained on the task"
            )
    return Prompts(kept, len(problems) - len(kept))


def _print_dropped(count: int, total: int, why: str) -> None:
    if count:
        sys.stderr.write(f"{count} of {total} prompts {escape_control_chars(why)}: dropped\n")
