"""The rollouts that a run keeps: all of them in `rollouts.jsonl`, a few to read in `pairs.jsonl`.

With the first, questions about the group size are answered again without sampling
(scripts/what_if.py, analysis/theory/): one line a group, with step, draw, prompt_id, prompt_tokens,
and for each rollout its reward, its number of tokens and its tokens. A line of the second is a
prompt with one right and one wrong response, as text.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from twogrpo.errors import ConfigError
from twogrpo.run_record.files import read_lines, write_atomically
from twogrpo.types import Group, has_signal

FILE = "rollouts.jsonl"
PAIRS_FILE = "pairs.jsonl"
MAX_CHARS = 800  # of a text in pairs.jsonl: 30 pairs of long texts stay below 100 kB


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
        ConfigError: there is no such file, or no such group in it, or it is damaged.
    """
    path = Path(path)
    try:
        lines = read_lines(path / FILE if path.is_dir() else path)
    except ConfigError as error:
        raise ConfigError(f"rollouts={path}: {error}") from error
    if not lines:
        raise ConfigError(
            f"rollouts={path}: no {FILE} there; make one with "
            "scripts/train.py tracking.save_rollouts=true"
        )
    try:
        groups = [_group(line) for line in lines if step is None or line["step"] == step]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"rollouts={path}: a line is no group ({type(error).__name__}: {error}): make the file "
            "again, see tracking.save_rollouts"
        ) from error
    if not groups:
        raise ConfigError(f"rollouts={path}: no group of step {step} in it")
    return groups


def _group(line: dict[str, Any]) -> CachedGroup:
    """Raises KeyError, TypeError or ValueError if the line is not a group's."""
    group = CachedGroup(
        step=line["step"],
        prompt_id=line["prompt_id"],
        prompt_tokens=tuple(line["prompt_tokens"]),
        rewards=tuple(line["rewards"]),
        tokens=tuple(map(tuple, line["tokens"])),
    )
    if not group.rewards or not all(map(math.isfinite, group.rewards)):
        raise ValueError(f"rewards {line['rewards']}")
    if len(group.tokens) != len(group.rewards) or not all(group.tokens):
        raise ValueError("as many responses as rewards, each of a token or more")
    for token in itertools.chain(group.prompt_tokens, *group.tokens):
        if type(token) is not int or token < 0:
            raise ValueError(f"token {token!r}")
    return group


def append(folder: Path, step: int, groups: Sequence[Group]) -> None:
    """Writes the groups drawn in a step to `rollouts.jsonl`."""
    lines = (
        {
            "step": step,
            "draw": group.draw,
            "prompt_id": group.prompt.prompt_id,
            "prompt_tokens": group.prompt.token_ids,
            "rewards": group.rewards,
            "num_tokens": [len(rollout.token_ids) for rollout in group.rollouts],
            "tokens": [rollout.token_ids for rollout in group.rollouts],
        }
        for group in groups
    )
    _append(folder / FILE, step, lines)


def pair_steps(num_steps: int) -> set[int]:
    """The first, the middle and the last step of a run.

    >>> sorted(pair_steps(40)), sorted(pair_steps(1))
    ([0, 20, 39], [0])
    """
    return {0, num_steps // 2, num_steps - 1}


def append_pairs(
    folder: Path, step: int, groups: Sequence[Group], advantages_B: Iterable[float], *, count: int
) -> None:
    """Writes the first `count` pairs of a step to `pairs.jsonl`.

    A pair is the first right and the first wrong response of a group that has both. `advantages_B`
    are those of all rollouts of the groups, in order, as the policy was trained on.
    """
    advantages = iter(advantages_B)
    lines = (_pair(step, group, list(islice(advantages, len(group.rollouts)))) for group in groups)
    _append(folder / PAIRS_FILE, step, islice(filter(None, lines), count))


def _pair(step: int, group: Group, advantages_G: list[float]) -> dict[str, Any] | None:
    """The line of a group; None unless it holds both a right and a wrong response."""
    are_correct = [verdict.is_correct for verdict in group.verdicts]
    if len(set(are_correct)) < 2:
        return None
    right, wrong = (
        {
            "response": _shortened(group.rollouts[i].text),
            "reward": group.rewards[i],
            "advantage": advantages_G[i],
        }
        for i in (are_correct.index(True), are_correct.index(False))
    )
    about: dict[str, Any] = {
        "prompt_id": group.prompt.prompt_id,
        "prompt": _shortened(group.prompt.text),
    }
    about |= {"num_rollouts": len(are_correct), "num_right": sum(are_correct)}
    return {"step": step, **about, "right": right, "wrong": wrong}


def _shortened(text: str) -> str:
    """The text, or its beginning and its end, where the answer stands."""
    half = MAX_CHARS // 2
    return text if len(text) <= MAX_CHARS else f"{text[:half]} […] {text[-half:]}"


def _append(path: Path, step: int, lines: Iterable[dict[str, Any]]) -> None:
    """Appends the lines of a step.

    Lines of `step` and later were left by a run that ended before its next checkpoint: they are
    removed first.

    Raises:
        ConfigError: a line is damaged.
    """
    if _last_step(path) >= step:
        kept = [line for line in read_lines(path) if line.get("step", step) < step]
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _last_step(path: Path) -> int:
    """The step of the last line; later than any for one that is half-written or damaged."""
    if path.exists() and not path.is_file():
        return 2**62
    if not path.exists() or path.stat().st_size == 0:
        return -1
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16 * 2**20))
        line = file.read().splitlines(keepends=True)[-1]
    try:
        return int(json.loads(line)["step"]) if line.endswith(b"\n") else 2**62
    except (ValueError, KeyError, TypeError):
        return 2**62
