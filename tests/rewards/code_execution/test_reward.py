"""Programs are rewarded for passing their tests, and for nothing else."""

import json

import pytest

from twogrpo.rewards.code_execution import sandbox as code_sandbox
from twogrpo.rewards.code_execution.reward import CodeTests, _is_same_text, parse_tests
from twogrpo.rewards.code_execution.sandbox import Limits
from twogrpo.types import Verdict


def functional(*lines: str) -> str:
    return json.dumps({"functional": "\n".join(lines)})


def called(name: str, inputs: list, outputs: list) -> str:
    return json.dumps({"fn_name": name, "inputs": inputs, "outputs": outputs})


ADD = functional("assert add(1, 2) == 3", "assert add(-1, 1) == 0", "assert add(20, 22) == 42")
ADD_IN_SUMS = functional(
    "def check(candidate):",
    "    assert math.isclose(candidate(1, 2), 3)",
    "    assert all(map(lambda i: candidate(i, i) == 2 * i, range(9)))",
    "    assert not candidate(1, -1)",
    "check(add)",
)
ADD_CALLED = called("add", [[1, 2], [-1, 1]], [3, 0])
SQUARE = json.dumps({"inputs": ["3\n", "-4\n"], "outputs": ["9\n", "16"]})
SUM = "def add(a, b):\n    return a + b"


@pytest.fixture(scope="module")
def reward():
    try:
        made = CodeTests(limits=Limits(wall_seconds=3))
    except ValueError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def fenced(program: str) -> str:
    return f"Here it is:\n```python\n{program}\n```\nDone."


@pytest.mark.parametrize(
    ("program", "reference", "reason"),
    [
        (SUM, ADD, "correct"),
        ("def add(a, b):\n    return a - b", ADD, "wrong"),
        ("def add(a, b) return", ADD, "program_failed"),
        ("def other(a, b):\n    return a + b", ADD, "program_failed"),
        ("import time\ndef add(a, b):\n    time.sleep(60)", ADD, "program_timeout"),
        ("while True: pass", ADD, "program_timeout"),
        ("def add(a, b):\n    while True: print('9' * 10**6)", ADD, "program_output"),
        ("print(int(input()) ** 2)", SQUARE, "correct"),
        ("print(int(input()) ** 2, end='  \\n\\n')", SQUARE, "correct"),
        ("print(int(open('/dev/stdin').read()) ** 2)", SQUARE, "correct"),
        ("print(9)", SQUARE, "wrong"),
        ("print(int(input()) * 3)", SQUARE, "wrong"),
        ("raise SystemExit", SQUARE, "wrong"),
        ("raise SystemExit(3)", SQUARE, "program_failed"),
        ("while True: print('9' * 10**6)", SQUARE, "program_output"),
    ],
)
def test_verdicts_worked_by_hand(
    reward: CodeTests, program: str, reference: str, reason: str
) -> None:
    verdict = reward.grade([fenced(program)], [reference])[0]
    assert verdict == Verdict(float(reason == "correct"), reason == "correct", reason)


