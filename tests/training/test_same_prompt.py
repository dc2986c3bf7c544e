"""Resampling of the same prompt: draws until mixed, at most a number of times, all counted."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from tests.conftest import make_group
from twogrpo.training import loop
from twogrpo.training.resampling import Counters, SamePromptResampling
from twogrpo.types import Draw, Group, Prompt

# Rewards of successive draws of four prompts: mixed at once, at the second, at the third, never.
SCRIPT = {
    "a": [(1, 0)],
    "b": [(0, 0), (0, 1)],
    "c": [(1, 1), (0, 0), (1, 0)],
    "d": [(0, 0)] * 9,
}


class Scripted:
    """A source of groups that follows the script and counts like the collector."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.draws: list[list[str]] = []

    def new_prompts(self, count: int) -> list[Group]:
        assert count == 4
        return self._groups([Draw(n, Prompt(name, "", "", (1,))) for n, name in enumerate("abcd")])

    def same_prompts(self, groups: Sequence[Group]) -> list[Group]:
        return self._groups([Draw(g.draw, g.prompt, g.attempt + 1) for g in groups])

    def _groups(self, draws: list[Draw]) -> list[Group]:
        self.draws.append([draw.prompt.prompt_id for draw in draws])
        self.counters.generated += 2 * len(draws)
        return [
            replace(
                make_group(SCRIPT[d.prompt.prompt_id][d.attempt], [1, 1], prompt=d.prompt),
                draw=d.number,
                attempt=d.attempt,
            )
            for d in draws
        ]


def collect(num_attempts: int) -> tuple[list[Group], Counters, list[list[str]]]:
    counters = Counters()
    source = Scripted(counters)
    resampling = SamePromptResampling(4, num_attempts=num_attempts)
    return resampling.fill(source, step=0, counters=counters), counters, source.draws


def test_a_prompt_is_drawn_until_mixed_and_every_rollout_is_counted() -> None:
    batch, counters, draws = collect(num_attempts=4)
    assert draws == [["a", "b", "c", "d"], ["b", "c", "d"], ["c", "d"], ["d"]]
    assert [group.prompt.prompt_id for group in batch] == ["a", "b", "c", "d"]
    assert [group.has_signal for group in batch] == [True, True, True, False]
    # 4 + 3 + 2 + 1 groups of 2 rollouts; 4 groups kept, the 6 that were replaced discarded.
    assert asdict(counters) == {"generated": 20, "kept": 8, "discarded": 12, "trained_on": 0}


def test_one_attempt_is_no_resampling() -> None:
    batch, counters, draws = collect(num_attempts=1)
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
    assert run.collector.stream.position == 16
    assert 32 < row["rollouts/generated"] <= 16 * 8
    assert row["rollouts/kept"] == 32
    assert row["rollouts/generated"] == 32 + row["rollouts/discarded"]
    plain = loop.train_step(make_run("algorithm=two_grpo", f"output_dir={tmp_path / 'plain'}"), 0)
    assert row["rollouts/trained_on"] > plain["rollouts/trained_on"]


def test_a_later_attempt_has_seeds_of_its_own(make_run) -> None:
    run = make_run("algorithm=two_grpo")
    first = run.collector.new_prompts(3)
    again = run.collector.same_prompts(first)
    assert [group.prompt for group in again] == [group.prompt for group in first]
    assert [(group.draw, group.attempt) for group in again] == [(0, 1), (1, 1), (2, 1)]
    assert any(a.rollouts != f.rollouts for a, f in zip(again, first, strict=True))
