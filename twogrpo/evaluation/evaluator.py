"""Evaluation: n samples of every benchmark problem, and how many of them are right."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twogrpo.core.estimators import mean_at_k
from twogrpo.rewards.protocol import Reward
from twogrpo.rollout.groups import grade_groups, sample_groups
from twogrpo.rollout.protocol import Sampler, SamplingParams
from twogrpo.run_record.eval_samples import ProblemSamples, SampleStore
from twogrpo.run_record.lm_eval_format import write_lm_eval_log
from twogrpo.run_record.progress import Progress
from twogrpo.types import Prompt

# A grading process that dies (of memory, say) is as good as one that hangs.
TIMEOUTS = ("verifier_timeout", "verifier_died")
Benchmarks = Mapping[str, Sequence[Prompt]]


@dataclass(frozen=True)
class Exam:
    """Who is asked, how often, and who grades. The same seed asks every policy with the same draws,
    so that two policies are compared in pairs.

    `rollouts_per_chunk` are sampled and graded at a time: what an interruption may lose;
    `before_each_chunk` may raise to end it there.
    """

    sampler: Sampler
    reward: Reward
    sampling: SamplingParams
    num_samples: int
    seed: int
    rollouts_per_chunk: int
    keep_text: bool = False
    before_each_chunk: Callable[[], None] = lambda: None

    def chunks(self, prompts: Sequence[Prompt]) -> list[Sequence[Prompt]]:
        """The prompts by chunks, the same for the same prompts whatever was done before."""
        size = max(1, self.rollouts_per_chunk // self.num_samples)
        return [prompts[first : first + size] for first in range(0, len(prompts), size)]

    def ask(self, benchmark: str, prompts: Sequence[Prompt]) -> list[ProblemSamples]:
        """Samples and grades one chunk."""
        self.before_each_chunk()
        start = time.perf_counter()
        groups = sample_groups(
            [(0, prompt) for prompt in prompts],
            self.sampler,
            self.sampling,
            group_size=self.num_samples,
            seed=self.seed,
            step=0,
        )
        groups = grade_groups(groups, self.reward)
        seconds = (time.perf_counter() - start) / len(prompts)
        return [
            ProblemSamples.of(benchmark, group, seconds=seconds, keep_text=self.keep_text)
            for group in groups
        ]


@dataclass(frozen=True)
class BenchmarkResult:
    """Counts per problem: from them any estimate and any interval can be recomputed.

    `verifier_timeouts` and `verifier_unparsed` count samples, which were graded as wrong.
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
        """Of one benchmark's problems, each with the same number of samples."""
        total = sum(len(problem.num_tokens) for problem in samples)
        lengths = sum(sum(problem.num_tokens) for problem in samples)
        cut = sum(problem.finish_reasons.count("length") for problem in samples)
        return cls(
            num_samples=len(samples[0].num_tokens),
            problem_ids=[problem.problem_id for problem in samples],
            num_correct=[sum(problem.is_correct) for problem in samples],
            tokens_mean=lengths / total,
            truncated_fraction=cut / total,
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
        """The metrics under the names of the run's record."""
        values = {**vars(self), "mean": self.mean}
        return {f"evaluation/{benchmark}/{name}": value for name, value in values.items()}


def evaluate(prompts: Sequence[Prompt], exam: Exam) -> BenchmarkResult:
    """Asks once, leaving nothing on disk: for the validation split."""
    return BenchmarkResult.of(
        [sample for chunk in exam.chunks(prompts) for sample in exam.ask("", chunk)]
    )


def evaluate_benchmarks(
    benchmarks: Benchmarks, exam: Exam, store: SampleStore, progress: Progress | None = None
) -> dict[str, Any]:
    """One row of the run's record with every benchmark's result; every sample goes to `store`.

    Continues at the first chunk with a problem that the store has not, with the same numbers: a
    sample depends on the policy, the problem and its own seed.
    """
    samples: list[ProblemSamples] = []
    row: dict[str, Any] = {}
    for benchmark, prompts in benchmarks.items():
        done = store.done(benchmark)
        of_benchmark: list[ProblemSamples] = []
        for chunk in exam.chunks(prompts):
            found = [done[p.prompt_id] for p in chunk if p.prompt_id in done]
            if len(found) < len(chunk):
                found = exam.ask(benchmark, chunk)
                store.append(found)
                if progress:
                    progress.update(progress_text(benchmark, of_benchmark + found), len(chunk))
            of_benchmark += found
        samples += of_benchmark
        if exam.keep_text and store.is_writer:
            log = store.folder / f"samples_{benchmark}.jsonl"
            write_lm_eval_log(log, prompts, of_benchmark)
        row |= BenchmarkResult.of(of_benchmark).row(benchmark)
    store.finish(samples)
    return row


def num_missing(benchmarks: Benchmarks, store: SampleStore) -> int:
    """Problems that the store has not."""
    return sum(
        prompt.prompt_id not in store.done(benchmark)
        for benchmark, prompts in benchmarks.items()
        for prompt in prompts
    )


def progress_text(benchmark: str, samples: Sequence[ProblemSamples]) -> str:
    """How a benchmark goes, in one line for a person."""
    seconds = max(sum(problem.seconds for problem in samples), 1e-9)
    num_tokens = sum(sum(problem.num_tokens) for problem in samples)
    accuracy = BenchmarkResult.of(samples).mean
    return (
        f"{benchmark} {accuracy:.1%}  {len(samples) / seconds:,.1f} problems/s  "
        f"{num_tokens / seconds:,.0f} tok/s"
    )
