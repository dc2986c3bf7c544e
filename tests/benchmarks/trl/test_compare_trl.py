"""Pairs of our process and TRL's: ratios by hand, and the same work on both sides."""

import json
import sys
from argparse import Namespace

import pytest

from benchmarks.throughput.config import BenchmarkConfig
from benchmarks.trl import compare_trl, trl_step
from benchmarks.trl.compare_trl import Pair, our_command, peer_command, ratios
from tests.conftest import compose_config
from twogrpo.config.schema import parse
from twogrpo.config.validation import check
from twogrpo.data.prompts import PromptStream
from twogrpo.data.sources import training_problems
from twogrpo.types import Prompt


def pair(group_size: int, speeds: tuple[float, float], memories: tuple[int, int]) -> Pair:
    work = {"trained_share": 0.25, "rollouts_a_step": 32.0, "tokens_per_rollout": 12.0}
    ours, peer = (
        work | {"rollouts_per_second": speed, "peak_memory": memory}
        for speed, memory in zip(speeds, memories, strict=True)
    )
    return Pair(group_size, ours, peer)


def test_ratios_are_medians_over_pairs_of_ours_over_trl_s():
    """6/2, 8/2 and 10/1: the median of 3, 4 and 10 is 4; memory 1/2, 1/4, 3/4."""
    pairs = [pair(2, (6, 2), (1, 2)), pair(2, (8, 2), (1, 4)), pair(2, (10, 1), (3, 4))]
    pairs.append(pair(16, (5, 2), (2, 2)))
    assert ratios(pairs) == {"ratio": {"2": 4.0, "16": 2.5}, "memory_ratio": {"2": 0.5, "16": 1.0}}


@pytest.fixture
def given() -> Namespace:
    return compare_trl.arguments([])


def our_config(group_size: int, given: Namespace, *, seed: int = 1) -> BenchmarkConfig:
    composed = compose_config(*our_command(group_size, given, seed)[2:], name="benchmark")
    return parse(composed, BenchmarkConfig)


def peer_arguments(group_size: int, given: Namespace, *, seed: int = 1) -> Namespace:
    return trl_step.arguments(peer_command(group_size, given, seed)[3:])


@pytest.mark.parametrize("group_size", compare_trl.GROUP_SIZES)
def test_trl_gets_the_same_step(group_size, given):
    config, peer = our_config(group_size, given), peer_arguments(group_size, given)
    trl = trl_step.settings(peer, "a folder")
    check(config)
    algorithm, hardware, rollout = config.algorithm, config.hardware, config.rollout
    assert config.rollouts_per_minibatch == compare_trl.ROLLOUTS
    assert config.updates_per_step == 1
    batch = trl["per_device_train_batch_size"] * trl["gradient_accumulation_steps"]
    pairs = [
        (batch, config.rollouts_per_minibatch),
        (trl["num_generations"], group_size),
        (trl["max_steps"], config.warmup_steps + config.steps),
        (trl["max_completion_length"], config.dataset.max_response_tokens),
        (trl["epsilon"], algorithm.clip_low),
        (trl["epsilon_high"], algorithm.clip_high),
        (trl["max_grad_norm"], config.training.gradient_clip_norm),
        (trl["learning_rate"], config.learning_rate),
        (trl["temperature"], rollout.temperature),
        (trl["top_p"], rollout.top_p),
        (trl["top_k"], rollout.top_k),
        (trl["gradient_checkpointing"], hardware.activation_checkpointing),
        (trl["bf16"], hardware.dtype == "bfloat16"),
        (trl["use_cpu"], hardware.device == "cpu"),
        (trl["use_vllm"], rollout.engine == "vllm"),
        (trl["seed"], config.seed),
        (peer.threads, hardware.num_threads),
        (algorithm.group_size, group_size),
    ]
    assert [theirs for theirs, _ in pairs] == [ours for _, ours in pairs]


def test_trl_gets_the_same_step_with_vllm_too():
    given = compare_trl.arguments(
        ["--device=cuda", "--sampler=vllm", "--peer-vllm", "--workload=max_length"]
    )
    config, trl = our_config(16, given), trl_step.settings(peer_arguments(16, given), "a folder")
    assert trl["use_vllm"] and config.rollout.engine == "vllm"
    assert trl["vllm_gpu_memory_utilization"] == config.hardware.gpu_memory_share
    assert "vllm_enable_sleep_mode" not in trl and config.hardware.sleep_level == 0
    is_corrected = config.algorithm.importance_sampling_cap is not None
    assert trl["vllm_importance_sampling_correction"] == is_corrected
    assert trl["generation_kwargs"] == {"min_tokens": compare_trl.TOKENS}


