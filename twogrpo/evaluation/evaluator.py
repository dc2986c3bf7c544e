"""Evaluation: samples and grades n responses to every benchmark problem."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twogrpo.config.schema import EvaluationConfig, HardwareConfig, RolloutConfig
from twogrpo.core.estimators import mean_at_k
from twogrpo.data.prompts import PromptProcessor, Prompts, benchmark_prompts
from twogrpo.rewards.build import check_references
from twogrpo.rewards.protocol import Reward, Verifier
from twogrpo.rollout.groups import grade_groups, sample_groups
from twogrpo.rollout.protocol import Sampler, SamplingParams
from twogrpo.run_record.eval_samples import ProblemSamples, SampleStore
from twogrpo.run_record.lm_eval_format import write_lm_eval_log
from twogrpo.run_record.progress import Progress
from twogrpo.types import Draw, Prompt

# A grading process that dies (for example out of memory) counts as a time-out.
TIMEOUTS = ("verifier_timeout", "verifier_died")
CALLS_PER_CHUNK = 8  # with vLLM; an interruption costs a chunk (ours)
Benchmarks = Mapping[str, Sequence[Prompt]]


@dataclass(frozen=True)
class Evaluator:
    """The sampler, the reward and the evaluation's sampling parameters, seed, number of samples.

    All policies use the same random numbers for the same seed, so their comparison is paired.
    `rollouts_per_chunk` rollouts are sampled and graded at a time, which bounds the loss by an
    interruption; `on_chunk` is called before each chunk and may raise to end the evaluation.
    """

    config: EvaluationConfig
    sampler: Sampler
    reward: Reward
    rollouts_per_chunk: int
    on_chunk: Callable[[], None] = lambda: None

    def chunks(self, prompts: Sequence[Prompt]) -> list[Sequence[Prompt]]:
        """The prompts in chunks, which depend on the prompts only, not on past progress."""
        size = max(1, self.rollouts_per_chunk // self.config.num_samples)
        return [prompts[first : first + size] for first in range(0, len(prompts), size)]

    def sample_and_grade(self, benchmark: str, chunk: Sequence[Prompt]) -> list[ProblemSamples]:
        """The graded samples of one chunk."""
        self.on_chunk()
        start, config = time.perf_counter(), self.config
        groups = sample_groups(
            [Draw(0, prompt) for prompt in chunk],
            self.sampler,
            SamplingParams.of(config, config.max_response_tokens),
            group_size=config.num_samples,
            seed=config.seed,
            step=0,
        )
        groups = grade_groups(groups, self.reward)
        seconds = (time.perf_counter() - start) / len(chunk)
        return [
            ProblemSamples.of(benchmark, group, seconds=seconds, keep_text=config.keep_text)
            for group in groups
        ]


def rollouts_per_chunk(hardware: HardwareConfig, rollout: RolloutConfig) -> int:
    """A sampler's part of a chunk. vLLM begins a response when another ends, so a chunk of several
    calls does not wait for the longest response of each."""
    return hardware.rollouts_per_call * (CALLS_PER_CHUNK if rollout.engine == "vllm" else 1)


def load_benchmarks(
    evaluation: EvaluationConfig, processor: PromptProcessor, reward: Verifier
) -> dict[str, Prompts]:
    """The prompts of every benchmark.

    Raises:
        ConfigError: a benchmark cannot be read, or the reward cannot parse one of its answers.
    """
    benchmarks = benchmark_prompts(evaluation, processor)
    for name, prompts in benchmarks.items():
        check_references(reward, prompts, where=f"evaluation.benchmarks={name}")
    return benchmarks


@dataclass(frozen=True)
class BenchmarkResult:
    """Counts per problem, from which any estimate or interval can be recomputed.

    `verifier_timeouts` and `verifier_unparsed` count samples; these are graded as wrong.
    """

    num_samples: int
    problem_ids: list[str]
    num_correct: list[int]
    tokens_mean: float
    truncated_fraction: float
    verifier_timeouts: int
    verifier_unparsed: int
    seconds: float

    @classmethod
    def of(cls, samples: Sequence[ProblemSamples]) -> BenchmarkResult:
        """The result of one benchmark's problems, each with the same number of samples."""
        num_tokens = [n for problem in samples for n in problem.num_tokens]
        truncated = sum(problem.finish_reasons.count("length") for problem in samples)
        return cls(
            num_samples=len(samples[0].num_tokens),
            problem_ids=[problem.problem_id for problem in samples],
            num_correct=[sum(problem.is_correct) for problem in samples],
            tokens_mean=sum(num_tokens) / len(num_tokens),
            truncated_fraction=truncated / len(num_tokens),
            verifier_timeouts=sum(r in TIMEOUTS for p in samples for r in p.reasons),
            verifier_unparsed=sum(p.reasons.count("verifier_unparsed") for p in samples),
            seconds=sum(problem.seconds for problem in samples),
        )

    @property
    def mean(self) -> float:
        """Mean@n over the problems, in [0, 1]."""
        counts = [mean_at_k(correct, self.num_samples) for correct in self.num_correct]
        return sum(counts) / len(counts)

    def row(self, benchmark: str) -> dict[str, Any]:
        """The metrics under their run-record keys."""
        values = {**vars(self), "mean": self.mean}
        return {f"evaluation/{benchmark}/{name}": value for name, value in values.items()}


