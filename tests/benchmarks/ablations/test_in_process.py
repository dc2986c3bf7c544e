"""With an optimisation and without it the same work is done."""

import json
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.ablations import in_process
from benchmarks.ablations.padded_baseline import Padded, attend_in_float32
from benchmarks.throughput.config import BenchmarkConfig
from benchmarks.throughput.step_timing import open_run
from tests.conftest import compose_config
from twogrpo.config.schema import parse
from twogrpo.core.surrogates import token_ratio_clipped
from twogrpo.rollout.groups import grade_groups, sample_groups
from twogrpo.training.minibatches import training_samples
from twogrpo.training.run import Run
from twogrpo.types import Group

WORDS = (
    "training.prompts_per_step=8", "training.prompts_per_minibatch=8", "tracking=local",
    "hardware.tokens_per_microbatch=256",
)  # fmt: skip


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    config = parse(
        compose_config(*WORDS, "algorithm.group_size=4", name="benchmark"), BenchmarkConfig
    )
    with open_run(config) as (run, _):
        yield run


def groups_of(run: Run) -> list[Group]:
    drawn = run.collector.stream.next(8)
    rollouts = sample_groups(
        drawn, run.collector.sampler, run.collector.sampling, group_size=4, seed=0, step=0
    )  # fmt: skip
    return grade_groups(rollouts, run.collector.reward)


def test_the_padded_baseline_has_the_same_gradient(run):
    sequences = training_samples(groups_of(run), run.config, step=0)
    assert any(sequence.advantage for sequence in sequences)
    padded = Padded(run)
    expected = run.policy.gradient(sequences, surrogate=token_ratio_clipped)
    found = padded.gradient(sequences)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_the_padded_baseline_attends_in_float32_under_autocast():
    """Like the policy on a CPU: the result of float32, rounded once."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 9, 16, generator=generator).bfloat16()
    expected = F.scaled_dot_product_attention(
        query.float(), key.float(), value.float(), is_causal=True
    ).transpose(1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = attend_in_float32(nn.Module(), query, key, value, None)
    in_half = F.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2)
    assert torch.equal(found, expected.bfloat16()) and not torch.equal(found, in_half)


def test_tiny_advantages_are_computed_and_add_nothing(run):
    sequences = training_samples(groups_of(run), run.config, step=0)
    zeros = sum(not sequence.advantage for sequence in sequences)
    assert 0 < zeros < len(sequences)
    computed = in_process.without_zero_advantages(sequences)
    assert all(sequence.advantage for sequence in computed)
    as_is, all_computed = (
        run.policy.gradient(some, surrogate=token_ratio_clipped) for some in (sequences, computed)
    )
    torch.testing.assert_close(all_computed, as_is, rtol=1e-4, atol=1e-7)


def test_own_prompts_are_distinct_and_of_the_same_length(run):
    sequences = training_samples(groups_of(run), run.config, step=0)
    apart = in_process.with_own_prompts(sequences)
    assert len({sequence.prompt_token_ids for sequence in sequences}) == 8
    assert len({sequence.prompt_token_ids for sequence in apart}) == len(apart)
    assert [len(s.prompt_token_ids) for s in apart] == [len(s.prompt_token_ids) for s in sequences]


def test_without_leaving_every_row_continues_to_the_longest(run, monkeypatch):
    cases = {case.name: case for case in in_process.sampling_ablations(run, groups_of(run))}
    engine, drawn = run.collector.sampler.engine, []
    sample = engine.sample
    monkeypatch.setattr(engine, "sample", lambda *a: drawn.append(sample(*a)) or drawn[-1])
    together = cases["a prompt read once for its group"]
    together.used(), together.left_out()
    leaving = cases["finished rows leave the batch"]
    leaving.left_out(), leaving.used()
    lengths = [[len(r.token_ids) for group in found for r in group] for found in drawn]
    tokens = [[r.token_ids for group in found for r in group] for found in drawn]
    assert tokens[0] == tokens[1] == tokens[3], "the same draws"
    assert set(lengths[2]) == {max(lengths[0])} and len(set(lengths[0])) > 1


def printed(monkeypatch, capsys, *typed: str) -> list[dict]:
    def configuration(group_size, overrides):
        words = (*WORDS, f"algorithm.group_size={group_size}", *overrides)
        return parse(compose_config(*words, name="benchmark"), BenchmarkConfig)

    monkeypatch.setattr(in_process, "configuration", configuration)
    monkeypatch.setattr(sys, "argv", ["in_process.py", *typed])
    in_process.main()
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_each_ablation_is_a_line_at_both_group_sizes(monkeypatch, capsys):
    found = printed(monkeypatch, capsys, "--pairs=2")
    assert [(line["group_size"], line["ablation"]) for line in found] == [
        (size, name) for size in (2, 16) for name in in_process.NAMES
    ]
    for line in found:
        assert len(line["pairs"]) == 2 and min(map(min, line["pairs"])) > 0
        assert line["ratio"] == in_process.ratio(line["pairs"])


def test_only_chooses_one_ablation_and_refuses_an_unknown_one(monkeypatch, capsys):
    found = printed(monkeypatch, capsys, "--pairs=1", "--only=skipped")
    assert [line["ablation"] for line in found] == [in_process.ZERO_SKIPPED] * 2
    with pytest.raises(SystemExit) as stopped:
        printed(monkeypatch, capsys, "--only=warp")
    assert stopped.value.code == 2 and "warp" in capsys.readouterr().err


def test_overrides_replace_the_values_of_bench_peer():
    config = in_process.configuration(16, ["hardware.num_threads=1", "dataset.num_prompts=2"])
    assert (config.hardware.num_threads, config.dataset.num_prompts) == (1, 2)
    assert (config.model.name, config.algorithm.group_size) == ("smollm2_135m", 16)
