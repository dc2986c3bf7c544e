"""Files are UTF-8 whatever the locale, and a stream that cannot show a character shows another."""

import ast
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

FOLDERS = ("twogrpo", "scripts", "analysis", "benchmarks")
# PYTHONCOERCECLOCALE and PYTHONUTF8: else Python takes UTF-8 where the locale is C.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "COLUMNS": "20"}
LATIN = {**ASCII, "PYTHONIOENCODING": "latin-1"}


def leaves_the_encoding_open(call: ast.Call) -> bool:
    """Whether a call reads or writes text in the encoding of the locale."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    texts = [a.value for a in call.args if isinstance(a, ast.Constant)]
    keywords = {keyword.arg for keyword in call.keywords}
    is_binary = any(isinstance(text, str) and "b" in text and len(text) < 4 for text in texts)
    if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) in ("os", "Image"):
        return False
    is_file = name in ("read_text", "write_text") or (name == "open" and not is_binary)
    is_process = name in ("run", "Popen", "check_output") and "text" in keywords
    return (is_file or is_process) and "encoding" not in keywords


def test_every_file_and_process_is_opened_with_an_encoding():
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and leaves_the_encoding_open(node)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("code", "is_open"),
    [
        ("path.read_text()", True),
        ("path.open('w')", True),
        ("open(path)", True),
        ("subprocess.run(words, text=True)", True),
        ("path.open('rb')", False),
        ("path.write_text(text, encoding='utf-8')", False),
        ("os.open(path, flags)", False),
    ],
)
def test_the_check_of_encodings_sees_what_is_open(code, is_open):
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    assert leaves_the_encoding_open(call) == is_open


@pytest.mark.parametrize("locale", [ASCII, LATIN], ids=["ascii", "latin-1"])
@pytest.mark.parametrize(
    ("script", "typed", "code"),
    [
        ("train", ["--help"], 0),
        ("train", ["--cfg", "job"], 0),
        ("train", ["algorithm=dpo", "algorithm.importance_sampling_cap=2"], 2),  # names π_old
        ("preflight", [], 0),
        ("reproduce", ["--dry-run"], 0),
    ],
)
def test_a_script_ends_well_in_a_locale_that_is_not_utf_8(script, typed, code, locale, tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / f"scripts/{script}.py"), *typed],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **locale},
        capture_output=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr and b"codec" not in done.stderr
    assert code != 2 or len(done.stderr.splitlines()) == 1


def test_a_card_is_written_in_a_locale_that_is_not_utf_8(tmp_path):
    typed = [
        "checkpoint=assets/tiny", "evaluation.num_samples=2", "evaluation.problems_per_benchmark=2",
        "tracking=local", f"output_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "scripts/evaluate.py", *typed],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **ASCII},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [card] = (tmp_path / "run").rglob("*.md")
    assert "–" in card.read_text(encoding="utf-8")


# What is little is written at the end only, and may end with a code of its own.
LITTLE = """
from twogrpo.errors import in_one_line
with in_one_line():
    print(1)
    raise SystemExit(1)
"""
COMMANDS = {
    "preflight": ["scripts/preflight.py"],
    "train": ["scripts/train.py", "--cfg", "job"],
    "grade": ["scripts/grade.py"],
    "little": ["-c", LITTLE],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_reader_that_closes_the_pipe_ends_a_script_quietly(command):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""},
        input=b'{"gold": "1", "answer": "1"}\n',
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
