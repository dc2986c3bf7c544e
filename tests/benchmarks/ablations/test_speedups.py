"""With a means and without it the same work is done; ratios by hand."""

import csv
import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.ablations import in_process, speedups
from benchmarks.ablations.padded_baseline import Padded, attend_in_float32
from benchmarks.ablations.speedups import Found, with_values
from benchmarks.throughput.config import BenchmarkConfig
from benchmarks.throughput.step_timing import open_run
from benchmarks.trl import compare_trl
from tests.conftest import compose_config
from twogrpo.config.schema import parse
from twogrpo.core.surrogates import token_ratio_clipped
from twogrpo.rollout.groups import grade_groups, sample_groups
from twogrpo.training.minibatches import training_samples
from twogrpo.training.run import Run
from twogrpo.types import Group

PHASES = ("generate", "update")
WORDS = (
    "training.prompts_per_step=8", "training.prompts_per_minibatch=8", "tracking=local",
    "algorithm.group_size=4", "hardware.tokens_per_microbatch=256",
)  # fmt: skip


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    config = parse(compose_config(*WORDS, name="benchmark"), BenchmarkConfig)
    with open_run(config) as (run, _):
        yield run


def groups_of(run: Run) -> list[Group]:
    drawn = run.collector.stream.next(8)
    rollouts = sample_groups(
        drawn, run.collector.sampler, run.collector.sampling, group_size=4, seed=0, step=0
    )  # fmt: skip
    return grade_groups(rollouts, run.collector.reward)


