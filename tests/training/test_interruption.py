"""An interrupted run ends as if it had not been: bit for bit, wherever it was."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.test_loop import ARMS, assert_bit_for_bit, outcome
from twogrpo.training import loop, resume


@pytest.fixture
def uninterrupted(make_run: Callable, tmp_path: Path) -> Callable[[str], dict]:
    def run(arm: str, *overrides: str) -> dict:
        folder = tmp_path / "whole"
        loop.train(make_run(*ARMS[arm], f"output_dir={folder}", *overrides))
        return outcome(folder)

    return run


class Killed(Exception):
    """Stands for a kill."""


def interrupt_at(run: Any, place: str, step: int, error: type[BaseException]) -> None:
    """Makes the run raise in that step; updates are counted from now, two a step."""
    count: Iterator[int] = iter(range(10**6))
    if place == "amid the updates":
        update = run.policy.update

        def raising_update(sequences):
            if next(count) == 2 * step + 1:  # the second of two mini-batches
                raise error
            return update(sequences)

        run.policy.update = raising_update
    elif place == "amid sampling":
        fill = run.collector.resampling.fill

        def raising_fill(source, *, step, counters, at=step):
            groups = fill(source, step=step, counters=counters)
            if step == at:
                raise error
            return groups

        run.collector.resampling.fill = raising_fill
    else:
        log = run.record.log

        def raising_log(row):
            log(row)
            if row["step"] == step:
                raise error

        run.record.log = raising_log


PLACES = ("amid sampling", "amid the updates", "after the row")


@pytest.mark.parametrize("arm", ["two_grpo", "two_grpo_rs"])
@pytest.mark.parametrize("checkpoint_every", [1, 2])
def test_a_run_interrupted_again_and_again_ends_as_the_uninterrupted_one(
    arm, checkpoint_every, make_run, uninterrupted, tmp_path
):
    """Rows, weights, Adam's moments, counters, surplus, evaluation: bit for bit."""
    every = f"checkpointing.every={checkpoint_every}"
    expected = uninterrupted(arm, every)
    for place, step in zip((*PLACES, PLACES[0]), (0, 2, 3, 5), strict=True):
        run = make_run(*ARMS[arm], every)
        first = resume.resume(run)
        assert first <= step
        # The counting of updates begins anew in this process.
        at = step - first if place == "amid the updates" else step
        interrupt_at(run, place, at, Killed)
        with pytest.raises(Killed):
            loop.train(run)
    loop.train(make_run(*ARMS[arm], every))
    assert_bit_for_bit(outcome(tmp_path / "run"), expected)
    if arm == "two_grpo_rs":
        left = [
            row["rollouts/generated"] - row["rollouts/kept"] - row["rollouts/discarded"]
            for row in expected["rows"][:-1]
        ]
        assert any(left), "no surplus crossed a step: the test proves too little"


def test_an_interruption_in_the_final_evaluation_continues(make_run, uninterrupted, tmp_path):
    expected = uninterrupted("two_grpo")
    run = make_run(*ARMS["two_grpo"])
    interrupt_at(run, "after the row", 6, Killed)
    with pytest.raises(Killed):
        loop.train(run)
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "interrupted"
    loop.train(make_run(*ARMS["two_grpo"]))
    assert_bit_for_bit(outcome(tmp_path / "run"), expected)


def test_ctrl_c_leaves_a_state_that_continues(make_run, uninterrupted, tmp_path):
    expected = uninterrupted("two_grpo_rs")
    run = make_run(*ARMS["two_grpo_rs"])
    interrupt_at(run, "amid the updates", 3, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.train(run)
    resumed = make_run(*ARMS["two_grpo_rs"])
    assert resume.resume(resumed) == 3
    loop.train(resumed)
    assert_bit_for_bit(outcome(tmp_path / "run"), expected)


def test_surplus_crosses_an_interruption(make_run):
    """The resumed run holds the very groups, log-probabilities to the last bit."""
    run = make_run(*ARMS["two_grpo_rs"])
    step = 0
    while not run.collector.resampling.surplus:
        loop.train_step(run, step)
        step += 1
    resume.save_checkpoint(run, resume.loop_state(run, step))
    resumed = make_run(*ARMS["two_grpo_rs"])
    assert resume.resume(resumed) == step
    assert resumed.collector.resampling == run.collector.resampling
    assert resumed.collector.counters == run.collector.counters
    assert resumed.collector.stream.position == run.collector.stream.position