def evaluate(prompts: Sequence[Prompt], evaluator: Evaluator) -> BenchmarkResult:
    """Evaluates without writing to disk, for the validation split."""
    chunks = evaluator.chunks(prompts)
    return BenchmarkResult.of([s for c in chunks for s in evaluator.sample_and_grade("", c)])


def evaluate_benchmarks(
    benchmarks: Benchmarks,
    evaluator: Evaluator,
    store: SampleStore,
    *,
    name: str,
    every_seconds: float = math.inf,
) -> dict[str, Any]:
    """Returns a row with every benchmark's result, and appends every sample to `store`.

    Resumes at the first chunk with a problem missing from the store, with the same numbers: a
    sample depends only on the policy, the problem and its own seed. The store's writer shows the
    progress under `name`.
    """
    samples: list[ProblemSamples] = []
    row: dict[str, Any] = {}
    found_done = {benchmark: store.done(benchmark) for benchmark in benchmarks}
    with Progress(
        name,
        total=sum(map(len, benchmarks.values())),
        done=sum(p.prompt_id in found_done[name] for name in benchmarks for p in benchmarks[name]),
        every_seconds=every_seconds,
        is_shown=store.is_writer,
    ) as progress:
        for benchmark, prompts in benchmarks.items():
            done = found_done[benchmark]
            of_benchmark: list[ProblemSamples] = []
            for chunk in evaluator.chunks(prompts):
                found = [done[p.prompt_id] for p in chunk if p.prompt_id in done]
                if len(found) < len(chunk):
                    found = evaluator.sample_and_grade(benchmark, chunk)
                    store.append(found)
                    progress.update(progress_text(benchmark, of_benchmark + found), len(chunk))
                of_benchmark += found
            samples += of_benchmark
            if evaluator.config.keep_text and store.is_writer:
                log = store.folder / f"samples_{benchmark}.jsonl"
                write_lm_eval_log(log, prompts, of_benchmark)
            row |= BenchmarkResult.of(of_benchmark).row(benchmark)
    store.finish(samples)
    return row


def progress_text(benchmark: str, samples: Sequence[ProblemSamples]) -> str:
    """A progress line for one benchmark."""
    result = BenchmarkResult.of(samples)
    seconds = max(result.seconds, 1e-9)
    num_tokens = sum(sum(problem.num_tokens) for problem in samples)
    speed = f"{len(samples) / seconds:,.1f} problems/s  {num_tokens / seconds:,.0f} tok/s"
    return f"{benchmark} {result.mean:.1%}  {speed}"