def test_the_padded_way_is_the_same_gradient(run):
    sequences = training_samples(groups_of(run), run.config, step=0)
    assert any(sequence.advantage for sequence in sequences)
    padded = Padded(run)
    expected = run.policy.gradient(sequences, surrogate=token_ratio_clipped)
    found = padded.gradient(sequences)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_the_padded_way_attends_in_float32_under_autocast():
    """As the policy does on a CPU: float32's result, rounded once."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 9, 16, generator=generator).bfloat16()
    expected = F.scaled_dot_product_attention(
        query.float(), key.float(), value.float(), is_causal=True
    ).transpose(1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = attend_in_float32(nn.Module(), query, key, value, None)
    in_half = F.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2)
    assert torch.equal(found, expected.bfloat16()) and not torch.equal(found, in_half)


def test_an_advantage_too_small_to_matter_is_computed_and_adds_nothing(run):
    sequences = training_samples(groups_of(run), run.config, step=0)
    dead = sum(not sequence.advantage for sequence in sequences)
    assert 0 < dead < len(sequences)
    alive = in_process.all_alive(sequences)
    assert all(sequence.advantage for sequence in alive)
    as_is, all_computed = (
        run.policy.gradient(some, surrogate=token_ratio_clipped) for some in (sequences, alive)
    )
    torch.testing.assert_close(all_computed, as_is, rtol=1e-4, atol=1e-7)


def test_prompts_that_are_told_apart_are_packed_one_by_one(run):
    sequences = training_samples(groups_of(run), run.config, step=0)
    apart = in_process.apart(sequences)
    assert len({sequence.prompt_token_ids for sequence in sequences}) == 8
    assert len({sequence.prompt_token_ids for sequence in apart}) == len(apart)
    assert [len(s.prompt_token_ids) for s in apart] == [len(s.prompt_token_ids) for s in sequences]


def test_every_row_goes_on_to_the_longest_where_none_leaves(run, monkeypatch):
    cases = {case.mean: case for case in in_process.sampling_cases(run, groups_of(run))}
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


def test_a_line_for_each_means(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["means_inside.py", "--pairs=2", *WORDS])
    in_process.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["mean"] for line in lines] == list(in_process.PLAIN)
    assert all(len(line["pairs"]) == 2 and min(map(min, line["pairs"])) > 0 for line in lines)


def test_one_of_them_alone(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["means_inside.py", "--pairs=1", "--only=skipped", *WORDS])
    in_process.main()
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["mean"] == in_process.DEAD_SKIPPED


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
def given() -> Namespace:
    return speedups.arguments([])


@pytest.mark.parametrize("knob", speedups.KNOBS, ids=lambda knob: knob.mean)
def test_the_sides_of_a_knob_differ_in_its_key_alone(knob, given):
    base = compare_trl.our_command(16, given, seed=0)[2:]
    used, left_out = (
        parse(compose_config(*with_values(base, value), name="benchmark"), BenchmarkConfig)
        for value in (knob.used, knob.left_out)
    )
    assert used != left_out
    assert knob.used.partition("=")[0] == knob.left_out.partition("=")[0]


def test_a_knob_s_pairs_are_two_processes_in_turn(given, monkeypatch):
    typed, caches = [], []

    def run(command, *, TORCHINDUCTOR_CACHE_DIR, **_):
        typed.append(command[-1])
        caches.append(Path(TORCHINDUCTOR_CACHE_DIR))
        assert not list(caches[-1].iterdir()), "nothing is compiled yet"
        (caches[-1] / "compiled").touch()
        return {"seconds": {"median": 2.0}, "seconds_of": {"update": 1.0, "generate": 0.5}}

    monkeypatch.setattr(compare_trl, "run", run)
    [knob] = [knob for knob in speedups.KNOBS if knob.mean == "compiled layers"]
    update, step, start = speedups.of_knob(knob, 16, given)
    turns = ["hardware.compile=true", "hardware.compile=false"]
    assert typed == turns + turns[::-1] + turns, "who is first changes, so that a drift cancels"
    assert update.pairs == [(1.0, 1.0)] * given.pairs and step.pairs == [(2.0, 2.0)] * given.pairs
    assert (start.phase, start.steps) == ("start", given.steps)
    assert not any(cache.exists() for cache in caches)


def measuring(monkeypatch, *found: Found | BaseException) -> None:
    """What is measured next, or what stops it."""

    def measured(*_: object) -> Iterator[Found]:
        for one in found:
            if isinstance(one, BaseException):
                raise one
            yield one

    monkeypatch.setattr(speedups, "measured", measured)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_the_table_and_the_csv_say_the_same(monkeypatch, capsys, tmp_path):
    path = tmp_path / "a/means.csv"
    measuring(monkeypatch, Found("a means", "update", 16, [(1, 2)]))
    monkeypatch.setattr(sys, "argv", ["means.py", f"--out={path}", "--threads=1"])
    speedups.main()
    [row] = rows_of(path)
    assert list(row)[:4] == ["mean", "phase", "group_size", "seconds_with"]
    assert (row["seconds_with"], row["ratio"], row["steps"], row["threads"]) == (
        "1.000", "2.00", "1", "1",
    )  # fmt: skip
    assert row["machine"] and row["date"] and row["commit"] == speedups.measured_commit()
    assert "2.00" in capsys.readouterr().out.splitlines()[-1]


def test_a_run_that_is_stopped_keeps_its_rows(monkeypatch, tmp_path):
    path = tmp_path / "means.csv"
    measuring(monkeypatch, Found("a means", "update", 16, [(1, 2)]), SystemExit("failed"))
    monkeypatch.setattr(sys, "argv", ["means.py", f"--out={path}"])
    with pytest.raises(SystemExit, match="failed"):
        speedups.main()
    assert [row["ratio"] for row in rows_of(path)] == ["2.00"]
    assert list(tmp_path.iterdir()) == [path]


def test_one_means_is_measured_again_and_the_others_rows_stay(monkeypatch, tmp_path):
    path = tmp_path / "means.csv"
    path.write_text("mean,phase,group_size,ratio\nfirst,step,16,1.50\nsecond,step,16,3.00\n")
    measuring(monkeypatch, Found("first", "step", 16, [(1, 2)]))
    monkeypatch.setattr(sys, "argv", ["means.py", f"--out={path}", "--only=thread"])
    speedups.main()
    assert [(row["mean"], row["ratio"]) for row in rows_of(path)] == [
        ("first", "2.00"), ("second", "3.00"),
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["means.py", f"--out={path}"])
    speedups.main()
    assert [row["mean"] for row in rows_of(path)] == ["first"], "all are measured: afresh"


def test_a_means_that_pays_in_some_pairs_only_is_marked():
    unclear, clear = (Found("a", "step", 2, [(1, 2), (1, other)]) for other in (0.5, 1.5))
    assert "?" in speedups.page([unclear, clear]) and "?" not in speedups.page([clear])


def test_without_vllm_its_means_are_left_out(given, monkeypatch, capsys):
    commands = []

    def output(command, **_):
        commands.append(" ".join(command))
        return [json.dumps({"seconds": {"median": 2.0}, "seconds_of": dict.fromkeys(PHASES, 1.0)})]

    monkeypatch.setattr(speedups, "find_spec", lambda _: None)
    monkeypatch.setattr(compare_trl, "output", output)
    monkeypatch.setattr(speedups, "inside", lambda *words: iter([words]))
    given.pairs = 1
    names = speedups.wanted("")
    assert set(speedups.NAMES) - set(names) == set(speedups.NEED_VLLM)
    [line] = capsys.readouterr().out.splitlines()
    assert all(name in line for name in speedups.NEED_VLLM)
    found = list(speedups.measured(given, names))
    assert found[:2] == [(2, given), (16, given)] and len(commands) == 2 * 6
    assert not any("rollout=vllm" in command for command in commands)
    monkeypatch.setattr(speedups, "find_spec", lambda _: True)
    assert speedups.wanted("") == list(speedups.NAMES)


def test_only_what_is_named_is_measured(given, monkeypatch):
    monkeypatch.setattr(speedups, "inside", lambda size, *_: iter([size]))
    monkeypatch.setattr(speedups, "of_knob", lambda knob, *_: iter([knob.mean]))
    monkeypatch.setattr(speedups, "find_spec", lambda _: True)
    for only, expected in {
        "π_old": [2, 16],
        "compiled": ["compiled layers"],
        "vLLM": [16, "vLLM, not transformers"],
    }.items():
        assert list(speedups.measured(given, speedups.wanted(only))) == expected


@pytest.mark.parametrize(
    "typed", ["--work=full", "--sampler=vllm", "--device=cuda", "--only=warp", "--warmup=-1"]
)
def test_an_option_that_would_be_ignored_is_refused(typed, capsys):
    with pytest.raises(SystemExit) as stopped:
        speedups.arguments([typed])
    assert stopped.value.code == 2
    assert typed.partition("=")[0] in capsys.readouterr().err
