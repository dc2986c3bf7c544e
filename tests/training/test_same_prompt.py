"""Resampling of the same prompt: draws until mixed, capped, every rollout charged."""

from collections.abc import Sequence
from dataclasses import asdict

import pytest

from twogrpo.training import loop
from twogrpo.training.resampling import REDRAW, Counters, SamePromptResampling, redrawn
from twogrpo.types import Completion, Group, Prompt, Verdict

# Rewards of successive draws of four prompts: mixed at once, at the second, at the third, never.
SCRIPT = {
    "a": [(1, 0)],
    "b": [(0, 0), (0, 1)],
    "c": [(1, 1), (0, 0), (1, 0)],
    "d": [(0, 0)] * 9,
}


class Scripted:
    """A `Draw` that follows the script and counts, as the loop does."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.draws: list[list[str]] = []

    def __call__(self, count: int, *, again: Sequence[Group] = ()) -> list[Group]:
        fresh = [(draw, Prompt(name, "", "", (1,))) for draw, name in enumerate("abcd")]
        prompts = redrawn(again) or fresh
        assert len(prompts) == count
        self.draws.append([prompt.prompt_id for _, prompt in prompts])
        self.counters.generated += 2 * count
        return [
            Group(
                prompt,
                draw,
                0,
                (Completion((1,), (0.0,), "", "stop"),) * 2,
                tuple(Verdict(r, "") for r in SCRIPT[prompt.prompt_id][draw // REDRAW]),
            )
            for draw, prompt in prompts
        ]


def collect(num_draws: int) -> tuple[list[Group], Counters, list[list[str]]]:
    counters = Counters()
    draw = Scripted(counters)
    batch = SamePromptResampling(4, num_draws=num_draws).collect(draw, step=0, counters=counters)
    return batch, counters, draw.draws


def test_draws_until_mixed_and_charges_everything() -> None:
    batch, counters, draws = collect(num_draws=4)
    assert draws == [["a", "b", "c", "d"], ["b", "c", "d"], ["c", "d"], ["d"]]
    assert [group.prompt.prompt_id for group in batch] == ["a", "b", "c", "d"]
    assert [group.has_signal for group in batch] == [True, True, True, False]
    # 4 + 3 + 2 + 1 groups of 2 rollouts; 4 groups kept, the 6 that were replaced discarded.
    assert asdict(counters) == {"generated": 20, "kept": 8, "discarded": 12, "trained_on": 0}


def test_one_draw_a_prompt_is_no_resampling() -> None:
    batch, counters, draws = collect(num_draws=1)
    assert draws == [["a", "b", "c", "d"]]
    assert [group.rewards for group in batch] == [(1, 0), (0, 0), (1, 1), (0, 0)]
    assert counters.discarded == 0


def test_a_run_stays_within_its_budget_and_leaves_the_stream_alone(make_run, tmp_path) -> None:
    run = make_run(
        "algorithm=two_grpo",
        "algorithm.resampling=same_prompt",
        "algorithm.resampling_budget_group_size=8",
    )
    row = loop.train_step(run, 0)
    assert run.stream.position == 16
    assert 32 < row["rollouts/generated"] <= 16 * 8
    assert row["rollouts/kept"] == 32
    assert row["rollouts/generated"] == 32 + row["rollouts/discarded"]
    plain = loop.train_step(make_run("algorithm=two_grpo", f"output_dir={tmp_path}"), 0)
    assert row["rollouts/trained_on"] > plain["rollouts/trained_on"]


@pytest.mark.parametrize("draw", [0, 7])
def test_a_later_draw_has_a_number_of_its_own(draw: int) -> None:
    group = Group(Prompt("a", "", "", (1,)), draw, 0, ())
    assert redrawn([group]) == [(draw + REDRAW, group.prompt)]