@pytest.mark.parametrize(
    ("program", "reference"),
    [
        (SUM, ADD_IN_SUMS),
        (SUM, ADD_CALLED),
        (SUM, called("add", [[1, 2], [3, 4]], [[3], [7]])),  # each result in a list of its own
        (SUM, called("add", ["1\n2", "[1]\n[2]"], ["3", "[1, 2]"])),  # as lines of JSON
        (f"print('hello')\n{SUM}\nif __name__ == '__main__':\n    print(add(*input()))", ADD),
        ("from operator import add", ADD),
        ("class Solution:\n    def add(self, a, b=2):\n        return a + b",
         functional("add = Solution().add", "assert add(1) == add(b=2, a=1) == 3")),
        ("class Solution:\n    def add(self, a, b):\n        return a + b", ADD_CALLED),
        ("class Stack:\n    def __init__(self): self.items = []\n"
         "    def push(self, x): self.items.append(x); return self\n"
         "    def __iter__(self): return iter(self.items)",
         functional("s = Stack()", "s.push(1).push(2)", "assert s.items == list(s) == [1, 2]")),
        ("def f(x):\n    if x < 0: raise ValueError('negative')\n    yield from range(x)",
         functional("assert list(f(3)) == [0, 1, 2]", "try:", "    list(f(-1))",
                    "except ValueError as error:", "    assert str(error) == 'negative'",
                    "else:", "    raise AssertionError")),
        ("def f(x: List[int]) -> Optional[Dict]:\n    return Counter(x)",
         functional("assert f([1, 1, 2]) == {1: 2, 2: 1}", "assert type(f([])) is dict")),
        ("def f(x): return x",
         functional("for x in (None, True, 1, 10**5000, -0.0, inf, 'é\\ud800', b'\\x00', (1, [2]),",
                    "          {1, 2}, frozenset('a'), {(1, 2): {'a': ()}}, [[], set()]):",
                    "    assert repr(f(x)) == repr(x)")),
        ("import numpy\nfrom collections import *\nfrom datetime import *\n"
         "from decimal import Decimal\nfrom fractions import Fraction\ndef f(x): return eval(x)",
         functional("from collections import *", "from datetime import *",
                    "from decimal import Decimal", "from fractions import Fraction",
                    "for x in ('Fraction(-1, 3)', 'Decimal(\"0.10\")', '(-0.0-1.5e-300j)',",
                    "          'deque([1, (2,)])', 'date(2024, 2, 29)',",
                    "          'datetime(2024, 2, 29, 1, 2, 3, 4)', '{date(1, 1, 1): [1j]}'):",
                    "    assert repr(f(x)) == repr(eval(x))",
                    "assert type(f('numpy.int64(3)')) is int and f('numpy.int64(3)') == 3",
                    "assert f('[numpy.bool_(1), numpy.float32(0.5)]') == [True, 0.5]",
                    "assert len(f('numpy.arange(3)')) == 3 and f('numpy.arange(3)')[2] == 2",
                    "assert list(f('numpy.arange(3)')) == f('numpy.arange(3)').tolist()")),
        ("class Node:\n    def __init__(self, x): self.x, self.next = x, None\n"
         "    def __repr__(self): return f'Node({self.x})'\n"
         "def total(node): return node.x + total(node.next) if node else 0",
         functional("head = Node(1)", "head.next = Node(2)", "assert total(head) == 3",
                    "assert str(head.next) == 'Node(2)'")),
        (SUM, functional("import sys", "assert add(1, 2) == 3", "sys.exit(0)")),
        (SUM, functional("import unittest", "class T(unittest.TestCase):",
                         "    def test(self): self.assertEqual(add(1, 2), 3)", "unittest.main()")),
        ("class F(float): pass\ndef f(x): return F(x)", called("f", [[0.1]], [0.1000000001])),
        ("def f(x): return {1: (x, 2)}", called("f", [["a"]], [{"1": ["a", 2]}])),
    ],
)  # fmt: skip
def test_right_programs_earn_the_reward(reward: CodeTests, program: str, reference: str) -> None:
    assert reward.grade([fenced(program)], [reference])[0].reason == "correct"


