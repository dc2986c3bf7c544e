"""The cached rollouts of a run: complete, in order, and without the lines of a lost step."""

import json
from pathlib import Path

import pytest

from twogrpo.run_record import rollouts
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
    return [json.loads(line) for line in (folder / rollouts.FILE).read_text().splitlines()]


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


def test_a_run_saves_every_group_drawn_with_save_rollouts_alone(make_run) -> None:
    run = make_run("algorithm=two_grpo_rs")
    loop.train_step(run, 0)
    assert not (run.record.folder / rollouts.FILE).exists()
    run = make_run("algorithm=two_grpo_rs", "tracking.save_rollouts=true")
    row = loop.train_step(run, 0)
    saved = lines(run.record.folder)
    assert sum(len(line["rewards"]) for line in saved) == row["rollouts/generated"]
    assert sum(sum(line["num_tokens"]) for line in saved) == row["tokens/generated"]
