"""The reward of Code-R1: 1 if the program in a response passes all its tests, else 0."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from twogrpo.rewards.code_execution.sandbox import Limits, Outcome, Sandbox, run_all
from twogrpo.rewards.protocol import (
    CORRECT,
    NO_ANSWER,
    WRONG,
    Example,
    Verifier,
    checked_num_workers,
)
from twogrpo.types import Verdict

if TYPE_CHECKING:
    from twogrpo.config.schema import RewardConfig as RewardConfig

_FENCE = re.compile(r"```[ \t]*(?:python3?|py)?[ \t]*\r?\n(.*?)```", re.DOTALL | re.IGNORECASE)
_MAX_PROGRAM_CHARS = 100_000

# The tests run after the program, in its namespace; only then is the token printed that proves it.
# The token is read before the program starts, which finds its standard input empty. A program that
# searches the interpreter's frames could still find it: assertions run in the process they test.
_ASSERT_MAIN = """\
import os, sys
def judge():
    token = sys.stdin.readline().strip()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    namespace = {"__name__": "__main__"}
    folder = __file__.rpartition("/")[0]
    for name in ("program.py", "tests.py"):
        with open(folder + "/" + name, encoding="utf-8") as stream:
            exec(compile(stream.read(), name, "exec"), namespace)
    print("\\n" + token, flush=True)
judge()
"""


@dataclass(frozen=True)
class Tests:
    """What a program must do: pass assertions, or print `outputs[i]` when fed `inputs[i]`."""

    assertions: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


class CodeTests(Verifier):
    """A verifiable reward r in {0, 1} for programs, which run in a sandbox.

    A reference is JSON: {"functional": "assert f(1) == 2"} or {"inputs": […], "outputs": […]}, the
    schema of code-r1-12k. The last fenced block of a response is its program.
    """

    example = Example(
        correct="```python\ndef double(x):\n    return 2 * x\n```",
        wrong="```python\ndef double(x):\n    return x + 2\n```",
        reference='{"functional": "assert double(3) == 6"}',
    )
    prompt_templates = ("code_r1",)
    grades_truncated = True
    sandbox_method = "bubblewrap"

    def __init__(self, *, num_workers: int = 2, limits: Limits | None = None) -> None:
        self.sandbox = Sandbox(limits=limits)
        self._threads = ThreadPoolExecutor(num_workers)

    @classmethod
    def from_config(cls, config: RewardConfig) -> Self:
        """Raises ConfigError for a bad number of workers, ValueError where no sandbox works."""
        return cls(num_workers=checked_num_workers(config))

    def check_reference(self, reference: str) -> None:
        """Raises ValueError where the reference holds no tests."""
        parse_tests(reference)

    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """One verdict per response, in order; raises ValueError for a reference without tests."""
        tests = [parse_tests(reference) for reference in references]
        return list(self._threads.map(self._grade_one, zip(responses, tests, strict=True)))

    def close(self) -> None:
        """Ends the threads; no program is running any more."""
        self._threads.shutdown()

    def _grade_one(self, case: tuple[str, Tests]) -> Verdict:
        program, tests = extract_program(case[0]), case[1]
        if program is None:
            return NO_ANSWER
        if tests.assertions:
            return self._assert(program, tests.assertions)
        outcomes = run_all(self.sandbox, {"main.py": program}, tests.inputs)
        if not outcomes[-1].succeeded:
            return _failure(outcomes[-1])
        printed = [_lines(outcome.output) for outcome in outcomes]
        return CORRECT if printed == [_lines(text) for text in tests.outputs] else WRONG

    def _assert(self, program: str, assertions: str) -> Verdict:
        token = secrets.token_hex(16)
        files = {"main.py": _ASSERT_MAIN, "program.py": program, "tests.py": assertions}
        outcome = self.sandbox.run(files, stdin=token + "\n")
        if not outcome.succeeded:
            return _failure(outcome)
        return CORRECT if outcome.output.endswith(f"\n{token}\n") else WRONG


def extract_program(response: str) -> str | None:
    """The last fenced block of a response; None if it is missing, empty or absurdly long."""
    blocks = _FENCE.findall(response)
    program = blocks[-1] if blocks else ""
    return program if program.strip() and len(program) <= _MAX_PROGRAM_CHARS else None


def parse_tests(reference: str) -> Tests:
    """Reads a reference; raises ValueError where it holds no tests."""
    try:
        fields = json.loads(reference)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"reference {reference[:60]!r} is not JSON: {error}") from error
    if isinstance(fields, dict):
        if isinstance(fields.get("functional"), str) and fields["functional"].strip():
            return Tests(assertions=fields["functional"])
        inputs, outputs = fields.get("inputs"), fields.get("outputs")
        if not (isinstance(inputs, list) and isinstance(outputs, list)):
            inputs = outputs = []
        if inputs and len(inputs) == len(outputs):
            return Tests("", tuple(map(_text, inputs)), tuple(map(_text, outputs)))
    raise ValueError(
        f"reference {reference[:60]!r} has no tests: give functional, or inputs and outputs"
    )


def _text(value: object) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _lines(text: str) -> list[str]:
    """The lines without trailing blanks, which programming contests ignore."""
    return [line.rstrip() for line in text.rstrip().splitlines()]


def _failure(outcome: Outcome) -> Verdict:
    reasons = {"timed_out": "program_timeout", "overflowed": "program_output"}
    return Verdict(0.0, False, reasons.get(outcome.ending, "program_failed"))
