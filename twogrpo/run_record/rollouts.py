"""A run's cached rollouts, `rollouts.jsonl`: one line a group, so that questions about group size
can be asked again without sampling (scripts/what_if.py, analysis/theory/).

A line: step, draw, prompt_id, prompt_tokens, and for each rollout its reward, its number of tokens
and its tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twogrpo.run_record.files import write_atomically
from twogrpo.types import Group

FILE = "rollouts.jsonl"


def append(folder: Path, step: int, groups: Sequence[Group]) -> None:
    """Writes the groups drawn in a step; lines of `step` and later are of a run that was cut
    off before its checkpoint, and go first.
    """
    path = folder / FILE
    if _last_step(path) >= step:
        kept = [line for line in path.read_text().splitlines(keepends=True) if _step(line) < step]
        write_atomically(path, "".join(kept))
    with path.open("a") as file:
        file.writelines(json.dumps(_line(step, group)) + "\n" for group in groups)


def _line(step: int, group: Group) -> dict[str, Any]:
    return {
        "step": step,
        "draw": group.draw,
        "prompt_id": group.prompt.prompt_id,
        "prompt_tokens": group.prompt.token_ids,
        "rewards": group.rewards,
        "num_tokens": [len(rollout.token_ids) for rollout in group.rollouts],
        "tokens": [rollout.token_ids for rollout in group.rollouts],
    }


def _last_step(path: Path) -> int:
    """Of the last line; a half-written one counts as of any step."""
    if not path.exists() or path.stat().st_size == 0:
        return -1
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16 * 2**20))
        return _step(file.read().splitlines(keepends=True)[-1].decode())


def _step(line: str) -> int:
    """The step of a line; of one without an end, later than any."""
    return int(json.loads(line)["step"]) if line.endswith("\n") else 2**62
