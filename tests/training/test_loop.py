"""The loop: its numbers and its record."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from tests.outcomes import assert_bit_for_bit, outcome, run_json, timeless
from twogrpo.errors import CheckpointFault
from twogrpo.run_record.files import read_rows
from twogrpo.training import loop

# 24 prompts × 4 epochs / 16 a step: 6 steps. With pairs 2 mini-batches a step.
ARMS = {
    "grpo": ["algorithm=grpo", "algorithm.group_size=4", "training.prompts_per_minibatch=4"],
    "two_grpo": ["algorithm=two_grpo"],
    "two_grpo_rs": ["algorithm=two_grpo_rs", "algorithm.resampling_budget_group_size=5"],
}
# For tests that do not look at the evaluation.
BRIEF = ["evaluation.benchmarks=[longer]", "evaluation.validation_every=0"]


@contextmanager
def full_disk(num_bytes: int = 20_000) -> Iterator[None]:
    """Limits the size of every file of this process (EFBIG in place of ENOSPC)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_dropped_prompts_are_counted_in_the_record(make_run, tmp_path, capsys):
    """Of the 24 prompts 3 have 12 tokens; 6 steps of 16 draw the other 21 4.57 times."""
    make_run("dataset.max_prompt_tokens=10", *BRIEF)
    assert run_json(tmp_path / "run")["prompts"] == {
        "training": {"used": 21, "dropped": 3},
        "benchmarks": {"longer": {"used": 3, "dropped": 0}},
    }
    printed = capsys.readouterr().err
    assert "dataset.num_prompts=24; 3 of them" in printed and "4.57 times" in printed


@pytest.mark.parametrize("arm", ARMS)
def test_rows_and_counters_of_a_run(arm, make_run, tmp_path):
    run = make_run(*ARMS[arm])
    config = run.config
    loop.train(run)
    *steps, final = read_rows(tmp_path / "run")
    assert [row["step"] for row in steps] == list(range(6))
    assert final["step"] == 6
    generated = [row["rollouts/generated"] for row in steps]
    per_step = 16 * config.algorithm.group_size
    for step, row in enumerate(steps):
        assert row["rollouts/kept"] == (step + 1) * per_step
        assert row["rollouts/trained_on"] <= row["rollouts/kept"] <= row["rollouts/generated"]
        assert 0 <= row["reward/mean"] <= 1
        assert row["groups/contrastive_share"] == pytest.approx(1 - row["groups/discard_rate"])
        assert row["policy/gradient_norm"] > 0
        assert row["policy/entropy"] > 0
        assert row["tokens/generated"] >= row["tokens/trained_on"] > 0
        for phase in ("generate", "score", "old_logps", "measure", "update", "sync"):
            assert row[f"seconds/{phase}"] > 0
            assert 0.05 < row[f"memory/{phase}_gib"] < 64
    if arm == "two_grpo_rs":
        assert all(count <= (g + 1) * 16 * 5 for g, count in enumerate(generated))
        assert steps[-1]["rollouts/discarded"] > 0
        assert steps[-1]["rollouts/trained_on"] > 0.9 * steps[-1]["rollouts/kept"]
    else:
        assert generated == [(g + 1) * per_step for g in range(6)]
        assert steps[-1]["rollouts/discarded"] == 0
    # The start policy samples the first step: KL from the start is zero, and then is not.
    assert steps[0]["policy/kl_from_start"] == pytest.approx(0, abs=1e-6)
    assert steps[-1]["policy/kl_from_start"] > 1e-5
    # Validation at steps 0, 4 and the last; the evaluation at the end, for every benchmark.
    assert [row["step"] for row in steps if "validation/mean" in row] == [0, 4, 5]
    for benchmark in config.evaluation.benchmarks:
        assert len(final[f"evaluation/{benchmark}/num_correct"]) == 3
        assert final[f"evaluation/{benchmark}/num_samples"] == 4
    about = run_json(tmp_path / "run")
    assert about["status"] == "finished"
    assert about["summary"]["rollouts/generated"] == generated[-1]


