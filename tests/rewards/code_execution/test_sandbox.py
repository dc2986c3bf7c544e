"""Escape attempts score nothing and harm nothing; honest programs run."""

import errno
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.faults.hostile_programs import PROGRAMS, processes_with
from twogrpo.rewards.code_execution import sandbox as code_sandbox
from twogrpo.rewards.code_execution import syscall_filter
from twogrpo.rewards.code_execution.sandbox import Limits, Sandbox

NOBODY = 65534
ROOT = Path(__file__).resolve().parents[3]
# Prints its rights, and which of the places and the processes' environments can be read.
LOOK = """
import glob, os
for place in (*PLACES, *glob.glob("/proc/[0-9]*/environ")):
    try:
        content = open(place, "rb").read()
        if not place.startswith("/proc") or b"API_KEY" in content:
            print(place)
    except OSError:
        pass
rights = [line.split()[1] for line in open("/proc/self/status") if line[:6] in ("CapPrm", "CapEff")]
print("looked", {int(right, 16) for right in rights}, os.getuid() == 0)
"""
LOOKED = "looked {0} False"
# Runs programs for the current user; exit code 77 where bubblewrap does not work for that user.
RUN_EACH = """
import sys
from twogrpo.rewards.code_execution.sandbox import Limits, Sandbox
try:
    sandbox = Sandbox(limits=Limits(wall_seconds=3))
except ValueError as error:
    print(error)
    sys.exit(77)
for program in sys.argv[1:]:
    print(sandbox.run({"main.py": program}).output, end="")
"""
FORKS = (
    "import os, time\nn = 0\ntry:\n    while n < 500:\n        if os.fork() == 0:\n"
    "            time.sleep(60)\n        n += 1\nexcept OSError:\n    print(n)"
)
FILL = """
import os, socket, time
def fill(a, *rest):
    a.setblocking(False)
    try:
        while True: a.send(b'x' * 65536)
    except BlockingIOError:
        return a, rest
"""
LIMITS = Limits(wall_seconds=3, cpu_seconds=3, output_bytes=2**20, memory_bytes=400 * 2**20)


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    try:
        return Sandbox(limits=LIMITS)
    except ValueError as error:
        pytest.skip(str(error))


def test_an_honest_program_runs_in_an_empty_writable_folder(sandbox: Sandbox) -> None:
    program = "import os; open('a', 'w').write(input()); print(os.listdir(), open('a').read())"
    for _ in range(2):
        outcome = sandbox.run({"main.py": program}, stdin="12\n")
        assert (outcome.succeeded, outcome.output) == (True, "['a'] 12\n")


def looking_for(*places: Path | str) -> str:
    return f"PLACES = {[str(place) for place in places]}{LOOK}"


def test_a_program_sees_none_of_our_files_and_has_no_rights(
    sandbox: Sandbox, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    answers = tmp_path / "answers.jsonl"
    answers.write_text("42")
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o005)  # as readable as a data set may be
    program = looking_for(answers, ROOT / "README.md", "/etc/passwd")
    assert sandbox.run({"main.py": program}).output == f"{LOOKED}\n"


