"""Ablations of optimisations that are no config key: one process does the same work with each and
without it, in turn. `make bench-ablations` (some ten minutes on two idle cores).

python -m benchmarks.ablations.in_process [--pairs 3] [--only TEXT] [key=value …]

The work is that of `make bench-peer`: SmolLM2-135M, 32 rollouts of at most 24 tokens, one optimiser
step, at both group sizes. Prints a line of JSON for each; `ratio` is the seconds without over the
seconds with, the median of the pairs: over 1 the optimisation pays. Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

from hydra import compose, initialize_config_dir

from benchmarks.ablations.padded_baseline import Padded
from benchmarks.throughput.config import BenchmarkConfig
from benchmarks.throughput.step_timing import open_run
from benchmarks.trl import compare_trl
from benchmarks.trl.compare_trl import in_turn, positive
from twogrpo.config.cli import CONF
from twogrpo.config.schema import parse
from twogrpo.core.surrogates import token_ratio_clipped
from twogrpo.rollout.groups import grade_groups, rollout_seed, sample_groups
from twogrpo.training.minibatches import training_samples
from twogrpo.training.run import Run
from twogrpo.types import Group
from twogrpo.types import TrainingSample as Rollout

# Known before anything is built, so that some can be chosen.
NAMES = (READ_ONCE, ROWS_LEAVE, ZERO_SKIPPED, COMPUTED_ONCE, NO_OLD_PASS, NO_PADDING) = (
    "a prompt read once for its group",
    "finished rows leave the batch",
    "rollouts without advantage are skipped",
    "a prompt computed once for its group",
    "no π_old pass before a first update",
    "no padding, prompts apart",
)
TINIEST = 1e-30  # an advantage that is computed and adds nothing that float32 could hold


@dataclass(frozen=True)
class Ablation:
    """The same work, done with an optimisation and without it."""

    name: str
    phase: str
    used: Callable[[], object]
    left_out: Callable[[], object]


def ablations(run: Run) -> Iterator[Ablation]:
    """All ablations, on the groups that the run samples first, with the rewards that they have."""
    config = run.config
    size = config.algorithm.group_size
    drawn = run.collector.stream.next(config.training.prompts_per_step)
    groups = grade_groups(
        sample_groups(
            drawn,
            run.collector.sampler,
            run.collector.sampling,
            group_size=size,
            seed=config.seed,
            step=0,
        ),
        run.collector.reward,
    )
    yield from sampling_ablations(run, groups)
    yield from update_ablations(run, groups)


def sampling_ablations(run: Run, groups: Sequence[Group]) -> Iterator[Ablation]:
    """Ablations of the transformers sampler; both sides sample with the same seeds."""
    engine: Any = run.collector.sampler.engine  # type: ignore[attr-defined]
    prompts = [group.prompt for group in groups]
    seeds_PG = [
        [
            rollout_seed(run.config.seed, g.draw, g.prompt.prompt_id, i)
            for i in range(len(g.rollouts))
        ]
        for g in groups
    ]

    def sample() -> None:
        engine.sample(prompts, seeds_PG, run.collector.sampling)

    def sample_apart() -> None:
        each = [prompt for prompt, seeds in zip(prompts, seeds_PG, strict=True) for _ in seeds]
        engine.sample(
            each, [[seed] for seeds in seeds_PG for seed in seeds], run.collector.sampling
        )

    # Where no row leaves, all continue until the longest response ends.
    longest = max(len(rollout.token_ids) for group in groups for rollout in group.rollouts)

    def sample_all_rows() -> None:
        end_token_ids, engine.end_token_ids = engine.end_token_ids, ()
        engine.sample(
            prompts, seeds_PG, replace(run.collector.sampling, max_response_tokens=longest)
        )
        engine.end_token_ids = end_token_ids

    yield Ablation(READ_ONCE, "generate", sample, sample_apart)
    yield Ablation(ROWS_LEAVE, "generate", sample, sample_all_rows)


def update_ablations(run: Run, groups: Sequence[Group]) -> Iterator[Ablation]:
    """Ablations of one update of all rollouts; each has an advantage, unless zeros are skipped."""
    policy = run.policy
    as_is = training_samples(groups, run.config, step=0)
    computed = without_zero_advantages(as_is)
    apart = with_own_prompts(computed)

    def update() -> None:
        policy.update(computed)

    def update_after_old_logps() -> None:
        policy.token_logps(computed)
        policy.update(computed)

    yield Ablation(ZERO_SKIPPED, "update", lambda: policy.update(as_is), update)
    yield Ablation(COMPUTED_ONCE, "update", update, lambda: policy.update(apart))
    yield Ablation(NO_OLD_PASS, "old_logps and update", update, update_after_old_logps)
    padded = Padded(run)
    yield Ablation(
        NO_PADDING,
        "forward and backward",
        lambda: policy.gradient(apart, surrogate=token_ratio_clipped),
        lambda: padded.gradient(apart),
    )


def without_zero_advantages(sequences: Sequence[Rollout]) -> list[Rollout]:
    """The sequences with advantages that are never 0: none is skipped, the gradient stays."""
    return [s if s.advantage else replace(s, advantage=TINIEST) for s in sequences]


def with_own_prompts(sequences: Sequence[Rollout]) -> list[Rollout]:
    """The sequences with a prompt of its own each, of the same length: another last token (up to 16
    in a group)."""
    return [
        replace(s, prompt_token_ids=(*s.prompt_token_ids[:-1], index % 16))
        for index, s in enumerate(sequences)
    ]


def seconds(work: Callable[[], object]) -> float:
    """The seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(ablation: Ablation, num_pairs: int) -> dict[str, Any]:
    """Pairs of seconds with and without, after one of each that is not counted."""
    ablation.used(), ablation.left_out()
    used, left_out = partial(seconds, ablation.used), partial(seconds, ablation.left_out)
    pairs = [in_turn(number, used, left_out) for number in range(num_pairs)]
    return {
        "ablation": ablation.name,
        "phase": ablation.phase,
        "ratio": ratio(pairs),
        "pairs": pairs,
    }


def ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """The median over pairs of the seconds without over the seconds with.

    >>> ratio([(1.0, 1.5), (2.0, 8.0), (1.0, 2.0)])
    2.0
    """
    return round(median(left_out / used for used, left_out in pairs), 3)


def configuration(group_size: int, overrides: Sequence[str]) -> BenchmarkConfig:
    """The configuration of our side of `make bench-peer` with overrides in place of its values."""
    keys = tuple(word.partition("=")[0] + "=" for word in overrides)
    given = compare_trl.our_command(group_size, compare_trl.arguments([]), seed=0)[2:]
    words = [word for word in given if not word.startswith(keys)] if keys else given
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return parse(compose("benchmark", overrides=[*words, *overrides]), BenchmarkConfig)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=positive, default=3)
    parser.add_argument("--only", default="", metavar="TEXT", help="ablations whose name holds it")
    parser.add_argument("overrides", nargs="*", help="of conf/benchmark.yaml")
    given = parser.parse_args()
    if not any(given.only in name for name in NAMES):
        parser.error(f"--only={given.only} names no ablation: use part of {'; '.join(NAMES)}")
    for group_size in compare_trl.GROUP_SIZES:
        with open_run(configuration(group_size, given.overrides)) as (run, _):
            for ablation in ablations(run):
                if given.only in ablation.name:
                    found = {"group_size": group_size, **measure(ablation, given.pairs)}
                    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