# Each would have passed tests that run in the program's own process, or that trust what it sends.
EQUAL = "    def __eq__(self, other): return True\n    def __sub__(self, other): return 0.0\n"
CHEATS = {
    "equals everything": f"class A:\n{EQUAL}def add(*a): return A()",
    "a number that equals everything": f"class A(float):\n{EQUAL}    __rsub__ = __sub__\n"
    "def add(*a): return A(0)",
    "a true object": "class A:\n    def __bool__(self): return True\ndef add(*a): return A()",
    "a mock": "from unittest.mock import MagicMock\nadd = MagicMock()",
    "any": "from unittest.mock import ANY\ndef add(*a): return ANY",
    "an address for numpy": "class A:\n    __array_interface__ = {'data': (0, False)}\n"
    "def add(*a): return A()",
    "end of iteration": "def add(*a): raise StopIteration",
    "assertion error": "def add(*a): raise AssertionError",
    "exit": "import sys\ndef add(*a): sys.exit(0)",
    "exit before": "import sys; sys.exit(0)",
    "exit at once": "import os\ndef add(*a): os._exit(0)",
    "exit and say so": "import os\nfor n in range(3, 9):\n    try: os.write(n, b'[true]\\n' * 9)\n"
    "    except OSError: pass\nos._exit(0)",
    "close everything": "import os; os.closerange(0, 64)",
    "other builtins": "import builtins\nkeep = compile\n"
    "builtins.compile = lambda *a, **k: keep('pass', 'x', 'exec')\n"
    "builtins.all = builtins.isinstance = lambda *a: True\ndef add(*a): return 0",
    "other names": "import math\nmath.isclose = lambda *a, **k: True\n"
    "all = map = range = isclose = lambda *a, **k: True\ndef add(*a): return 0",
    "the judge's globals": "import __main__\nfor name in dir(__main__):\n"
    "    if name[:2] != '__': setattr(__main__, name, lambda *a: True)",
    "an empty library": "import sys\nfor name in ('json', 'math'): sys.modules[name] = None",
    "frames": "import gc, sys\nf, found = sys._getframe(), {}\nwhile f: found |= f.f_locals | "
    "f.f_globals; f = f.f_back\nassert not [x for x in gc.get_objects() if type(x) is dict "
    "and 'tests' in x], 'found'\ndef add(*a): return found['tests']",
    "files": "import glob\nfound = ''\n"
    "for name in glob.glob('/code/*') + glob.glob('/proc/*/fd/*'):\n"
    "    try: found += open(name).read()\n    except (OSError, ValueError): pass\n"
    "def add(a, b):\n    assert 'add(' + '20, 22)' in found or '[[1, ' + '2]' in found\n"
    "    return a + b",
    "arguments": "def add(*a):\n    for x in a:\n        if hasattr(x, '__eq__'): x = None",
    "nothing": "x = 1",
}  # fmt: skip


@pytest.mark.parametrize("name", CHEATS)
def test_a_program_cannot_write_its_own_verdict(reward: CodeTests, name: str) -> None:
    references = [ADD, ADD_IN_SUMS, ADD_CALLED]
    verdicts = reward.grade([fenced(CHEATS[name])] * len(references), references)
    assert [verdict.reward for verdict in verdicts] == [0.0] * len(references)


def test_a_test_that_expects_an_error_is_not_passed_by_a_program_that_ends(reward: CodeTests):
    tests = functional(
        "try:", "    f(-1)", "except Exception:", "    pass", "else:", "    assert 0"
    )
    programs = ["def f(x): raise KeyError", "import os\ndef f(x): os._exit(0)", "raise SystemExit"]
    verdicts = reward.grade([fenced(program) for program in programs], [tests] * 3)
    assert [verdict.reward for verdict in verdicts] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "tests",
    [
        ("class Node: pass", "assert f(Node()) == 1"),
        ("assert f(1) == Own(1)",),
        ("assert isinstance(f(1), Own)",),
        ("assert f(1) + 1 == 2",),
        ("assert 1 in {f(1)}",),
        ("try: f(-1)", "except TypeError: pass", "else: assert f(1)[0] - f(1)"),
        ("try: f(0)", "except Own: pass", "else: assert 0"),
        ("class Mine(Own): pass", "assert f(1)"),
    ],
)
def test_tests_that_cannot_be_asked_of_a_program_count_as_the_verifiers_failure(
    reward: CodeTests, tests: tuple[str, ...]
) -> None:
    program = (
        "class Own(Exception):\n    __getitem__ = lambda self, i: self\n"
        "def f(x):\n    if x == 0: raise Own\n    return Own(x)"
    )
    (verdict,) = reward.grade([fenced(program)], [functional(*tests)])
    assert verdict == Verdict(0.0, False, "verifier_unparsed")


