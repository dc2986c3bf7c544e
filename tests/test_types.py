"""Groups as JSON, since those that resampling carries over are checkpointed so."""

import json
from dataclasses import replace

from twogrpo.types import Completion, Group, Prompt, Verdict

GROUP = Group(
    prompt=Prompt("p", "1+1=", "2", (3, 17)),
    draw=5,
    step=1,
    rollouts=(Completion((4, 1), (-0.1, -1 / 3), "2", "stop"),),
    verdicts=(Verdict(1.0, True, "correct"),),
)
WITH_PICTURES = replace(GROUP, prompt=replace(GROUP.prompt, images=(b"\x89PNG\xff", b"")))


def test_a_group_survives_json():
    for group in (GROUP, WITH_PICTURES):
        assert Group.from_json(json.loads(json.dumps(group.to_json()))) == group


def test_a_verdict_stored_before_is_correct_existed_is_read_by_its_reason():
    old = GROUP.to_json()
    for verdict in old["verdicts"]:
        del verdict["is_correct"]
    assert Group.from_json(old) == GROUP
    old["verdicts"][0]["reason"] = "truncated"
    assert not Group.from_json(old).verdicts[0].is_correct


def test_without_pictures_the_json_is_as_before_there_were_any():
    assert set(GROUP.to_json()["prompt"]) == {"prompt_id", "text", "reference", "token_ids"}
    # "iVBOR/8=": base64 of the bytes 89 50 4e 47 ff.
    assert WITH_PICTURES.to_json()["prompt"]["images"] == ["iVBOR/8=", ""]
