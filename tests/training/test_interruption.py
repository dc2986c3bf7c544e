"""An interrupted run ends like an uninterrupted one, bit for bit, wherever it was interrupted."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.outcomes import assert_bit_for_bit, assert_surplus_crossed_a_step, outcome, run_json
from tests.training.test_loop import ARMS
from twogrpo.errors import ConfigError
from twogrpo.training import loop, resume


@pytest.fixture
def uninterrupted(make_run: Callable, tmp_path: Path) -> Callable[[str], dict]:
    def run(arm: str, *overrides: str) -> dict:
        folder = tmp_path / "uninterrupted"
        loop.train(make_run(*ARMS[arm], f"output_dir={folder}", *overrides))
        return outcome(folder)

    return run


class Killed(Exception):
    """Stands for a kill."""


def interrupt_at(run: Any, place: str, step: int, error: type[BaseException]) -> None:
    """Makes the run raise in that step; updates are counted from now, two a step."""
    count: Iterator[int] = iter(range(10**6))
    if place == "during the updates":
        update = run.policy.update

        def raising_update(sequences):
            if next(count) == 2 * step + 1:  # the second of two mini-batches
                raise error
            return update(sequences)

        run.policy.update = raising_update
    elif place == "during sampling":
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


KL = "policy/kl_from_start"
PLACES = ("during sampling", "during the updates", "after the row")


@pytest.mark.parametrize("arm", ["two_grpo", "two_grpo_rs"])
@pytest.mark.parametrize("checkpoint_every", [1, 2])
def test_a_run_interrupted_four_times_ends_like_the_uninterrupted_one(
    arm, checkpoint_every, make_run, uninterrupted, tmp_path
):
    """Rows, weights, Adam's moments, counters, surplus, evaluation: bit for bit."""
    every = f"checkpointing.every={checkpoint_every}"
    expected = uninterrupted(arm, every)
    for place, step in zip((*PLACES, PLACES[0]), (0, 2, 3, 5), strict=True):
        run = make_run(*ARMS[arm], every)
        first = resume.resume(run)
        assert first <= step
        # Updates are counted from the start of this process.
        at = step - first if place == "during the updates" else step
        interrupt_at(run, place, at, Killed)
        with pytest.raises(Killed):
            loop.train(run)
    loop.train(make_run(*ARMS[arm], every))
    assert_bit_for_bit(outcome(tmp_path / "run"), expected)
    if arm == "two_grpo_rs":
        assert_surplus_crossed_a_step(expected)


@pytest.mark.parametrize(
    ("arm", "place", "step", "error"),
    [
        ("two_grpo", "after the row", 6, Killed),  # in the final evaluation
        ("two_grpo_rs", "during the updates", 3, KeyboardInterrupt),
    ],
)
def test_a_run_interrupted_once_continues_where_it_was(
    arm, place, step, error, make_run, uninterrupted, tmp_path
):
    expected = uninterrupted(arm)
    run = make_run(*ARMS[arm])
    interrupt_at(run, place, step, error)
    with pytest.raises(error):
        loop.train(run)
    assert run_json(tmp_path / "run")["status"] == "interrupted"
    resumed = make_run(*ARMS[arm])
    assert resume.resume(resumed) == step
    loop.train(resumed)
    assert_bit_for_bit(outcome(tmp_path / "run"), expected)


def test_the_checkpoints_of_another_run_are_not_adopted(make_run, tmp_path):
    """Their run.json is gone, or another run's lies in its place."""
    run = make_run("seed=1")
    interrupt_at(run, "after the row", 2, Killed)
    with pytest.raises(Killed):
        loop.train(run)
    (tmp_path / "run/run.json").unlink()
    with pytest.raises(ConfigError, match=r"holds checkpoints and no run\.json"):
        make_run("seed=1")
    (tmp_path / "run").rename(tmp_path / "of seed 1")
    make_run("seed=2").record.interrupt("a test")
    other = tmp_path / "run"
    for name in ("checkpoints", "metrics.jsonl"):
        (tmp_path / "of seed 1" / name).rename(other / name)
    before = sorted((other / "checkpoints").rglob("*"))
    with pytest.raises(ConfigError, match=r"000002 belongs to another config \(seed=1 there"):
        loop.train(make_run("seed=2"))
    assert sorted((other / "checkpoints").rglob("*")) == before


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapters_interrupted_end_like_the_uninterrupted_ones(
    dtype, make_run, uninterrupted, tmp_path
):
    """The DPO arm, whose reference policy is the model without them."""
    given = ["algorithm=dpo", "lora=rank_32", "training.learning_rate=1e-4"]
    given += [f"hardware.dtype={dtype}", "tracking.gradient_cosine_every=2"]
    expected = uninterrupted("two_grpo", *given)
    assert expected["rows"][5][KL] > 3 * expected["rows"][0][KL]
    assert all(".lora_" in name for name in expected["tensors"])
    for place, step in (("during the updates", 2), ("after the row", 4)):
        run = make_run(*ARMS["two_grpo"], *given)
        interrupt_at(run, place, step - resume.resume(run), Killed)
        with pytest.raises(Killed):
            loop.train(run)
    loop.train(make_run(*ARMS["two_grpo"], *given))
    assert_bit_for_bit(outcome(tmp_path / "run"), expected)


def test_a_resumed_run_reads_while_its_sampler_sleeps_and_a_new_one_makes_no_state(
    make_run, monkeypatch
):
    """On one GPU the moments that are read have only the room of the sampler."""
    common = [*ARMS["two_grpo"], "checkpointing.every=1"]
    run, calls = make_run(*common), list[str]()
    with monkeypatch.context() as patched:
        patched.setattr(run.policy, "state", lambda: calls.append("state"))
        assert resume.resume(run) == 0
    assert calls == []
    interrupt_at(run, "during sampling", 1, Killed)
    with pytest.raises(Killed):
        loop.train(run)
    run = make_run(*common)
    state, sampler = run.policy.state, run.collector.sampler
    load = sampler.load
    monkeypatch.setattr(run.policy, "state", lambda: calls.append("state") or state())
    monkeypatch.setattr(sampler, "sleep", lambda: calls.append("sleep"))
    monkeypatch.setattr(sampler, "load", lambda weights: calls.append("load") or load(weights))
    assert resume.resume(run) == 1
    assert calls == ["sleep", "state", "load"]
