"""Pairs of our process and TRL's: ratios by hand, and the same work on both sides."""

import json
import sys
from argparse import Namespace

import pytest

from benchmarks import bench_peer
from benchmarks.bench_peer import Pair, our_command, peer_command, ratios
from tests.conftest import compose_config
from twogrpo.benchmark.settings import BenchmarkConfig
from twogrpo.checks import check
from twogrpo.config import parse


def pair(group_size: int, speeds: tuple[float, float], memories: tuple[int, int]) -> Pair:
    ours, peer = (
        {
            "rollouts_per_second": speed,
            "peak_memory": memory,
            "trained_share": 0.25,
            "rollouts_a_step": 32.0,
            "tokens_per_rollout": 12.0,
        }
        for speed, memory in zip(speeds, memories, strict=True)
    )
    return Pair(group_size, ours, peer)


def test_ratios_are_medians_over_pairs_of_ours_over_trl_s():
    """6/2, 8/2 and 10/1: the median of 3, 4 and 10 is 4; memory 1/2, 1/4, 3/4."""
    pairs = [
        pair(2, (6, 2), (1, 2)),
        pair(2, (8, 2), (1, 4)),
        pair(2, (10, 1), (3, 4)),
        pair(16, (5, 2), (2, 2)),
    ]
    assert ratios(pairs) == {"ratio": {"2": 4.0, "16": 2.5}, "memory_ratio": {"2": 0.5, "16": 1.0}}


def test_a_pair_says_what_was_skipped():
    assert str(pair(2, (6, 2), (2**30, 2**31))).endswith(
        "speed × 3.00  memory × 0.50  skipped 75% of ours"
    )


@pytest.fixture
def given(monkeypatch) -> Namespace:
    monkeypatch.setattr(sys, "argv", ["bench_peer.py"])
    return bench_peer.arguments()


@pytest.mark.parametrize("group_size", bench_peer.GROUP_SIZES)
def test_our_side_is_one_update_of_all_rollouts(group_size, given):
    arguments = our_command(group_size, given, seed=1)[2:]
    config = parse(compose_config(*arguments, name="benchmark"), BenchmarkConfig)
    check(config)
    assert config.rollouts_per_minibatch == bench_peer.ROLLOUTS
    assert config.updates_per_generation == 1
    assert config.dataset.max_response_tokens == bench_peer.TOKENS
    # What benchmarks/peer_trl.py asks of TRL.
    algorithm = config.algorithm
    assert (algorithm.clip_low, algorithm.clip_high, algorithm.group_size) == (
        0.2,
        0.28,
        group_size,
    )
    assert (config.training.gradient_clip_norm, config.learning_rate) == (1.0, 1e-30)
    assert (config.dataset.name, config.dataset.seed) == ("digit_arithmetic", 0)


def test_both_sides_get_the_same_numbers(given):
    command = " ".join(peer_command(16, given, seed=2))
    for word in ("--group-size=16", "--rollouts=32", "--tokens=24", "--seed=2"):
        assert word in command
    assert f"--steps={given.steps}" in command and f"--threads={given.threads}" in command
    assert f"hardware.num_threads={given.threads}" in our_command(16, given, seed=2)


def test_the_last_line_is_the_ratios(given, monkeypatch, capsys):
    monkeypatch.setattr(
        bench_peer,
        "run",
        lambda command, **_: {
            "rollouts_per_second": 1.0 if "benchmarks.peer_trl" in command else 3.0,
            "peak_memory": 2**30,
            "trained_share": 1.0,
            "rollouts_a_step": 32.0,
            "tokens_per_rollout": 12.0,
        },
    )
    bench_peer.main()
    *lines, last = capsys.readouterr().out.splitlines()
    assert json.loads(last) == {
        "ratio": {"2": 3.0, "16": 3.0},
        "memory_ratio": {"2": 1.0, "16": 1.0},
    }
    assert len([line for line in lines if "speed" in line]) == 2 * given.pairs


def test_a_process_that_fails_shows_its_message(capsys):
    command = [sys.executable, "-c", "import sys; sys.exit('no such model')"]
    with pytest.raises(SystemExit, match="failed"):
        bench_peer.run(command, threads=1)
    assert "no such model" in capsys.readouterr().err


def test_sides_that_did_not_do_the_same_work_are_no_pair():
    """Other rollouts a step, or responses that are over 15 % longer on one side."""
    ours, peer = (pair(2, (6, 2), (1, 2)).ours for _ in range(2))
    bench_peer.check_work(ours, peer | {"tokens_per_rollout": 13.7})
    bench_peer.check_work(ours | {"tokens_per_rollout": 13.7}, peer)
    for wrong, words in (
        ({"rollouts_a_step": 16.0}, "32 rollouts a step, TRL's 16"),
        ({"tokens_per_rollout": 13.9}, "12.0 tokens a rollout, TRL's 13.9"),
    ):
        with pytest.raises(SystemExit, match=words):
            bench_peer.check_work(ours, peer | wrong)
        with pytest.raises(SystemExit, match="not the same work"):
            bench_peer.check_work(peer | wrong, ours)


@pytest.mark.parametrize(
    "typed",
    ["--pairs=0", "--steps=0", "--warmup=-1", "--threads=0", "--peer-batch=0", "--peer-batch=5",
     "--tokens-per-microbatch=0", "--logits-chunk-tokens=0", "--peer-weights=int8"],
)  # fmt: skip
def test_a_wrong_argument_is_refused(typed, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_peer.py", typed])
    with pytest.raises(SystemExit) as stopped:
        bench_peer.arguments()
    assert stopped.value.code == 2
    assert typed.partition("=")[0] in capsys.readouterr().err
