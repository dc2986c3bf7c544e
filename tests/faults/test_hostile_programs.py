"""Hostile programs that a policy writes during training do no harm and earn reward 0."""

import json
import os
import shutil
import socket
import time
from pathlib import Path

import pytest

from tests.faults.hostile_programs import PROGRAMS, fenced, processes_with
from tests.hostile_text import Writes
from twogrpo.rewards.code_execution.reward import CodeTests
from twogrpo.rewards.code_execution.sandbox import Limits
from twogrpo.training import loop

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]

ADD = json.dumps({"functional": "assert add(1, 2) == 3\nassert add(-1, 1) == 0"})
HONEST = "def add(a, b):\n    return a + b"
LIMITS = Limits(wall_seconds=3, cpu_seconds=3, output_bytes=2**20, memory_bytes=400 * 2**20)


class AddReward(CodeTests):
    """Every prompt asks for the same function."""

    def grade(self, responses, references):
        return super().grade(responses, [ADD] * len(responses))


def test_hostile_programs_do_no_harm_and_earn_nothing(make_run, tmp_path, monkeypatch):
    assert len(PROGRAMS) >= 25
    secret = f"secret-{os.urandom(8).hex()}"
    monkeypatch.setenv("WANDB_API_KEY", secret)
    home = tmp_path / "home"
    home.mkdir()
    (home / "key").write_text(secret)
    (home / "key").chmod(0o600)
    package = Path(loop.__file__).parent
    try:
        reward = AddReward(limits=LIMITS, num_workers=2)
    except ValueError as error:
        pytest.skip(str(error))
    run = make_run(
        "algorithm=two_grpo", "training.prompts_per_step=24", "training.epochs=2",
        "training.prompts_per_minibatch=3", "tracking.save_rollouts=true",
    )  # fmt: skip
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inbox,
        socket.socket(socket.AF_UNIX) as local,
    ):
        monkeypatch.chdir(home)  # a socket's path may have 108 characters
        local.bind("s")
        local.listen()
        monkeypatch.chdir(package.parent)
        server.settimeout(0.1)
        inbox.bind(server.getsockname())
        inbox.settimeout(0.1)
        values = {
            "port": server.getsockname()[1], "socket": str(home / "s"), "secret": secret,
            "home": str(home), "pid": os.getpid(), "package": str(package),
        }  # fmt: skip
        texts = [fenced(HONEST)]
        for program in PROGRAMS.values():
            filled = program
            for name, value in values.items():
                filled = filled.replace("{" + name + "!r}", repr(value))
                filled = filled.replace("{" + name + "}", str(value))
            texts.append(fenced(filled))
        texts += [fenced(HONEST)] * (48 - len(texts))
        run.collector.reward.close()
        run.collector.reward, run.collector.sampler = (
            reward,
            Writes(run.collector.sampler, iter(texts)),
        )
        free = shutil.disk_usage(tmp_path).free
        row = loop.train_step(run, 0)
        with pytest.raises(TimeoutError):
            server.accept()
        with pytest.raises(TimeoutError):
            inbox.recv(1)
    lines = (tmp_path / "run/rollouts.jsonl").read_text().splitlines()
    rewards = [reward for line in lines for reward in json.loads(line)["rewards"]]
    names = ["honest", *PROGRAMS, *["honest"] * (47 - len(PROGRAMS))]
    earned = [name for name, reward in zip(names, rewards, strict=True) if reward]
    assert earned == [name for name in names if name == "honest"]
    assert row["policy/gradient_norm"] > 0  # from the honest programs
    assert (home / "key").read_text() == secret
    assert not (package / "planted.py").exists()
    assert not Path("/etc/planted").exists()
    end = time.monotonic() + 10
    marks = ("/code/launcher.py", "time.sleep(600)")
    while processes_with(*marks) and time.monotonic() < end:
        time.sleep(0.2)
    assert processes_with(*marks) == []
    assert shutil.disk_usage(tmp_path).free > free - 500 * 2**20
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), f"{path} holds a key"
            assert b"\x1b" not in path.read_bytes() or path.suffix == ".safetensors", path
    reward.close()
    run.collector.sampler.close()
