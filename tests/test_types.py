"""Groups as JSON, the form of those in a checkpoint."""

import json
from dataclasses import replace

from twogrpo.types import Completion, Group, Prompt, Verdict

ROLLOUT = Completion((4, 1), (-0.1, -1 / 3), "2", "stop")
PROMPT = Prompt("p", "1+1=", "2", (3, 17))
GROUP = Group(PROMPT, 5, 1, (ROLLOUT,), (Verdict(1.0, True, "correct"),))
WITH_PICTURES = replace(GROUP, prompt=replace(GROUP.prompt, images=(b"\x89PNG\xff", b"")))


def test_a_group_survives_json():
    for group in (GROUP, WITH_PICTURES):
        assert Group.from_json(json.loads(json.dumps(group.to_json()))) == group


def test_a_stored_verdict_without_is_correct_is_read_by_its_reason():
    old = GROUP.to_json()
    for verdict in old["verdicts"]:
        del verdict["is_correct"]
    assert Group.from_json(old) == GROUP
    old["verdicts"][0]["reason"] = "truncated"
    assert not Group.from_json(old).verdicts[0].is_correct


def test_the_json_of_a_prompt_without_images_has_no_key_for_them():
    assert set(GROUP.to_json()["prompt"]) == {"prompt_id", "text", "reference", "token_ids"}
    # "iVBOR/8=": base64 of the bytes 89 50 4e 47 ff.
    assert WITH_PICTURES.to_json()["prompt"]["images"] == ["iVBOR/8=", ""]
