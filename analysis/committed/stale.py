"""Lists every folder of `results/` with the code that it was made with, and whether it is today's.

python -m analysis.committed.stale

Exit code 1 if a folder is stale: made by another `twogrpo/`, or without a word on its code.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from analysis.committed.records import RESULTS, made_with
from analysis.exhibits.exhibit import arguments, guard
from twogrpo.run_record.provenance import ROOT, code_hash


def state(result: Path) -> str:
    """`current`, or why the folder is stale."""
    made = made_with(result)
    if not made:
        return "stale: names no code"
    if all(map(_is_todays, made)):
        return "current"
    commits = sorted({str(about.get("commit") or "no commit")[:10] for about in made})
    return f"stale: {'; '.join(f'{commit}, {_changed_since(commit)}' for commit in commits)}"


def _is_todays(about: dict[str, Any]) -> bool:
    """Whether the code is today's, by its hash, or without one by its commit."""
    if about.get("code"):
        return bool(about["code"] == code_hash())
    commit = str(about.get("commit") or "-dirty")
    is_edited = about.get("commit_is_dirty") or commit.endswith("-dirty")
    return not is_edited and changed_files(commit, "twogrpo") == []


def _changed_since(commit: str) -> str:
    """How many files of the code differ from the commit's, where git knows it."""
    changed = changed_files(commit.removesuffix("-dirty"), "twogrpo", "conf")
    if changed is None:
        return "which git does not know here"
    return f"{len(changed)} files of twogrpo/ and conf/ changed since"


def changed_files(commit: str, *folders: str) -> list[str] | None:
    """The files below the folders that differ from the commit's; None if git does not know it."""
    command = ["git", "diff", "--name-only", commit, "--", *folders]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, encoding="utf-8"
    )
    return None if done.returncode else done.stdout.splitlines()


def main() -> int:
    """Prints a line for each folder; returns the exit code."""
    states = {result.name: state(result) for result in sorted(RESULTS.glob("*/"))}
    for name, found in states.items():
        sys.stdout.write(f"results/{name:15} {found}\n")
    return int(any(found != "current" for found in states.values()))


if __name__ == "__main__":
    with guard():
        arguments(sys.argv[1:])
        sys.exit(main())
