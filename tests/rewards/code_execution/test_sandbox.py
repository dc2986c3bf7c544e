"""Escape attempts score nothing and harm nothing; honest programs run."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from twogrpo.rewards.code_execution import sandbox as code_sandbox
from twogrpo.rewards.code_execution.sandbox import Limits, Sandbox

NOBODY = 65534
ROOT = Path(__file__).resolve().parents[3]
# Prints which of the places can be opened and which processes' environments can be read.
LOOK = """
import glob
for place in (*PLACES, *glob.glob("/proc/[0-9]*/environ")):
    try:
        content = open(place, "rb").read()
        if not place.startswith("/proc") or b"API_KEY" in content:
            print(place)
    except OSError:
        pass
print("looked")
"""
# Does the same by each method that works for the current user.
LOOK_BY_EACH_METHOD = """
import json, sys
from sandbox import Sandbox
seen = {}
for method in ("namespaces", "bubblewrap"):
    try:
        seen[method] = Sandbox(method=method).run({"main.py": sys.argv[1]}).output
    except ValueError as error:
        print(error, file=sys.stderr)
print(json.dumps(seen))
"""
LIMITS = Limits(wall_seconds=3, cpu_seconds=3, output_bytes=2**20, memory_bytes=400 * 2**20)


@pytest.fixture(scope="module", params=["namespaces", "bubblewrap"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    if request.param == "bubblewrap" and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    try:
        return Sandbox(limits=LIMITS, method=request.param)
    except ValueError as error:
        pytest.skip(str(error))


def test_an_honest_program_runs(sandbox: Sandbox) -> None:
    outcome = sandbox.run({"main.py": "print(int(input()) ** 2)"}, stdin="12\n")
    assert (outcome.succeeded, outcome.output) == (True, "144\n")


def test_a_program_starts_in_an_empty_writable_folder(sandbox: Sandbox) -> None:
    program = "import os; print(os.listdir()); open('a', 'w').write('b'); print(open('a').read())"
    for _ in range(2):
        assert sandbox.run({"main.py": program}).output == "[]\nb\n"


def test_a_program_inherits_no_secrets_and_no_rights(sandbox: Sandbox, monkeypatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    outcome = sandbox.run({"main.py": "import os; print('API_KEY' in os.environ, os.getuid())"})
    assert outcome.output.split()[0] == "False"
    assert outcome.output.split()[1] != "0"


def looking_for(*places: Path | str) -> str:
    return f"PLACES = {[str(place) for place in places]}{LOOK}"


def test_a_program_sees_none_of_our_files(sandbox: Sandbox, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    answers = tmp_path / "answers.jsonl"
    answers.write_text("42")
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o005)  # as readable as a data set may be
    program = looking_for(answers, ROOT / "README.md", "/etc/passwd")
    assert sandbox.run({"main.py": program}).output == "looked\n"


def test_a_program_that_keeps_its_user_id_sees_none_of_our_files() -> None:
    """A normal user's program keeps that user's rights, so our files must not be visible."""
    python, setpriv = "/usr/bin/python3", shutil.which("setpriv")
    if os.getuid() != 0 or setpriv is None or not Path(python).exists():
        pytest.skip("needs root, to become another user by setpriv, and the system's own Python")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        for file in (code_sandbox.__file__, code_sandbox._LAUNCHER):
            shutil.copy(file, folder)
        secret = Path(folder, ".netrc")
        secret.write_text("secret")
        for path in (Path(folder), secret):
            os.chown(path, NOBODY, NOBODY)
            path.chmod(0o700)
        done = subprocess.run(
            [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", python, "-c",
             LOOK_BY_EACH_METHOD, looking_for(secret, ROOT / "README.md", "/etc/passwd")],
            env={"HOME": folder, "API_KEY": "secret", "PATH": os.environ["PATH"]},
            cwd=folder, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    if (seen := json.loads(done.stdout)) == {}:
        pytest.skip(done.stderr.strip())
    assert set(seen.values()) == {"looked\n"}


def test_a_home_is_not_shown_even_if_the_interpreter_is_installed_in_it(
    monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert str(tmp_path) in code_sandbox._visible(tmp_path / "source")
    for home in (tmp_path, tmp_path / "user"):
        monkeypatch.setenv("HOME", str(home))
        assert str(tmp_path) not in code_sandbox._visible(tmp_path / "source")


def test_a_program_cannot_write_outside_its_folder(sandbox: Sandbox, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    target = tmp_path / "escaped"
    outcome = sandbox.run({"main.py": f"open({str(target)!r}, 'w').write('x')"})
    assert not outcome.succeeded
    assert not target.exists()


def test_a_program_cannot_open_a_connection(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        program = (
            f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}))"
        )
        assert not sandbox.run({"main.py": program}).succeeded
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_fork_bomb_is_killed(sandbox: Sandbox) -> None:
    program = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    start = time.monotonic()
    outcome = sandbox.run({"main.py": program})
    assert outcome.ending == "timed_out"
    assert time.monotonic() - start < 20
    assert _survivors() == []


def test_forks_are_bounded(sandbox: Sandbox) -> None:
    program = (
        "import os, time\nn = 0\ntry:\n    while n < 500:\n        if os.fork() == 0:\n"
        "            time.sleep(60)\n        n += 1\nexcept OSError:\n    print(n)"
    )
    assert 0 < int(sandbox.run({"main.py": program}).output) < LIMITS.num_processes


def test_children_do_not_survive_their_parent(sandbox: Sandbox) -> None:
    program = (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        time.sleep(600)\n    os._exit(0)\nos.wait()"
    )
    assert sandbox.run({"main.py": program}).ending in ("exited", "timed_out")
    assert _survivors() == []


def test_a_program_cannot_exceed_its_memory(sandbox: Sandbox) -> None:
    program = "hoard = []\nwhile True: hoard.append(bytearray(50_000_000))"
    outcome = sandbox.run({"main.py": program})
    assert not outcome.succeeded
    assert "MemoryError" in outcome.errors


@pytest.mark.parametrize(
    "program",
    [
        "import time; time.sleep(600)",
        "while True: pass",
        "import signal, time\nfor n in (1, 2, 3, 15, 24): signal.signal(n, signal.SIG_IGN)\n"
        "while True: time.sleep(1)",
    ],
)
def test_a_program_cannot_exceed_its_time(sandbox: Sandbox, program: str) -> None:
    start = time.monotonic()
    assert not sandbox.run({"main.py": program}).succeeded
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_program_cannot_print_a_gigabyte(sandbox: Sandbox, stream: str) -> None:
    program = f"import sys\nfor _ in range(10_000): sys.{stream}.write('x' * 100_000)"
    outcome = sandbox.run({"main.py": program})
    assert outcome.ending == "overflowed"
    assert len(outcome.output + outcome.errors) <= 2 * LIMITS.output_bytes


@pytest.mark.parametrize(
    "program",
    ["f = open('a', 'wb')\nwhile True: f.write(b'x' * 10**6)",
     "i = 0\nwhile True:\n    open(str(i), 'wb').write(b'x' * 10**6); i += 1",
     *(f"open('{place}', 'wb')" for place in ("/x", "/tmp/x", "/dev/x", "/usr/x"))],
)  # fmt: skip
def test_a_program_cannot_fill_the_disk(sandbox: Sandbox, program: str) -> None:
    assert "OSError" in sandbox.run({"main.py": program}).errors


def test_a_program_cannot_kill_other_processes(sandbox: Sandbox) -> None:
    program = f"import os\nfor p in (-1, {os.getpid()}): os.kill(p, 9)"
    assert not sandbox.run({"main.py": program}).succeeded


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(ValueError, match="sandbox method=jail is unknown"):
        Sandbox(method="jail")


def _survivors() -> list[str]:
    """Returns the processes that still run from a sandbox folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode()
        except OSError:
            continue
        if "/sandbox-" in line and "main.py" in line and _parent_is_us(folder):
            found.append(line)
    return found


def _parent_is_us(folder: Path) -> bool:
    return f"PPid:\t{os.getpid()}\n" in (folder / "status").read_text()
