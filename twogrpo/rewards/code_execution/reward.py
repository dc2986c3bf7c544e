"""The reward of Code-R1: 1 if the program in a response passes all of its tests, else 0."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from twogrpo.rewards.code_execution.sandbox import Limits, Outcome, Sandbox, run_all
from twogrpo.types import Verdict

_FENCE = re.compile(r"```[ \t]*(?:python3?|py)?[ \t]*\r?\n(.*?)```", re.DOTALL | re.IGNORECASE)
_MAX_PROGRAM_CHARS = 100_000

# The tests run after the program, in its namespace; only then is the token printed that proves it.
# It is read before the program can, which finds its standard input empty. One that searches the
# interpreter's frames would find it all the same: assertions share a process with what they test.
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


class CodeTests:
    """Verifiable reward r in {0, 1} for programs, judged in a sandbox.

    A reference is JSON: {"functional": "assert f(1) == 2"} or {"inputs": […], "outputs": […]}, the
    schema of code-r1-12k. The last fenced block of a response is its program.
    """

    grades_truncated = True

    def __init__(
        self,
        *,
        num_workers: int = 2,
        limits: Limits | None = None,
        method: str | None = None,
        allow_rlimits_only: bool = False,
    ) -> None:
        self.sandbox = Sandbox(limits=limits, method=method, allow_rlimits_only=allow_rlimits_only)
        self._threads = ThreadPoolExecutor(num_workers)

    @property
    def method(self) -> str:
        """What isolates the programs: bubblewrap, namespaces or rlimits."""
        return self.sandbox.method

    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """One verdict a response, in order; raises ValueError for a reference without tests."""
        tests = [parse_tests(reference) for reference in references]
        return list(self._threads.map(self._grade_one, responses, tests))

    def close(self) -> None:
        """Ends the threads; the programs have ended before."""
        self._threads.shutdown()

    def _grade_one(self, response: str, tests: Tests) -> Verdict:
        program = extract_program(response)
        if program is None:
            return Verdict(0.0, "no_answer")
        if tests.assertions:
            reason = self._assert(program, tests.assertions)
        else:
            outcomes = run_all(self.sandbox, {"main.py": program}, tests.inputs)
            reason = _printed(outcomes, tests.outputs)
        return Verdict(float(reason == "correct"), reason)

    def _assert(self, program: str, assertions: str) -> str:
        token = secrets.token_hex(16)
        files = {"main.py": _ASSERT_MAIN, "program.py": program, "tests.py": assertions}
        outcome = self.sandbox.run(files, stdin=token + "\n")
        if not outcome.succeeded:
            return _failure(outcome)
        return "correct" if outcome.output.endswith(f"\n{token}\n") else "wrong"


def extract_program(response: str) -> str | None:
    """The last fenced block of a response, None if there is none or it is absurdly long."""
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


def _printed(outcomes: Sequence[Outcome], expected: Sequence[str]) -> str:
    if not outcomes[-1].succeeded:
        return _failure(outcomes[-1])
    pairs = zip(outcomes, expected, strict=False)
    right = all(_lines(outcome.output) == _lines(text) for outcome, text in pairs)
    return "correct" if right and len(outcomes) == len(expected) else "wrong"


def _lines(text: str) -> list[str]:
    """Lines without trailing blanks: how judges of programming contests compare."""
    return [line.rstrip() for line in text.rstrip().splitlines()]


def _failure(outcome: Outcome) -> str:
    return {"timed_out": "program_timeout", "overflowed": "program_output"}.get(
        outcome.ending, "program_failed"
    )
