"""A step that is not finite is not taken; what it was made of is kept, and taken apart alone."""

import json
import math
import re
from dataclasses import replace

import pytest
import torch

from tests.conftest import compose_config
from tests.training.test_loop import BRIEF, full_disk
from twogrpo.config.schema import parse
from twogrpo.config.script_schemas import ReplayConfig
from twogrpo.errors import ConfigError, NotFiniteFault
from twogrpo.policy.protocol import UpdateMetrics
from twogrpo.run_record.files import read_rows
from twogrpo.training import loop, nonfinite_step, replay

ARM = ["algorithm=two_grpo", *BRIEF]
NOTHING_DONE = UpdateMetrics(0.0, 0.0, 0.0, 0.0, 0, 0)


def weights(run) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in run.policy.weights()}


@pytest.fixture
def poisoned(make_run, tmp_path):
    """A run stopped at its second step by a log π_old of −1e38: that ratio is inf."""
    run = make_run(*ARM)
    update, seen = run.policy.update, []

    def poisoned_update(sequences):
        seen.append(weights(run))
        if len(seen) == 4:  # the second mini-batch of the second step
            bad = next(i for i, s in enumerate(sequences) if s.advantage < 0)
            sequences[bad].old_logps[0] = -1e38
            run.poisoned = bad
        return update(sequences)

    run.policy.update = poisoned_update
    with pytest.raises(NotFiniteFault) as stopped:
        loop.train(run)
    run.weights_before, run.message = seen[-1], str(stopped.value)
    assert stopped.value.exit_code == 70
    return run


def test_it_stops_before_the_step_and_says_how_to_take_it_apart(poisoned, tmp_path):
    folder = tmp_path / "run/bad_batch-000001-1"
    assert re.search(r"step 1, mini-batch 1: loss (inf|nan)", poisoned.message)
    assert f"`python scripts/replay.py batch={folder}`" in poisoned.message
    for name, tensor in weights(poisoned).items():
        assert torch.equal(tensor, poisoned.weights_before[name])
    assert [row["step"] for row in read_rows(tmp_path / "run")] == [0]


def test_a_disk_too_full_to_keep_it_does_not_hide_what_happened(make_run, tmp_path):
    run = make_run(*ARM)
    run.policy.objective = replace(
        run.policy.objective, surrogate=lambda logps, *_, **__: logps * math.nan
    )
    (step, *_) = steps_of(run)
    with (
        full_disk(),
        pytest.raises(NotFiniteFault, match=r"mini-batch 0: loss nan .*not kept: .*disk is full"),
    ):
        loop.update(run, step)
    assert not list((tmp_path / "run").rglob(".*.tmp"))


def steps_of(run) -> list[nonfinite_step.OptimizerStep]:
    """The mini-batches of the first step."""
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "update", lambda run, step: steps.append(step) or NOTHING_DONE)
        loop.train_step(run, 0)
    return steps


def test_the_batch_is_kept_with_ids_tokens_rewards(poisoned, tmp_path):
    content = json.loads((tmp_path / "run/bad_batch-000001-1/batch.json").read_text())
    assert content["step"] == content["minibatch"] == 1
    sequences = content["sequences"]
    assert len(sequences) == 16  # 8 prompts × 2
    for first, second in zip(sequences[::2], sequences[1::2], strict=True):
        assert first["prompt_id"] == second["prompt_id"]
        assert first["prompt_token_ids"] == second["prompt_token_ids"]
        mixed = first["reward"] != second["reward"]
        assert (first["advantage"] != 0) == (second["advantage"] != 0) == mixed
        assert {first["reward"], second["reward"]} <= {0.0, 1.0}
    assert sequences[poisoned.poisoned]["old_logps"][0] == pytest.approx(-1e38)


def replayed(poisoned, folder) -> list[replay.Part]:
    return replay.replay(ReplayConfig(batch=str(folder), hardware=poisoned.config.hardware))


def test_replay_names_the_first_sequence_that_is_not_finite(poisoned, tmp_path):
    parts = replayed(poisoned, tmp_path / "run/bad_batch-000001-1")
    assert [p.place for p in parts if not p.is_finite] == [poisoned.poisoned]
    assert parts[poisoned.poisoned].objective == -math.inf
    for part in parts:
        if part.advantage == 0:
            assert (part.objective, part.gradient_norm) == (0, 0)
    said = replay.report(parts)
    assert f"1 sequences are not finite, the first at place {poisoned.poisoned}," in said
    assert said.count("\n") == len(parts) + 2


def test_replay_s_parts_are_those_of_the_policy_that_was_there(make_run, tmp_path):
    """A finite step after an update, kept by hand: norms as the run's own policy has them."""
    run = make_run(*ARM)
    seen = []
    update = loop.update

    def spy(run, step):
        if step.minibatch == 1:
            nonfinite_step.save(step, run.policy, run.config, reason="to look at", is_writer=True)
            surrogate = run.policy.objective.surrogate
            seen.extend(
                run.policy.gradient([s], surrogate=surrogate).norm().item() for s in step.sequences
            )
        return update(run, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "update", spy)
        loop.train_step(run, 0)
    parts = replayed(run, tmp_path / "run/bad_batch-000000-1")
    assert [part.gradient_norm for part in parts] == pytest.approx(seen, rel=1e-6)
    assert sum(part.gradient_norm > 0 for part in parts) > 2


def test_replay_computes_as_the_run_did_unless_told_otherwise(make_run, tmp_path, capsys):
    """An overflow of bfloat16 would be finite in float32."""
    run = make_run(*ARM, "hardware.dtype=bfloat16", "hardware.tokens_per_microbatch=99")
    (step, *_) = steps_of(run)
    folder = nonfinite_step.save(step, run.policy, run.config, reason="to look at", is_writer=True)
    surrogate = run.policy.objective.surrogate
    norms = [run.policy.gradient([s], surrogate=surrogate).norm().item() for s in step.sequences]

    def replayed(*typed: str) -> list[float]:
        composed = compose_config(f"batch={folder}", *typed, name="replay")
        return [part.gradient_norm for part in replay.replay(parse(composed, ReplayConfig))]

    assert replayed() == norms
    in_float32 = replayed("hardware=cpu")
    assert in_float32 != norms
    assert replayed("hardware=cpu", "hardware.dtype=bfloat16") == norms
    assert capsys.readouterr().err == ""
    content = json.loads((folder / "batch.json").read_text())
    content["config"]["hardware"]["device"] = "cuda"
    (folder / "batch.json").write_text(json.dumps(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        assert replayed() == norms
    said = capsys.readouterr().err
    assert "hardware.device=cuda is not here: recomputed on the CPU, in the run's bfloat16" in said


def test_a_folder_that_is_no_batch_is_a_mistake_with_its_remedy(poisoned, tmp_path):
    with pytest.raises(ConfigError, match=r"batch=.* holds no batch .*bad_batch-… folder"):
        replayed(poisoned, tmp_path)


def test_a_prompt_s_name_cannot_speak_to_the_terminal():
    part = replay.Part(0, "\x1b[2J\rgone", 1.0, 1.0, 3, 0.5, -1.0, 0.1)
    assert "\x1b" not in replay.report([part])
    assert "every sequence is finite here" in replay.report([part])
