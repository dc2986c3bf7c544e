"""The cached rollouts of a run: complete, in order, and without the lines of a lost step."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.hostile_text import ALL, is_harmless
from twogrpo.run_record import rollouts
from twogrpo.run_record.files import read_lines
from twogrpo.training import loop
from twogrpo.types import Completion, Group, Prompt, Verdict

GROUP = Group(
    prompt=Prompt("p1", "1+1=", "2", (3, 4)),
    draw=9,
    step=0,
    rollouts=(Completion((5, 1), (0.0, 0.0), "2", "stop"), Completion((6,), (0.0,), "3", "length")),
    verdicts=(Verdict(1.0, True, "correct"), Verdict(0.0, False, "wrong")),
)


def lines(folder: Path) -> list[dict]:
    return read_lines(folder / rollouts.FILE)


def read_pairs(folder: Path) -> list[dict]:
    return read_lines(folder / rollouts.PAIRS_FILE)


def test_a_line_by_hand(tmp_path: Path) -> None:
    rollouts.append(tmp_path, 3, [GROUP])
    assert lines(tmp_path) == [
        {
            "step": 3,
            "draw": 9,
            "prompt_id": "p1",
            "prompt_tokens": [3, 4],
            "rewards": [1.0, 0.0],
            "num_tokens": [2, 1],
            "tokens": [[5, 1], [6]],
        }
    ]


def test_steps_done_again_replace_their_lines_and_a_half_line_goes(tmp_path: Path) -> None:
    for step in (0, 1, 2):
        rollouts.append(tmp_path, step, [GROUP, GROUP])
    rollouts.append(tmp_path, 1, [GROUP])
    assert [line["step"] for line in lines(tmp_path)] == [0, 0, 1]
    with (tmp_path / rollouts.FILE).open("a") as file:
        file.write('{"step": 2, "dr')
    rollouts.append(tmp_path, 2, [GROUP])
    assert [line["step"] for line in lines(tmp_path)] == [0, 0, 1, 2]


def test_groups_are_read_as_they_were_written(tmp_path: Path) -> None:
    rollouts.append(tmp_path, 0, [GROUP])
    rollouts.append(tmp_path, 1, [GROUP])
    [group] = rollouts.read(tmp_path, step=1)
    assert group == rollouts.CachedGroup(1, "p1", (3, 4), (1.0, 0.0), ((5, 1), (6,)))
    assert group.has_signal and not group.first(1).has_signal
    assert len(rollouts.read(tmp_path / rollouts.FILE)) == 2


def test_reading_what_is_not_there_is_refused(tmp_path: Path) -> None:
    assert not rollouts.has_rollouts(tmp_path)
    with pytest.raises(ValueError, match=r"tracking\.save_rollouts=true"):
        rollouts.read(tmp_path)
    rollouts.append(tmp_path, 0, [GROUP])
    with pytest.raises(ValueError, match="no group of step 7"):
        rollouts.read(tmp_path, step=7)
    (tmp_path / rollouts.FILE).write_text("no JSON\n")
    with pytest.raises(ValueError, match="cannot be read"):
        rollouts.read(tmp_path)


def test_a_run_saves_every_group_drawn_with_save_rollouts_alone(make_run) -> None:
    run = make_run("algorithm=two_grpo_rs")
    loop.train_step(run, 0)
    assert not (run.record.folder / rollouts.FILE).exists()
    run = make_run("algorithm=two_grpo_rs", "tracking.save_rollouts=true")
    row = loop.train_step(run, 0)
    saved = lines(run.record.folder)
    assert sum(len(line["rewards"]) for line in saved) == row["rollouts/generated"]
    assert sum(sum(line["num_tokens"]) for line in saved) == row["tokens/generated"]


def test_a_pair_is_the_first_right_and_the_first_wrong_response_of_a_group(tmp_path: Path) -> None:
    rights = (Verdict(0.0, False, "wrong"), Verdict(1.0, True, "correct"))
    all_wrong = replace(GROUP, verdicts=rights[:1] * 2)
    reversed_group = replace(GROUP, verdicts=rights, prompt=replace(GROUP.prompt, prompt_id="p2"))
    groups = [all_wrong, GROUP, reversed_group, GROUP]
    advantages_B = [0.0, 0.0, 1.0, -1.0, -0.5, 0.5, 9.0, 9.0]
    rollouts.append_pairs(tmp_path, 4, groups, advantages_B, count=2)
    first, second = read_pairs(tmp_path)
    assert first == {
        "step": 4,
        "prompt_id": "p1",
        "prompt": "1+1=",
        "num_rollouts": 2,
        "num_right": 1,
        "right": {"response": "2", "reward": 1.0, "advantage": 1.0},
        "wrong": {"response": "3", "reward": 0.0, "advantage": -1.0},
    }
    assert second["prompt_id"] == "p2"
    assert second["right"] == {"response": "3", "reward": 1.0, "advantage": 0.5}
    rollouts.append_pairs(tmp_path, 4, groups, advantages_B, count=1)  # the step is done again
    assert read_pairs(tmp_path) == [first]


def test_pairs_of_long_and_hostile_texts_stay_small_and_harmless(tmp_path: Path) -> None:
    long = Completion((5,), (0.0,), "".join(ALL) + "x" * 9000 + "the answer is 2", "stop")
    group = replace(GROUP, rollouts=(long, long), prompt=replace(GROUP.prompt, text="?" * 5000))
    for step in rollouts.pair_steps(40):
        rollouts.append_pairs(tmp_path, step, [group] * 12, [0.0] * 24, count=10)
    text = (tmp_path / rollouts.PAIRS_FILE).read_text()
    assert len(text) < 110_000 and is_harmless(text)
    pairs = read_pairs(tmp_path)
    assert len(pairs) == 30
    kept = pairs[0]["right"]["response"]
    assert kept.startswith(ALL[0]) and kept.endswith("xthe answer is 2")


@pytest.mark.parametrize("algorithm", ["two_grpo", "two_grpo_rs", "dpo"])
def test_a_run_keeps_pairs_of_its_first_middle_and_last_step(make_run, algorithm) -> None:
    run = make_run(f"algorithm={algorithm}", "training.epochs=2")
    loop.train(run)
    pairs = read_pairs(run.record.folder)
    steps = rollouts.pair_steps(run.config.num_steps)
    assert {pair["step"] for pair in pairs} <= steps and 0 < len(pairs) <= 10 * len(steps)
    for pair in pairs:
        assert pair["right"]["reward"] > pair["wrong"]["reward"]
        assert pair["right"]["advantage"] > 0 > pair["wrong"]["advantage"]
    assert not rollouts.has_rollouts(run.record.folder)


def test_a_run_without_pairs_writes_no_file_of_them(make_run) -> None:
    run = make_run("algorithm=two_grpo", "tracking.saved_pairs=0")
    loop.train_step(run, 0)
    assert not (run.record.folder / rollouts.PAIRS_FILE).exists()
