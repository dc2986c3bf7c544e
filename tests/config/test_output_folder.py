"""A folder that is written belongs to us, and one process at a time works there."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from twogrpo.config import output_folder
from twogrpo.config.output_folder import LOCK, check_output_folder, claim, refuse_busy
from twogrpo.errors import ConfigError

HOLD = """
import sys, time
from pathlib import Path
from twogrpo.config.output_folder import claim
lock = claim("output_dir", Path(sys.argv[1]), beside=len(sys.argv) > 2)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder():
    """`holder(folder)`: another process that has claimed the folder."""
    started = []

    def start(folder, *beside):
        command = [sys.executable, "-c", HOLD, str(folder), *beside]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def check(name):
    return check_output_folder("output_dir", str(name), marks=("run.json",), own=("run.json.tmp",))


@pytest.mark.parametrize("name", ["", " ", "..", "../x", "a/../../x", "./../x", "a\0b"])
def test_a_name_that_is_empty_or_climbs_is_refused(name, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ConfigError, match=r"^output_dir=.*: give output_dir=NAME") as refusal:
        check(name)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["x" * 300, "new/" + "é" * 200, "file", "file/under", "dangling"])
def test_where_no_folder_can_be_is_refused_in_one_line(name, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"output_dir=.* cannot be written .*: give") as refusal:
        check(tmp_path / name)
    assert "\n" not in str(refusal.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write and search everywhere")
@pytest.mark.parametrize("mode", [0o500, 0o600, 0o000])
def test_a_parent_without_the_right_is_refused(mode, tmp_path):
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(mode)
    try:
        with pytest.raises(ConfigError, match="cannot be written"):
            check(tmp_path / "closed/run")
    finally:
        (tmp_path / "closed").chmod(0o700)


@pytest.mark.parametrize(
    "foreign", ["metrics.jsonl", "final/thesis.tex", ".hidden", "run.json.bak"]
)
def test_somebodys_folder_is_refused_with_its_first_file(foreign, tmp_path):
    (tmp_path / foreign).parent.mkdir(exist_ok=True)
    (tmp_path / foreign).write_text("precious")
    with pytest.raises(ConfigError, match=f"it holds {foreign.partition('/')[0]} and no run.json"):
        check(tmp_path)
    assert (tmp_path / foreign).read_text() == "precious"


def test_a_new_folder_an_empty_one_and_our_own_leftovers_are_free(tmp_path):
    assert check(tmp_path / "a/b") == tmp_path / "a/b"
    assert check(tmp_path) == tmp_path
    for name in (LOCK, "run.json.tmp"):  # as a killed process leaves them
        (tmp_path / name).write_text("")
        assert check(tmp_path) == tmp_path
    (tmp_path / "notes").write_text("")
    with pytest.raises(ConfigError):
        check(tmp_path)
    (tmp_path / "run.json").write_text("")
    assert check(tmp_path) == tmp_path


@pytest.mark.parametrize("beside", [(), ("beside",)])
def test_a_second_process_is_refused_until_the_first_is_killed(beside, holder, tmp_path):
    folder = tmp_path / "run"
    process = holder(folder, *beside)
    with pytest.raises(
        ConfigError, match=rf"output_dir={folder}: .*pid {process.pid}\) is at work"
    ):
        claim("output_dir", folder, beside=bool(beside))
    if not beside:
        with pytest.raises(ConfigError, match=f"pid {process.pid}"):
            refuse_busy("output_dir", folder)
    process.send_signal(signal.SIGKILL)
    process.wait()
    refuse_busy("output_dir", folder)
    with claim("output_dir", folder, beside=bool(beside)):
        assert [*tmp_path.rglob(f"*{LOCK}")]
    assert not [*tmp_path.rglob(f"*{LOCK}")]


def test_a_process_may_claim_its_own_folder_again(tmp_path):
    first = claim("output_dir", tmp_path)
    assert claim("output_dir", tmp_path) is first
    refuse_busy("output_dir", tmp_path)
    first.release()
    assert claim("output_dir", tmp_path) is not first


def test_two_looks_at_a_lock_that_nobody_holds_do_not_refuse_each_other(tmp_path):
    (tmp_path / LOCK).write_text("1 elsewhere")  # as a kill leaves it
    with (tmp_path / LOCK).open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        refuse_busy("output_dir", tmp_path)


def test_a_released_lock_whose_inode_is_used_again_is_not_ours(holder, tmp_path, monkeypatch):
    released = claim("output_dir", tmp_path / "mine")
    released.release()
    holder(tmp_path / "run")
    monkeypatch.setattr(output_folder, "_inode", lambda descriptor: "used again")
    monkeypatch.setattr(output_folder, "_held", {"used again": released})
    with pytest.raises(ConfigError, match="is at work"):
        refuse_busy("output_dir", tmp_path / "run")


def test_a_moved_folder_s_lock_leaves_that_of_the_next_run(tmp_path):
    first = claim("output_dir", tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "old")
    second = claim("output_dir", tmp_path / "run")
    first.release()
    assert (tmp_path / "run" / LOCK).exists()
    second.release()
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_child_that_lives_on_does_not_hold_the_lock(tmp_path):
    """As a grading process or W&B's may, when the run is killed."""
    lock = claim("output_dir", tmp_path)
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        os.close(lock.release.detach()[2][1])  # as the kernel does at a kill
        claim("output_dir", tmp_path).release()
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_filesystem_without_locks_is_said_in_one_line(number, tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(output_folder.fcntl, "flock", refuse)
    lock = claim("output_dir", tmp_path)
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith(f"WARNING: output_dir={tmp_path} is on a filesystem without locks")
    lock.release()
    (tmp_path / LOCK).write_text("1 elsewhere")
    refuse_busy("output_dir", tmp_path)


def test_a_lock_that_is_a_link_to_somebodys_file_does_not_empty_it(tmp_path):
    (tmp_path / "thesis").write_text("precious")
    (tmp_path / LOCK).symlink_to(tmp_path / "thesis")
    with pytest.raises(ConfigError, match="cannot be written"):
        claim("output_dir", tmp_path)
    assert (tmp_path / "thesis").read_text() == "precious"
