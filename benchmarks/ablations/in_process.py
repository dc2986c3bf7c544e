"""Means that are no knob: one process does the same work with each and without it, in turn.

python -m benchmarks.ablations.in_process [--pairs 3] [--only TEXT] [key=value …]

Prints a line of JSON for each
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from unittest.mock import patch

from hydra import compose, initialize_config_dir

from benchmarks.ablations.padded_baseline import Padded
from benchmarks.throughput.config import BenchmarkConfig
from benchmarks.throughput.fixed_workload import Endless
from benchmarks.throughput.step_timing import open_run
from benchmarks.trl.compare_trl import in_turn, positive
from twogrpo.config.cli import CONF
from twogrpo.config.schema import parse
from twogrpo.core.surrogates import token_ratio_clipped
from twogrpo.models.load import load_tokenizer
from twogrpo.rollout.build import build_sampler
from twogrpo.rollout.groups import grade_groups, rollout_seed, sample_groups
from twogrpo.training.minibatches import training_samples
from twogrpo.training.run import Run
from twogrpo.types import Group, Prompt
from twogrpo.types import TrainingSample as Rollout

# Their names are known before anything is built, so that some can be asked for.
PLAIN = (READ_ONCE, ROWS_LEAVE, DEAD_SKIPPED, COMPUTED_ONCE, NO_OLD_PASS, NO_PADDING) = (
    "a prompt read once for its group",
    "finished rows leave the batch",
    "rollouts without advantage are skipped",
    "a prompt computed once for its group",
    "no π_old pass before a first update",
    "no padding, prompts apart",
)
PREFIX_CACHES = {f"vLLM's prefix cache, prompts of {tokens}": tokens for tokens in (40, 400)}
TINIEST = 1e-30  # an advantage that is computed and adds nothing that float32 could hold


@dataclass(frozen=True)
class Inside:
    """The same work done twice."""

    mean: str
    phase: str
    used: Callable[[], object]
    left_out: Callable[[], object]


def cases(config: BenchmarkConfig) -> Iterator[Inside]:
    """Those of the sampler that is chosen."""
    if config.rollout.engine == "vllm":
        yield from prefix_cases(config)
        return
    with open_run(config) as (run, _):
        yield from plain_cases(run)


def plain_cases(run: Run) -> Iterator[Inside]:
    """On the groups that the run draws first, with the rewards that they have."""
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
    yield from sampling_cases(run, groups)
    yield from update_cases(run, groups)


def prefix_cases(config: BenchmarkConfig) -> Iterator[Inside]:
    """Of vLLM; on a CPU its blocks hold 128 tokens, so a short prompt has no whole one to share."""
    from vllm import SamplingParams

    num_prompts, size = config.training.prompts_per_step, config.algorithm.group_size
    sampling = SamplingParams(1.0, 1.0, 0, config.dataset.max_response_tokens)
    engine: Any = build_sampler(
        config.rollout, config.model, config.hardware, load_tokenizer(config.model),
        context_tokens=max(PREFIX_CACHES.values()) + sampling.max_response_tokens,
    )  # fmt: skip
    seeds_PG = [range(place * size, (place + 1) * size) for place in range(num_prompts)]
    for name, length in PREFIX_CACHES.items():
        prompts = [
            Prompt(str(place), "", "", tuple(range(100 + place, 100 + place + length)))
            for place in range(num_prompts)
        ]

        def draw(prompts: Sequence[Prompt] = prompts) -> None:
            engine.llm.reset_prefix_cache()
            engine.sample(prompts, seeds_PG, sampling)

        def draw_without(draw: Callable[[], None] = draw) -> None:
            with patch(
                "vllm.SamplingParams", partial(SamplingParams, skip_reading_prefix_cache=True)
            ):
                draw()

        yield Inside(name, "generate", draw, draw_without)
    engine.close()


def sampling_cases(run: Run, groups: Sequence[Group]) -> Iterator[Inside]:
    """Of the transformers sampler; both sides draw with the same seeds."""
    engine: Any = run.collector.sampler.engine  # type: ignore[attr-defined]
    prompts = [group.prompt for group in groups]
    seeds_PG = [
        [
            rollout_seed(run.config.seed, g.draw, g.prompt.prompt_id, i)
            for i in range(len(g.rollouts))
        ]
        for g in groups
    ]
    yield Inside(
        READ_ONCE,
        "generate",
        lambda: engine.sample(prompts, seeds_PG, run.collector.sampling),
        lambda: engine.sample(
            [prompt for prompt, seeds in zip(prompts, seeds_PG, strict=True) for _ in seeds],
            [[seed] for seeds in seeds_PG for seed in seeds],
            run.collector.sampling,
        ),
    )
    # Where no row leaves, all go on until the longest response ends.
    longest = max(len(rollout.token_ids) for group in groups for rollout in group.rollouts)
    until = replace(run.collector.sampling, max_response_tokens=longest)

    def with_all_rows() -> None:
        tokenizer = engine.tokenizer
        engine.tokenizer = Endless(tokenizer, engine="transformers")
        engine.sample(prompts, seeds_PG, until)
        engine.tokenizer = tokenizer

    yield Inside(
        ROWS_LEAVE,
        "generate",
        lambda: engine.sample(prompts, seeds_PG, run.collector.sampling),
        with_all_rows,
    )


def update_cases(run: Run, groups: Sequence[Group]) -> Iterator[Inside]:
    """Of one update of all rollouts; every one is given an advantage unless the mean is to skip."""
    policy, config = run.policy, run.config
    as_is = training_samples(groups, config, step=0)
    alive = all_alive(as_is)
    alone = apart(alive)
    yield Inside(
        DEAD_SKIPPED,
        "update",
        lambda: policy.update(as_is),
        lambda: policy.update(alive),
    )
    yield Inside(
        COMPUTED_ONCE,
        "update",
        lambda: policy.update(alive),
        lambda: policy.update(alone),
    )

    def with_old_logps() -> None:
        policy.token_logps(alive)
        policy.update(alive)

    yield Inside(
        NO_OLD_PASS,
        "old_logps and update",
        lambda: policy.update(alive),
        with_old_logps,
    )
    padded = Padded(run)
    yield Inside(
        NO_PADDING,
        "forward and backward",
        lambda: policy.gradient(alone, surrogate=token_ratio_clipped),
        lambda: padded.gradient(alone),
    )


def all_alive(sequences: Sequence[Rollout]) -> list[Rollout]:
    """None of them is skipped, and the gradient stays what it is."""
    return [s if s.advantage else replace(s, advantage=TINIEST) for s in sequences]


def apart(sequences: Sequence[Rollout]) -> list[Rollout]:
    """Each with a prompt of its own, as long as before: another last token, up to 16 in a group."""
    return [
        replace(s, prompt_token_ids=(*s.prompt_token_ids[:-1], place % 16))
        for place, s in enumerate(sequences)
    ]


def seconds(work: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=positive, default=3)
    parser.add_argument("--only", default="", metavar="TEXT", help="the means whose name holds it")
    parser.add_argument("overrides", nargs="*", help="of conf/benchmark.yaml")
    given = parser.parse_args()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = parse(compose("benchmark", overrides=given.overrides), BenchmarkConfig)
    for case in cases(config):
        if given.only not in case.mean:
            continue
        case.used(), case.left_out()  # not counted
        used, left_out = partial(seconds, case.used), partial(seconds, case.left_out)
        pairs = [in_turn(number, used, left_out) for number in range(given.pairs)]
        print(json.dumps({"mean": case.mean, "phase": case.phase, "pairs": pairs}), flush=True)


if __name__ == "__main__":
    main()
