"""With a means and without it the same work is done; ratios by hand."""

import json
import sys
from argparse import Namespace
from collections.abc import Iterator

import pytest
import torch

from benchmarks import bench_peer, means, means_inside
from benchmarks.means import Found, with_values
from tests.conftest import compose_config
from twogrpo.batches import weighted_sequences
from twogrpo.benchmark.settings import BenchmarkConfig
from twogrpo.benchmark.steps import open_run
from twogrpo.config import parse
from twogrpo.core.surrogates import token_ratio_clipped
from twogrpo.records import Group
from twogrpo.run import Run
from twogrpo.sampling import sample_groups, score

WORDS = (
    "training.prompts_per_generation=8", "training.prompts_per_minibatch=8", "tracking=local",
    "algorithm.group_size=4", "hardware.tokens_per_microbatch=256",
)  # fmt: skip


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    config = parse(compose_config(*WORDS, name="benchmark"), BenchmarkConfig)
    with open_run(config) as (run, _):
        yield run


def groups_of(run: Run) -> list[Group]:
    drawn = run.stream.next(8)
    rollouts = sample_groups(
        drawn, run.rollout, run.sampling, group_size=4, seed=0, generation=0
    )  # fmt: skip
    return score(rollouts, run.reward)


def test_the_padded_way_is_the_same_gradient(run):
    sequences = weighted_sequences(groups_of(run), run.config, generation=0)
    assert any(sequence.advantage for sequence in sequences)
    padded = means_inside.Padded(run)
    expected = run.policy.gradient(sequences, surrogate=token_ratio_clipped)
    found = padded.gradient(sequences)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_an_advantage_too_small_to_matter_is_computed_and_adds_nothing(run):
    sequences = weighted_sequences(groups_of(run), run.config, generation=0)
    dead = sum(not sequence.advantage for sequence in sequences)
    assert 0 < dead < len(sequences)
    alive = means_inside.all_alive(sequences)
    assert all(sequence.advantage for sequence in alive)
    as_is, all_computed = (
        run.policy.gradient(some, surrogate=token_ratio_clipped) for some in (sequences, alive)
    )
    torch.testing.assert_close(all_computed, as_is, rtol=1e-4, atol=1e-7)


def test_prompts_that_are_told_apart_are_packed_one_by_one(run):
    sequences = weighted_sequences(groups_of(run), run.config, generation=0)
    apart = means_inside.apart(sequences)
    assert len({sequence.prompt_token_ids for sequence in sequences}) == 8
    assert len({sequence.prompt_token_ids for sequence in apart}) == len(apart)
    assert [len(s.prompt_token_ids) for s in apart] == [len(s.prompt_token_ids) for s in sequences]


def test_every_row_goes_on_to_the_longest_where_none_leaves(run, monkeypatch):
    cases = {case.mean: case for case in means_inside.sampling_cases(run, groups_of(run))}
    engine, drawn = run.rollout.engine, []
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


def test_a_line_for_each_means(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["means_inside.py", "--pairs=2", *WORDS])
    means_inside.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len({line["mean"] + line["phase"] for line in lines}) == len(lines) == 6
    assert all(len(line["pairs"]) == 2 and min(map(min, line["pairs"])) > 0 for line in lines)


def test_ratios_are_without_over_with():
    """1.5/1, 4/2 and 3/1: the median of 1.5, 2 and 3 is 2."""
    row = Found("a means", "update", 16, [(1, 1.5), (2, 4), (1, 3)]).row()
    assert (row["ratio"], row["least"], row["most"]) == ("2.00", "1.50", "3.00")
    assert (row["seconds_with"], row["seconds_without"], row["pairs"]) == ("1.000", "3.000", 3)


def test_a_value_takes_the_place_of_the_key_s_own():
    command = ["python", "x.py", "rollout=transformers", "rollout.canary_prompts=0", "seed=1"]
    assert with_values(command, "rollout=vllm", "work=full") == [
        "python", "x.py", "rollout.canary_prompts=0", "seed=1", "rollout=vllm", "work=full",
    ]  # fmt: skip


@pytest.fixture
def given(monkeypatch) -> Namespace:
    monkeypatch.setattr(sys, "argv", ["means.py"])
    return bench_peer.our_arguments().parse_args()


@pytest.mark.parametrize("knob", means.KNOBS, ids=lambda knob: knob.mean)
def test_the_sides_of_a_knob_differ_in_its_key_alone(knob, given):
    base = bench_peer.our_command(16, given, seed=0)[2:]
    used, left_out = (
        parse(compose_config(*with_values(base, value), name="benchmark"), BenchmarkConfig)
        for value in (knob.used, knob.left_out)
    )
    assert used != left_out
    assert knob.used.partition("=")[0] == knob.left_out.partition("=")[0]


def test_a_knob_s_pairs_are_two_processes_in_turn(given, monkeypatch):
    typed = []

    def run(command, **_):
        typed.append(command[-1])
        return {"seconds": {"median": 2.0}, "seconds_of": {"update": 1.0, "generate": 0.5}}

    monkeypatch.setattr(bench_peer, "run", run)
    [knob] = [knob for knob in means.KNOBS if knob.mean == "compiled layers"]
    update, step, start = means.of_knob(knob, 16, given)
    turns = ["hardware.compile=true", "hardware.compile=false"]
    assert typed == turns + turns[::-1] + turns, "who is first changes, so that a drift cancels"
    assert update.pairs == [(1.0, 1.0)] * given.pairs and step.pairs == [(2.0, 2.0)] * given.pairs
    assert start.phase == "start"


def test_the_table_and_the_csv_say_the_same(monkeypatch, capsys, tmp_path):
    found = [Found("a means", "update", 16, [(1, 2)])]
    monkeypatch.setattr(means, "measured", lambda given: iter(found))
    monkeypatch.setattr(sys, "argv", ["means.py", f"--out={tmp_path / 'a/means.csv'}"])
    means.main()
    header, row = (tmp_path / "a/means.csv").read_text().splitlines()
    assert header.startswith("mean,phase,group_size") and row.startswith("a means,update,16,1.000")
    assert "2.00" in capsys.readouterr().out.splitlines()[-1]
