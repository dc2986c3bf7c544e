"""How often the start model is right on its training prompts: what dead groups are forecast from.

Sampled as in training: at another temperature other groups are dead.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from benchmarks.throughput.config import BenchmarkConfig, check_benchmark
from twogrpo.config.validation import check
from twogrpo.data.prompts import longest, training_prompts
from twogrpo.distributed.process_setup import prepare_process
from twogrpo.errors import ConfigError
from twogrpo.evaluation.evaluator import BenchmarkResult, Evaluator, evaluate
from twogrpo.models.load import load_processor
from twogrpo.rewards.build import build_checked_reward
from twogrpo.rollout.build import build_sampler
from twogrpo.rollout.protocol import SamplingParams


def probe(config: BenchmarkConfig) -> str:
    """Writes {"prompt": [correct, samples]} to the file `config.probe`; returns what to do with it.

    Raises:
        ConfigError: a value is wrong, the model cannot be loaded, or there are too few prompts.
    """
    check(config)
    check_benchmark(config)
    found = _ask(config)
    counts = zip(found.problem_ids, found.num_correct, strict=True)
    content = {prompt: [correct, found.num_samples] for prompt, correct in counts}
    assert config.probe is not None
    Path(config.probe).write_text(json.dumps(content) + "\n", encoding="utf-8")
    return (
        f"{len(content)} training prompts × {found.num_samples} samples: {found.mean:.1%} right, "
        f"{found.truncated_fraction:.1%} cut\n"
        f"scripts/preflight.py … probe={config.probe} mean_response_tokens={found.tokens_mean:.4g}"
    )


def _ask(config: BenchmarkConfig) -> BenchmarkResult:
    prepare_process(config.hardware)
    dataset = replace(config.dataset, num_prompts=config.probe_prompts)
    processor = load_processor(config.model)
    try:
        prompts = training_prompts(dataset, processor)
    except ConfigError as error:  # of the number of prompts, which was typed by another name
        raise ConfigError(str(error).replace("dataset.num_prompts", "probe_prompts")) from error
    rollout, limit = config.rollout, dataset.max_response_tokens
    with (
        closing(
            build_checked_reward(config.reward, prompts, where=f"dataset={dataset.name}")
        ) as reward,
        closing(
            build_sampler(
                rollout,
                config.model,
                config.hardware,
                processor.tokenizer,
                context_tokens=longest(prompts) + limit,
                image_processor=processor.image_processor,
            )
        ) as engine,
    ):
        evaluator = Evaluator(
            engine,
            reward,
            SamplingParams(rollout.temperature, rollout.top_p, rollout.top_k, limit),
            num_samples=config.probe_samples,
            seed=config.seed,
            rollouts_per_chunk=config.hardware.rollouts_per_call,
        )
        return evaluate(prompts, evaluator)
