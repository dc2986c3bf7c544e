"""The cached rollouts of a run, `rollouts.jsonl`: one line a group.

With them, questions about the group size are answered again without sampling (scripts/what_if.py,
analysis/theory/). A line holds step, draw, prompt_id, prompt_tokens, and for each rollout its
reward, its number of tokens and its tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from twogrpo.run_record.files import write_atomically
from twogrpo.types import Group, has_signal

FILE = "rollouts.jsonl"


@dataclass(frozen=True)
class CachedGroup:
    """One line of the file: a prompt's group in one step."""

    step: int
    prompt_id: str
    prompt_tokens: tuple[int, ...]
    rewards: tuple[float, ...]
    tokens: tuple[tuple[int, ...], ...]

    @property
    def has_signal(self) -> bool:
        """Whether the rewards differ: only then does the group carry a gradient."""
        return has_signal(self.rewards)

    def first(self, count: int) -> CachedGroup:
        """The group with its first rollouts only."""
        return replace(self, rewards=self.rewards[:count], tokens=self.tokens[:count])


def has_rollouts(folder: Path) -> bool:
    """Whether the run in the folder kept its rollouts."""
    return (folder / FILE).is_file()


def read(path: Path | str, *, step: int | None = None) -> list[CachedGroup]:
    """Returns the groups of a file, or of a run's folder that holds it; of one step if it is given.

    Raises:
        ValueError: there is no such file, or no such group in it.
    """
    path = Path(path)
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise ValueError(
            f"rollouts={path}: no {FILE} there; make one with "
            "scripts/train.py tracking.save_rollouts=true"
        )
    lines = map(json.loads, file.read_text().splitlines())
    groups = [
        CachedGroup(
            step=line["step"],
            prompt_id=line["prompt_id"],
            prompt_tokens=tuple(line["prompt_tokens"]),
            rewards=tuple(line["rewards"]),
            tokens=tuple(map(tuple, line["tokens"])),
        )
        for line in lines
        if step is None or line["step"] == step
    ]
    if not groups:
        raise ValueError(f"rollouts={path}: no group of step {step} in it")
    return groups


def append(folder: Path, step: int, groups: Sequence[Group]) -> None:
    """Writes the groups drawn in a step.

    Lines of `step` and later were left by a run that ended before its next checkpoint: they are
    removed first.
    """
    path = folder / FILE
    if _last_step(path) >= step:
        kept = [line for line in path.read_text().splitlines(keepends=True) if _step(line) < step]
        write_atomically(path, "".join(kept))
    with path.open("a") as file:
        for group in groups:
            line = {
                "step": step,
                "draw": group.draw,
                "prompt_id": group.prompt.prompt_id,
                "prompt_tokens": group.prompt.token_ids,
                "rewards": group.rewards,
                "num_tokens": [len(rollout.token_ids) for rollout in group.rollouts],
                "tokens": [rollout.token_ids for rollout in group.rollouts],
            }
            file.write(json.dumps(line) + "\n")


def _last_step(path: Path) -> int:
    """The step of the last line; later than any for a half-written one."""
    if not path.exists() or path.stat().st_size == 0:
        return -1
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16 * 2**20))
        return _step(file.read().splitlines(keepends=True)[-1].decode())


def _step(line: str) -> int:
    """The step of a line; later than any for one without its end."""
    return int(json.loads(line)["step"]) if line.endswith("\n") else 2**62
