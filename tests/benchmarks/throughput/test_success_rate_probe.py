"""A probe of the start model, from its command line to what the planner reads."""

import json

import pytest

from benchmarks.throughput import success_rate_probe as probing
from benchmarks.throughput.success_rate_probe import probe
from twogrpo.data.prompts import PromptProcessor, training_prompts
from twogrpo.errors import ConfigError
from twogrpo.evaluation.evaluator import BenchmarkResult
from twogrpo.preflight.zero_variance import read_probe
from twogrpo.rollout.protocol import SamplingParams

SMALL = ("probe_prompts=3", "probe_samples=4")


def test_training_s_prompts_are_asked_as_training_asks(
    benchmark_config, tokenizer, monkeypatch, tmp_path
):
    """Not at the test's temperature of 0.7; 4, 0 and 1 of 4 are right."""
    asked = []

    def evaluate(prompts, exam):
        asked.extend([prompts, exam])
        ids = [prompt.prompt_id for prompt in prompts]
        return BenchmarkResult(4, ids, [4, 0, 1], 12.34, 0.25, 0, 0, 1.0)

    monkeypatch.setattr(probing, "evaluate", evaluate)
    config = benchmark_config(*SMALL, f"probe={tmp_path / 'probe.json'}", "seed=3")
    told = probe(config)
    prompts, exam = asked
    config.dataset.num_prompts = 3
    assert prompts == training_prompts(config.dataset, PromptProcessor(tokenizer, "plain"))
    assert exam.sampling == SamplingParams(1.0, 1.0, 0, 6)
    assert (exam.num_samples, exam.seed) == (4, 3)
    assert read_probe(tmp_path / "probe.json") == [(4, 4), (0, 4), (1, 4)]
    assert told.splitlines()[0] == "3 training prompts × 4 samples: 41.7% right, 25.0% cut"
    assert told.endswith(f"probe={tmp_path / 'probe.json'} mean_response_tokens=12.34")


def test_a_real_probe_is_the_same_twice(benchmark_config, tmp_path):
    told = [
        probe(
            benchmark_config(*SMALL, f"probe={tmp_path / name}", f"hardware.rollouts_per_call={n}")
        )
        for name, n in (("a.json", 4096), ("b.json", 4))
    ]
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert first == second and [n for _, n in first.values()] == [4, 4, 4]
    assert told[0].partition("probe=")[0] == told[1].partition("probe=")[0]


def test_a_probe_is_one_process(benchmark_config, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"probe\.json starts as one process"):
        probe(benchmark_config(*SMALL, f"probe={tmp_path / 'probe.json'}"))


def test_too_many_prompts_are_told_by_the_key_that_was_typed(benchmark_config, tmp_path):
    config = benchmark_config(
        "dataset=digit_arithmetic", "probe_prompts=1000", f"probe={tmp_path / 'probe.json'}"
    )
    with pytest.raises(ConfigError, match=r"^probe_prompts=1000: .* or fewer$"):
        probe(config)
