"""The reward of Code-R1: 1 if the program in a response passes all its tests, else 0."""

from __future__ import annotations

import builtins
import functools
import json
import keyword
import math
import re
import symtable
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from twogrpo.rewards.code_execution import calls
from twogrpo.rewards.code_execution.extraction import extract_program
from twogrpo.rewards.code_execution.sandbox import Limits, Sandbox
from twogrpo.rewards.protocol import (
    CORRECT,
    NO_ANSWER,
    UNPARSED,
    WRONG,
    Example,
    Verifier,
    checked_num_workers,
)
from twogrpo.rewards.worker_pool import DIED
from twogrpo.types import Verdict

if TYPE_CHECKING:
    from twogrpo.config.schema import RewardConfig as RewardConfig

_CALLS = Path(calls.__file__).read_text(encoding="utf-8")
_KEYS = ("functional", "fn_name", "inputs", "outputs")
_SEPARATOR = re.compile(r"([][(){},:;=])")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_ENDINGS = {
    "exited": Verdict(0.0, False, "program_failed"),
    "exceeded": Verdict(0.0, False, "program_failed"),
    "timed_out": Verdict(0.0, False, "program_timeout"),
    "overflowed": Verdict(0.0, False, "program_output"),
    "not_started": DIED,
}
_CHECKED = set[str]()
# Some data sets put each result into a list of its own.
_FUNCTION_TESTS = """\
try:
    function = {name}
except NameError:
    function = Solution().{name}
import json
from calls import same
cases = json.loads({cases!r})
outputs = [output for _, output in cases]
results = [json.loads(json.dumps(function(*arguments))) for arguments, _ in cases]
assert same(results, outputs) or same([[result] for result in results], outputs)
"""


@dataclass(frozen=True)
class Tests:
    """What a program must do: pass `code`, or print `outputs[i]` when fed `inputs[i]`.

    `names` are what the code asks of the program.
    """

    code: str = ""
    names: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


