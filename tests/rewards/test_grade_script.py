"""scripts/grade.py as a filter: lines in, lines out, bad lines named, exit codes."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "grade.py"


def grade(lines: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, str(SCRIPT), "--workers", "2", *arguments]
    return subprocess.run(command, input=lines, capture_output=True, timeout=300, check=False)


def rows(output: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.split(b"\n") if line]


def test_a_line_gains_its_verdict_and_keeps_its_keys() -> None:
    lines = [
        {"id": 1, "gold": "1/2", "answer": "so \\boxed{0.5}"},
        {"gold": "é", "answer": "\\boxed{x}", "note": "ü\ud800"},
        {"gold": "2", "answer": ""},
    ]
    done = grade("\n".join(map(json.dumps, lines)).encode())
    assert done.returncode == 0
    assert done.stderr == b""
    added = [(True, "correct"), (False, "wrong"), (False, "no_answer")]
    graded = rows(done.stdout)
    assert [(row["correct"], row["reason"]) for row in graded] == added
    assert [{k: v for k, v in r.items() if k not in ("correct", "reason")} for r in graded] == lines


def test_bad_lines_are_named_and_good_ones_graded() -> None:
    lines = [
        b'{"gold": "1", "answer": "1"}', b"not json", b"", b'{"gold": 1, "answer": "1"}',
        b'{"gold": "1"}', b'["1", "1"]', b'{"gold": "\xff", "answer": "1"}', b"[" * 100_000,
        b'{"gold": "2", "answer": "2"}',
    ]  # fmt: skip
    done = grade(b"\r\n".join(lines))
    assert done.returncode == 2
    assert [row["gold"] for row in rows(done.stdout)] == ["1", "2"]
    complaints = done.stderr.decode().splitlines()
    assert [line.split(":")[0] for line in complaints] == [f"line {n}" for n in (2, 4, 5, 6, 7, 8)]


def test_hostile_answers_cost_their_deadline_at_most() -> None:
    boxes = ["10^{10^{10}}", "9!!!!!!", "\\int_0^{\\infty} \\sin(x^{x}) dx",
             "\\frac{1}{" * 500 + "2" + "}" * 500, "x" * 100_000]  # fmt: skip
    lines = [json.dumps({"gold": "5", "answer": f"\\boxed{{{box}}}"}) for box in [*boxes, "5"]]
    start = time.monotonic()
    done = grade("\n".join(lines).encode(), "--deadline", "2")
    assert done.returncode == 0
    assert [row["correct"] for row in rows(done.stdout)] == [*[False] * 5, True]
    assert time.monotonic() - start < 40


@pytest.mark.parametrize(("arguments", "exit_code"), [((), 0), (("--deadline", "inf"), 2)])
def test_empty_input_gives_empty_output_and_an_infinite_deadline_is_refused(arguments, exit_code):
    done = grade(b"", *arguments)
    assert (done.returncode, done.stdout) == (exit_code, b"")
    assert (b"--deadline" in done.stderr) == bool(arguments)