@pytest.mark.parametrize("end", ["sys.exit(1)", "unittest.main()"])
def test_tests_that_exit_with_an_error_are_not_passed(reward: CodeTests, end: str) -> None:
    tests = functional("import sys, unittest", "class T(unittest.TestCase):",
                       "    def test(self): self.assertEqual(add(1, 2), 3)", end)  # fmt: skip
    programs = [*CHEATS.values(), "def add(*a): return 0", "def add(*a): raise SystemExit(0)"]
    verdicts = reward.grade([fenced(p) for p in programs], [tests] * len(programs))
    assert [verdict.reward for verdict in verdicts] == [0.0] * len(programs)


@pytest.mark.parametrize("reference", [ADD, SQUARE])
def test_a_sandbox_that_cannot_start_is_no_wrong_answer(
    reward: CodeTests, reference: str, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(code_sandbox, "_PAUSES", (0.0, None))
    monkeypatch.setattr(reward.sandbox, "_bwrap", "/bin/false")
    program = fenced("print(int(input()) ** 2)" if reference == SQUARE else SUM)
    (verdict,) = reward.grade([program], [reference])
    assert verdict == Verdict(0.0, False, "verifier_died")
    once = tmp_path / "fails_once"
    once.write_text(f'#!/bin/sh\nif mkdir {tmp_path}/tried; then exit 1; fi\nexec bwrap "$@"\n')
    once.chmod(0o755)
    monkeypatch.setattr(reward.sandbox, "_bwrap", str(once))
    (verdict,) = reward.grade([program], [reference])
    assert (tmp_path / "tried").exists()
    assert verdict.reason == "correct"


@pytest.mark.parametrize(
    ("found", "expected", "is_same"),
    [
        ("a  b\r\n\n", "a b", True),
        ("a\nb", "a b", False),
        ("0.142857143", "0.14285714285714285", True),
        ("0.1425", "0.142857143", False),
        ("1e-7 .5", "0.0000001 5E-1", True),
        ("3", "3.0", True),
        ("3.0", "3", False),  # an integer is exact
        ("1000000.5", "1000000.0", True),  # within 1e-6 of it, relatively
        ("nan", "0.5", False),
        ("[0.3000001, 2e-9]", "[0.3, 0.0]", True),
        ("(0.5,1):x=0.25;", "(0.50,1):x=.25;", True),
        ("[0.31, 0.2]", "[0.3, 0.2]", False),
        ("[0.3 0.2]", "[0.3, 0.2]", False),
        ("(0.3, 0.2)", "[0.3, 0.2]", False),
        ("[1, 2]", "[1.0, 2.0]", True),
        ("[1.0, 2.0]", "[1, 2]", False),
        ("1_0.0", "10.0", False),
        ("1.2.3", "1.2.30", False),
        ("", "", True),
        ("1" * 400_000 + "x", "1." + "1" * 400_000, False),
    ],
)
def test_output_is_compared_word_by_word(found: str, expected: str, is_same: bool) -> None:
    assert _is_same_text(found, expected) is is_same


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("", "is not JSON"),
        ("{}", "has no tests"),
        ("[1]", "has no tests"),
        ('{"inputs": ["1"], "outputs": []}', "has no tests"),
        ('{"inputs": [], "outputs": []}', "has no tests"),
        ('{"functional": "assert f(1)", "inputs": ["1"], "outputs": ["1"]}', "has no tests"),
        ('{"inputs": ["1"], "outputs": ["1"], "checker": "x"}', "the unknown key checker"),
        (called("f", ["1"], ["x"]), "is not JSON"),
        (called("f", [1], [1]), "no list of arguments"),
        (called("f()", [[1]], [1]), "no function's name"),
        (called("def", [[1]], [1]), "no function's name"),
        (functional("assert f(1 == 2"), "is not Python"),
        (functional("pass"), "tests nothing"),
        (functional(" "), "tests nothing"),
        (functional("assert True"), "tests nothing"),
        (functional("x = 1", "assert x == 1"), "tests nothing"),
        (functional("import os", "assert math.pi > len(os.name)"), "tests nothing"),
        (functional("def check(candidate):", "    assert candidate(1)"), "tests nothing"),
        (functional("add(1, 2)"), "tests nothing"),
    ],
)
def test_a_reference_that_tests_nothing_is_refused(reference: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^reference .*{why}"):
        parse_tests(reference)
