"""From a dataset's name to prompts, and the endless, seekable stream in which a run draws them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from twogrpo.config import ConfigError, Dataset, Evaluation
from twogrpo.data import chain_arithmetic
from twogrpo.data.templates import render
from twogrpo.records import Prompt


def training_prompts(
    dataset: Dataset, tokenizer: PreTrainedTokenizerBase, *, template: str
) -> list[Prompt]:
    """The prompts of a dataset, the same for the same `dataset.seed` on every machine."""
    problems = _problems(dataset.name, "rl_pool", dataset.num_prompts, dataset.seed)
    return _prompts(problems, tokenizer, template=template)


def validation_prompts(
    dataset: Dataset, evaluation: Evaluation, tokenizer: PreTrainedTokenizerBase, *, template: str
) -> list[Prompt]:
    """The validation split, on which settings are chosen; never a benchmark."""
    problems = _problems(dataset.name, "validation", evaluation.validation_problems, 0)
    return _prompts(problems, tokenizer, template=template)


def benchmark_prompts(
    evaluation: Evaluation, tokenizer: PreTrainedTokenizerBase, *, template: str
) -> dict[str, list[Prompt]]:
    """The prompts of every benchmark of `evaluation.benchmarks`, by name."""
    return {
        benchmark: _prompts(
            _problems(evaluation.name, benchmark, evaluation.problems_per_benchmark, 0),
            tokenizer,
            template=template,
        )
        for benchmark in evaluation.benchmarks
    }


class PromptStream:
    """All prompts in a new order each epoch, for ever. Its whole state is one number, `position`."""

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


def _problems(name: str, split: str, count: int, seed: int) -> list[chain_arithmetic.Problem]:
    if name != "chain_arithmetic":
        raise ConfigError(f"dataset.name={name} is unknown: use chain_arithmetic")
    try:
        return chain_arithmetic.problems(split, count, seed)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _prompts(
    problems: Sequence[chain_arithmetic.Problem],
    tokenizer: PreTrainedTokenizerBase,
    *,
    template: str,
) -> list[Prompt]:
    prompts = [
        Prompt(
            prompt_id=problem.problem_id,
            text=problem.text,
            reference=problem.answer,
            token_ids=tuple(render(problem.text, template=template, tokenizer=tokenizer)),
        )
        for problem in problems
    ]
    for prompt in prompts:
        if tokenizer.decode(prompt.token_ids) != prompt.text:
            raise ConfigError(
                f"the tokenizer of model.path does not know the symbols of {prompt.prompt_id}: "
                "use the model's own tokenizer, or a model that knows the task"
            )
    return prompts