def test_an_ordinary_users_program_sees_none_of_our_files_and_has_bounded_processes() -> None:
    """It keeps that user's id and rights, so our files must not be visible."""
    python, setpriv = "/usr/bin/python3", shutil.which("setpriv")
    if os.getuid() != 0 or setpriv is None or not Path(python).exists():
        pytest.skip("needs root, to become another user by setpriv, and the system's own Python")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        package = Path(folder, "twogrpo/rewards/code_execution")
        shutil.copytree(Path(code_sandbox.__file__).parent, package)
        secret = Path(folder, ".netrc")
        secret.write_text("secret")
        for path in (secret, *package.iterdir(), package, *package.parents[:3]):
            os.chown(path, NOBODY, NOBODY)
            path.chmod(0o700)
        done = subprocess.run(
            [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", python, "-c",
             RUN_EACH, looking_for(secret, ROOT / "README.md", "/etc/passwd"), FORKS],
            env={"HOME": folder, "API_KEY": "secret", "PATH": os.environ["PATH"],
                 "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    if done.returncode == 77:
        pytest.skip(done.stdout)
    seen, _, forks = done.stdout.partition("\n")
    assert (done.returncode, seen) == (0, LOOKED), done.stderr
    assert 0 < int(forks) < Limits().num_processes


def test_a_home_is_not_shown_even_if_the_interpreter_is_installed_in_it(
    monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert str(tmp_path) in code_sandbox._visible()
    for home in (tmp_path, tmp_path / "user"):
        monkeypatch.setenv("HOME", str(home))
        assert str(tmp_path) not in code_sandbox._visible()


def test_a_program_cannot_write_outside_its_folder_or_kill_others(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    target = tmp_path / "escaped"
    kill = f"import os\nfor p in (-1, {os.getpid()}): os.kill(p, 9)"
    for program in (f"open({str(target)!r}, 'w').write('x')", kill):
        assert not sandbox.run({"main.py": program}).succeeded
    assert not target.exists()


def test_a_program_cannot_open_a_connection(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        place = ("127.0.0.1", server.getsockname()[1])
        program = f"import socket; socket.create_connection({place})"
        assert not sandbox.run({"main.py": program}).succeeded
        with pytest.raises(TimeoutError):
            server.accept()


def test_forks_are_bounded(sandbox: Sandbox) -> None:
    assert 0 < int(sandbox.run({"main.py": FORKS}).output) < LIMITS.num_processes


@pytest.mark.parametrize("name", ["fork bomb", "daemon"])
def test_no_process_survives_a_program(sandbox: Sandbox, name: str, monkeypatch) -> None:
    mark = f"CPU={10_000 + os.getpid()}"  # in the command line of the launcher and its children
    limits = Limits(wall_seconds=3, cpu_seconds=10_000 + os.getpid())
    monkeypatch.setattr(sandbox, "limits", limits)
    start = time.monotonic()
    assert sandbox.run({"main.py": PROGRAMS[name]}).ending in ("exited", "timed_out")
    assert time.monotonic() - start < 20
    while processes_with(mark) and time.monotonic() - start < 25:
        time.sleep(0.1)  # the kernel ends a namespace in its own time
    assert processes_with(mark) == []


@pytest.mark.parametrize(
    "program",
    [
        "import time; time.sleep(600)",
        "import signal\nfor n in (1, 2, 3, 15, 24): signal.signal(n, signal.SIG_IGN)\n"
        "while True: pass",
    ],
)
def test_a_program_cannot_exceed_its_time(sandbox: Sandbox, program: str) -> None:
    start = time.monotonic()
    assert not sandbox.run({"main.py": program}).succeeded
    assert time.monotonic() - start < 10


def test_a_container_that_hides_the_size_of_buffers_can_import_and_judge(tmp_path: Path) -> None:
    assert code_sandbox.socket_bytes(tmp_path / "hidden") == 212_992
    (tmp_path / "shown").write_text("4096\n")
    assert code_sandbox.socket_bytes(tmp_path / "shown") == 4096


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_program_cannot_print_a_gigabyte(sandbox: Sandbox, stream: str) -> None:
    program = f"import sys\nfor _ in range(10_000): sys.{stream}.write('x' * 100_000)"
    outcome = sandbox.run({"main.py": program})
    assert outcome.ending == "overflowed"
    assert len(outcome.output + outcome.errors) <= 2 * LIMITS.output_bytes


@pytest.mark.parametrize(
    ("program", "error"),
    [(PROGRAMS["memory bomb"], "MemoryError"),
     *((PROGRAMS[name], "OSError") for name in ("disk filler", "many files")),
     *((f"open('{place}', 'wb')", "OSError") for place in ("/x", "/code/x", "/dev/x", "/usr/x"))],
)  # fmt: skip
def test_a_program_cannot_fill_the_memory_or_the_disk(
    sandbox: Sandbox, program: str, error: str
) -> None:
    outcome = sandbox.run({"main.py": program})
    assert not outcome.succeeded
    assert error in outcome.errors


@pytest.mark.parametrize(
    "program",
    [
        # Six processes, each under the bound on one.
        "import os, time\nfor _ in range(5):\n    if os.fork() == 0: break\n"
        "hoard = b'x' * 200 * 2**20\ntime.sleep(60)",
        # Each end holds 200 KiB: more than the memory before a process has too many open.
        f"{FILL}\ntry:\n    while os.fork(): pass\nexcept OSError: pass\n"  # all that it may have
        "sockets = [fill(*socket.socketpair()) for _ in range(28)]\ntime.sleep(60)",
        # What waits for an answer, in one process with few open files.
        f"{FILL}\nserver = socket.socket(socket.AF_UNIX)\nserver.bind('x')\nserver.listen(4096)\n"
        "while True:\n    client = socket.socket(socket.AF_UNIX)\n"
        "    client.connect('x')\n    fill(client)",
        "for i in range(10**6): open(str(i), 'w').close()\nimport time; time.sleep(60)",
        "import os\nfor i in range(10**6): os.mkdir(str(i))\nimport time; time.sleep(60)",
    ],
)
def test_memory_and_files_are_bounded_over_all_processes(sandbox: Sandbox, program: str) -> None:
    assert sandbox.run({"main.py": program}, wall_seconds=60).ending == "exceeded"


@pytest.mark.parametrize(
    "program",
    [
        "import mmap; mmap.mmap(-1, 4096)",
        "import mmap; mmap.mmap(open('/dev/zero', 'r+b').fileno(), 4096)",
        "import os; os.write(0, b'x')",  # its input is in memory too
        "import socket; socket.socket(socket.AF_VSOCK)",
        "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "import socket; socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
        "import socket; socket.socketpair(socket.AF_VSOCK)",
        "import socket; socket.socket(socket.AF_INET)",
        *(
            f"import socket; a, _ = socket.socketpair(); a.setsockopt(socket.SOL_SOCKET, {n}, 4096)"
            for n in (socket.SO_SNDBUF, socket.SO_RCVBUF, 32, 33)
        ),
    ],
)
def test_other_sockets_and_memory_that_is_no_process_s_are_denied(
    sandbox: Sandbox, program: str
) -> None:
    outcome = sandbox.run({"main.py": program})
    assert outcome.exit_code == 1
    assert "PermissionError" in outcome.errors or "not supported by protocol" in outcome.errors


def test_system_calls_that_lead_out_of_a_sandbox_are_denied(sandbox: Sandbox) -> None:
    arguments = dict.fromkeys(syscall_filter._DENIED, (0, 0, 0, 0, 0)) | {
        "shmget": (0, 4096, 0o1600), "msgget": (0, 0o1600), "semget": (0, 1, 0o1600),
        "unshare": (0x10000000,), "add_key": (b"user", b"name", b"value", 5, -4),
        "memfd_create": (b"name", 0), "keyctl": (0, -3, 0),
    }  # fmt: skip
    column = ("x86_64", "aarch64").index(platform.machine())
    numbers = {name: pair[column] for name, pair in syscall_filter._DENIED.items()}
    numbers |= {"clone": syscall_filter._CLONE[column], "clone3": syscall_filter._CLONE3}
    arguments |= {"clone": (0x10000000 | 17, 0, 0, 0, 0), "clone3": (0, 0)}
    program = (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"for name, number in {numbers}.items():\n"
        f"    result = libc.syscall(number, *{arguments}[name])\n"
        "    print(name, result, ctypes.get_errno())"
    )
    outcome = sandbox.run({"main.py": program})
    expected = {name: f"{name} -1 {errno.EPERM}" for name in numbers}
    expected["clone3"] = f"clone3 -1 {errno.ENOSYS}"  # so that libc calls clone
    assert outcome.output.splitlines() == list(expected.values())


def test_another_processor_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(ValueError, match=r"no sandbox works here: .*riscv64"):
        Sandbox()


def test_the_command_lines_in_a_sandbox_hold_no_path_of_ours(sandbox: Sandbox) -> None:
    program = "import glob\nfor f in glob.glob('/proc/[0-9]*/cmdline'): print(open(f).read())"
    outcome = sandbox.run({"main.py": program})
    assert outcome.succeeded and "launcher.py" in outcome.output
    for path in (ROOT, Path.home(), tempfile.gettempdir(), sys.prefix):
        assert str(path) not in outcome.output


def test_sockets_of_the_standard_library_serve_an_honest_program(sandbox: Sandbox) -> None:
    program = (
        "import asyncio, multiprocessing\nasync def f(): return 6\n"
        "pipe = multiprocessing.Pipe()\npipe[0].send(7)\n"
        "print(asyncio.run(f()) * pipe[1].recv())"
    )
    assert sandbox.run({"main.py": program}).output == "42\n"


def test_two_programs_of_root_share_no_user(sandbox: Sandbox) -> None:
    ids = {sandbox.run({"main.py": "import os; print(os.getuid())"}).output for _ in range(3)}
    assert len(ids) == (3 if os.getuid() == 0 else 1)


@pytest.mark.parametrize(
    ("user", "printed"),
    [("0", "no sandbox works here: root has no second user id to give to programs\n"),
     ("1000", "it runs\n")],
)  # fmt: skip
def test_a_user_namespace_with_one_id_has_no_sandbox_for_root_alone(
    sandbox: Sandbox, user: str, printed: str
) -> None:
    unshare = ["unshare", "--user", f"--map-user={user}", "--map-group=0"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs unshare, and the right to make a user namespace")
    command = [*unshare, sys.executable, "-c", RUN_EACH, "print('it runs')"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == (printed, "")


def test_without_bubblewrap_the_refusal_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="apt-get install bubblewrap"):
        Sandbox()