@pytest.mark.parametrize("workload", ["resampled", "max_length"])
@pytest.mark.parametrize("group_size", compare_trl.GROUP_SIZES)
def test_both_sides_get_the_same_questions_in_the_same_order(group_size, workload):
    """Others in each step; with workload=max_length ours repeats those of the first step."""
    given = compare_trl.arguments([f"--workload={workload}", "--steps=4"])
    config, peer = our_config(group_size, given), peer_arguments(group_size, given)
    found = trl_step.questions(peer.questions, peer.seed)
    questions = [(question["prompt"][0]["content"], question["answer"]) for question in found]
    steps = 1 if workload == "max_length" else 1 + 4
    assert len(set(questions)) == len(questions) == steps * config.training.prompts_per_step
    problems = training_problems(config.dataset)
    prompts = [Prompt(p.problem_id, p.text, p.answer, ()) for p in problems]
    drawn = PromptStream(prompts, seed=config.seed).next(len(questions))
    assert questions == [(draw.prompt.text, draw.prompt.reference) for draw in drawn]


def test_the_result_of_trl_is_that_of_the_counted_steps():
    """2 rollouts a step: seconds 4 and 2 after the warm-up's 9, tokens 5, 7, 9 and 11."""
    given = trl_step.arguments(["--group-size=2", "--questions=3", "--rollouts=2", "--steps=2"])
    reward, timer = trl_step.Graded(end_id=0), trl_step.Timer()
    reward.lengths, reward.rewards = [24, 24, 5, 7, 9, 11], [0.0, 0.0, 1.0, 0.0, 1.0, 1.0]
    timer.seconds = [9.0, 4.0, 2.0]
    found = trl_step.found(given, reward, timer, at_start=1)
    assert found["seconds"] == {"median": 3.0, "min": 2.0, "max": 4.0}
    assert found["rollouts_per_second"] == 2 / 3 and found["rollouts_a_step"] == 2
    assert (found["tokens_per_rollout"], found["reward"]) == (8, 0.75)


def does(command: list[str], **_: object) -> dict[str, float]:
    sides = pair(2, (3.0, 1.0), (2**30, 2**30))
    return sides.peer if "benchmarks.trl.trl_step" in command else sides.ours


def test_pairs_alternate_and_a_failure_keeps_the_finished_ones(monkeypatch, capsys):
    """The second pair of G = 16 fails: the ratios are those of the three before it."""
    peers, paths = [], set()
    monkeypatch.setenv("PYTHONPATH", "/a/folder")

    def run(command, **options):
        peers.append("benchmarks.trl.trl_step" in command)
        paths.add((peers[-1], options.get("PYTHONPATH")))
        if len(peers) == 7:
            raise SystemExit("failed")
        return does(command)

    monkeypatch.setattr(sys, "argv", ["compare_trl.py"])
    monkeypatch.setattr(compare_trl, "run", run)
    with pytest.raises(SystemExit, match="failed"):
        compare_trl.main()
    *lines, last = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "speed" in line]) == 3
    # A kill after a pair leaves its ratios, too.
    assert json.loads(lines[3]) == {"ratio": {"2": 3.0}, "memory_ratio": {"2": 1.0}}
    assert json.loads(last) == {
        "ratio": {"2": 3.0, "16": 3.0},
        "memory_ratio": {"2": 1.0, "16": 1.0},
    }
    assert peers == [False, True] * 2 + [True, False] * 1 + [True]
    # TRL is found before the caller's own packages.
    assert paths == {(False, None), (True, f"{compare_trl.PEER}:/a/folder")}


def test_a_process_gets_its_variables_and_a_failure_shows_its_message(capsys):
    program = "import os, sys; print(os.environ['X'], os.environ['OMP_NUM_THREADS']); sys.exit({})"
    command = [sys.executable, "-c", program.format(0)]
    assert compare_trl.output(command, threads=3, X="there") == ["there 3"]
    with pytest.raises(SystemExit, match="failed"):
        compare_trl.run([*command[:2], program.format("'no such model'")], threads=1, X="")
    assert "no such model" in capsys.readouterr().err


def test_sides_of_different_work_are_refused():
    """Other rollouts a step, or responses that are over 15 % longer on one side."""
    ours, peer = (pair(2, (6, 2), (1, 2)).ours for _ in range(2))
    compare_trl.check_work(ours, peer | {"tokens_per_rollout": 13.7})
    compare_trl.check_work(ours | {"tokens_per_rollout": 13.7}, peer)
    for wrong in ({"rollouts_a_step": 16.0}, {"tokens_per_rollout": 13.9}):
        for sides in ((ours, peer | wrong), (peer | wrong, ours)):
            with pytest.raises(SystemExit, match="not the same work"):
                compare_trl.check_work(*sides)


@pytest.mark.parametrize(
    "typed",
    ["--pairs=0", "--steps=0", "--warmup=-1", "--threads=0", "--peer-batch=0", "--peer-batch=5",
     "--tokens-per-microbatch=0", "--logits-chunk-tokens=0", "--peer-weights=int8"],
)  # fmt: skip
def test_a_wrong_argument_is_refused(typed, capsys):
    with pytest.raises(SystemExit) as stopped:
        compare_trl.arguments([typed])
    assert stopped.value.code == 2
    assert typed.partition("=")[0] in capsys.readouterr().err