def test_an_export_to_a_full_disk_is_code_74_and_is_made_by_the_next_start(make_run, tmp_path):
    """safetensors raises an error of its own, not OSError."""
    run = make_run(*ARMS["two_grpo"], *BRIEF)
    export = run.policy.export

    def export_to_a_full_disk(folder):
        with full_disk():
            export(folder)

    run.policy.export = export_to_a_full_disk
    with pytest.raises(CheckpointFault, match="the disk is full") as stopped:
        loop.train(run)
    assert stopped.value.exit_code == 74 and "\n" not in str(stopped.value)
    assert not list((tmp_path / "run").glob(".*")) and not (tmp_path / "run/final").exists()
    loop.train(make_run(*ARMS["two_grpo"], *BRIEF))
    assert (tmp_path / "run/final/model.safetensors").exists()


def test_the_learning_rate_warms_up_over_optimizer_steps(make_run, tmp_path):
    """Two updates a step; 3 warm-up updates to 8 · 1e-3."""
    loop.train(make_run("algorithm=two_grpo", "training.warmup_updates=3", *BRIEF))
    rates = [row["policy/learning_rate"] for row in read_rows(tmp_path / "run")[:-1]]
    assert rates == pytest.approx([8e-3 * 2 / 3, *[8e-3] * 5])


def test_the_sampler_follows_the_policy(make_run):
    """π_old ← π_θ after every step: sampler and policy then agree on every token."""
    run = make_run("algorithm=two_grpo")
    for step in range(2):
        loop.train_step(run, step)
        sampler = dict(run.collector.sampler.engine.model.state_dict())
        for name, weight in run.policy.weights():
            assert torch.equal(sampler[name], weight), name


def test_old_policy_is_fixed_before_the_first_update(make_run, tmp_path):
    """In the second mini-batch π_old is the policy that sampled, not the updated one."""
    run = make_run("algorithm=two_grpo")
    seen = []
    update = run.policy.update

    def spy(sequences):
        seen.append(sequences)
        return update(sequences)

    run.policy.update = spy
    old = make_run("algorithm=two_grpo", f"output_dir={tmp_path / 'start'}").policy
    loop.train_step(run, 0)
    first, second = seen
    assert all(sequence.old_logps is None for sequence in first)
    alive = [sequence for sequence in second if sequence.advantage]
    for sequence, expected in zip(alive, old.token_logps(alive), strict=True):
        torch.testing.assert_close(sequence.old_logps, expected, atol=1e-5, rtol=0)
    moved = run.policy.token_logps(alive)
    assert any(
        not torch.allclose(s.old_logps, now, atol=1e-3) for s, now in zip(alive, moved, strict=True)
    )


def test_runs_of_one_seed_are_equal_bit_for_bit_and_of_another_differ(make_run, tmp_path):
    outcomes = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        folder = tmp_path / name
        loop.train(make_run(*ARMS["two_grpo_rs"], *BRIEF, f"output_dir={folder}", f"seed={seed}"))
        outcomes.append(outcome(folder))
    assert_bit_for_bit(outcomes[1], outcomes[0])
    assert outcomes[2]["rows"] != outcomes[0]["rows"]


def test_hardware_keys_change_no_number_beyond_rounding(make_run, tmp_path):
    """The same rollouts, the same counts, the same gradient norms to rounding."""
    knobs = [
        "hardware.tokens_per_microbatch=64",
        "hardware.rollouts_per_call=6",
        "hardware.logits_chunk_tokens=5",
    ]
    common = [*ARMS["two_grpo"], "evaluation.at_end=false"]
    for name, extra in (("a", []), ("b", knobs)):
        loop.train(make_run(*common, f"output_dir={tmp_path / name}", *extra))
    for one, other in zip(read_rows(tmp_path / "a"), read_rows(tmp_path / "b"), strict=True):
        assert timeless(other) == pytest.approx(timeless(one), rel=2e-3, abs=1e-5)