class CodeTests(Verifier):
    """A verifiable reward r in {0, 1} for programs, which run in a sandbox.

    A reference is JSON: {"functional": "assert f(1) == 2"} or {"inputs": […], "outputs": […]}, the
    schema of code-r1-12k; with "fn_name", each input is the list of a function's arguments. Tests
    that call functions run in a sandbox of their own (calls.py), so that no program touches its
    verdict.
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

    @staticmethod
    def check_reference(reference: str) -> None:
        """Raises ValueError where the reference tests nothing."""
        if reference not in _CHECKED:  # parsing takes milliseconds, and each is asked about again
            parse_tests(reference)
            _CHECKED.add(reference)

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
        return self._run_tests(program, tests) if tests.code else self._run(program, tests)

    def _run_tests(self, program: str, tests: Tests) -> Verdict:
        asked = json.dumps({"code": tests.code, "names": tests.names})
        outcome = self.sandbox.run(
            {"main.py": _CALLS, "program.py": program}, {"main.py": _CALLS, "tests.json": asked}
        )
        if outcome.succeeded:
            return CORRECT
        if outcome.ending == "exited":
            codes = {calls.WRONG: WRONG, calls.UNSUPPORTED: UNPARSED}
            return codes.get(outcome.exit_code, _ENDINGS["exited"])
        return _ENDINGS[outcome.ending]

    def _run(self, program: str, tests: Tests) -> Verdict:
        """Runs once per input, all within the limit of one run, up to the first wrong output."""
        end = time.monotonic() + self.sandbox.limits.wall_seconds
        for stdin, expected in zip(tests.inputs, tests.outputs, strict=True):
            left = max(end - time.monotonic(), 0)
            outcome = self.sandbox.run({"main.py": program}, stdin=stdin, wall_seconds=left)
            if not outcome.succeeded:
                return _ENDINGS[outcome.ending]
            if not _is_same_text(outcome.output, expected):
                return WRONG
        return CORRECT


@functools.lru_cache(maxsize=256)  # a reference judges a whole group
def parse_tests(reference: str) -> Tests:
    """Reads a reference; raises ValueError where it tests nothing or has a key of another kind."""
    quoted = f"reference {reference[:60]!r}"
    try:
        return _parse(json.loads(reference))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{quoted} is not JSON: {error}") from error
    except (SyntaxError, MemoryError) as error:
        raise ValueError(f"{quoted} is not Python: {error}") from error
    except ValueError as error:
        raise ValueError(f"{quoted} {error}") from error


def _parse(fields: Any) -> Tests:
    fields = fields if isinstance(fields, dict) else {}
    if unknown := fields.keys() - set(_KEYS):
        raise ValueError(f"has the unknown key {min(unknown)}: use {', '.join(_KEYS)}")
    code, name, inputs, outputs = (fields.get(key) or None for key in _KEYS)  # type: Any, Any, Any, Any
    if isinstance(code, str) and name is inputs is outputs is None:
        return Tests(code, _asked_names(code))
    are_lists = isinstance(inputs, list) and isinstance(outputs, list)
    if code or not are_lists or len(inputs) != len(outputs):
        raise ValueError("has no tests: give functional, or inputs and outputs")
    if name is None:
        return Tests("", (), tuple(map(_text, inputs)), tuple(map(_text, outputs)))
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"has no function's name: fn_name={name}")
    cases = json.dumps(list(map(_case, inputs, outputs)))
    return Tests(_FUNCTION_TESTS.format(name=name, cases=cases), (name, "Solution"))


def _case(arguments: Any, output: Any) -> tuple[Any, Any]:
    """A call and its result; LiveCodeBench has each as lines of JSON."""
    if isinstance(arguments, str):
        return list(map(json.loads, arguments.splitlines())), json.loads(output)
    if not isinstance(arguments, list):
        raise ValueError("has no list of arguments as input of its fn_name")
    return arguments, output


def _asked_names(code: str) -> tuple[str, ...]:
    """The names that tests take from the program; raises ValueError where they test nothing."""
    tables = [symtable.symtable(code, "tests.py", "exec")]
    for table in tables:
        tables += table.get_children()
    symbols = [symbol for table in tables for symbol in table.get_symbols()]
    used = {s.get_name() for s in symbols if s.is_global() and s.is_referenced()}
    made = {
        s.get_name() for s in symbols if s.is_global() and (s.is_imported() or s.is_namespace())
    }
    assigned = {s.get_name() for s in symbols if s.is_global() and s.is_assigned()}
    asked = used - made - vars(builtins).keys() - calls.OWN_NAMES.keys()
    if not asked - assigned or not re.search("assert|raise", code):
        raise ValueError("tests nothing: assert what a function of the program returns")
    return tuple(sorted(asked))


def _text(value: object) -> str:
    text = "\n".join(map(str, value)) if isinstance(value, list) else str(value)
    return text.replace("\r\n", "\n")


def _is_same_text(found: str, expected: str) -> bool:
    """Whether the lines have the same words, as programming contests compare."""
    rows = [[line.split() for line in text.rstrip().split("\n")] for text in (found, expected)]
    return list(map(len, rows[0])) == list(map(len, rows[1])) and all(
        all(map(_is_same_word, *pair)) for pair in zip(*rows, strict=True)
    )


def _is_same_word(found: str, expected: str) -> bool:
    """Whether they are equal, but for numbers, also in a list: see `_is_same_number`."""
    parts = [_SEPARATOR.split(word) for word in (found, expected)]
    return found == expected or (
        len(parts[0]) == len(parts[1]) and all(map(_is_same_number, *parts))
    )


def _is_same_number(found: str, expected: str) -> bool:
    """Whether they are equal, or within 1e-6 of a number with a point or an exponent."""
    if found == expected or not any(mark in expected for mark in ".eE"):
        return found == expected
    return all(map(_NUMBER.fullmatch, (found, expected))) and math.isclose(
        float(found), float(expected), rel_tol=1e-6, abs_tol=1e-6
    )
