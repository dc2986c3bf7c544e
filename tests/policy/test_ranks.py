"""One process and two ranks (FSDP2 over gloo) take the same steps, and continue each other's."""

import json
import os
import pickle
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ROOT, parse_config
from tests.policy import ranks_updating
from twogrpo.distributed import process_group
from twogrpo.distributed.process_group import SINGLE_PROCESS, Ranks
from twogrpo.errors import ConfigError
from twogrpo.policy import checkpoint
from twogrpo.types import TrainingSample

SCRIPT = ROOT / "tests" / "policy" / "ranks_updating.py"


def take_steps(folder: Path, num_ranks: int, *arguments: str) -> Path:
    folder.mkdir()
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
    command = [sys.executable, *(torchrun if num_ranks else []), str(SCRIPT), str(folder)]
    command += arguments
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[int, Path]:
    """By number of ranks; 0 is a process without torchrun, 1 a rank alone."""
    folder = tmp_path_factory.mktemp("ranks")
    return {number: take_steps(folder / str(number), number) for number in (0, 1, 2)}


@pytest.mark.parametrize("num_ranks", [1, 2])
def test_metrics_and_weights_after_five_steps_are_those_of_one_process(folders, num_ranks):
    assert_same_steps(folders[0], folders[num_ranks])


def test_two_ranks_train_adapters_as_one_process_does(tmp_path):
    one, two = (take_steps(tmp_path / str(n), n, "lora") for n in (0, 2))
    assert_same_steps(one, two)
    assert_same_tensors(*(f / "final_adapter/adapter_model.safetensors" for f in (one, two)))
    subject = ranks_updating.build(SINGLE_PROCESS, lora=ranks_updating.LORA)
    tensors = subject.state()  # two ranks' checkpoint continues in one process
    state = checkpoint.load_latest(two / "checkpoints", into=tensors)
    subject.load_state(tensors, state["num_updates"])
    expected = json.loads((one / "rows.json").read_text())[3:]
    for row, other in zip(expected, ranks_updating.steps(subject, 3, 5), strict=True):
        assert other == pytest.approx(row, rel=1e-5)


def assert_same_steps(one: Path, other: Path) -> None:
    expected, actual = (json.loads((f / "rows.json").read_text()) for f in (one, other))
    assert len(expected) == 5
    assert any(row["clip_fraction_low"] > 0 for row in expected)
    for row, found in zip(expected, actual, strict=True):
        assert found == pytest.approx(row, rel=1e-5)
    assert_same_tensors(*(folder / "final" / "model.safetensors" for folder in (one, other)))


def assert_same_tensors(one: Path, other: Path) -> None:
    expected, actual = load_file(one), load_file(other)
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        scale = float(tensor.abs().max())
        torch.testing.assert_close(actual[name], tensor, atol=1e-5 * scale, rtol=0)


@pytest.mark.parametrize("num_ranks", [0, 1, 2])
def test_a_checkpoint_of_any_number_of_ranks_continues_in_one_process(folders, num_ranks):
    policy = ranks_updating.build(SINGLE_PROCESS)
    tensors = policy.state()
    state = checkpoint.load_latest(folders[num_ranks] / "checkpoints", into=tensors)
    policy.load_state(tensors, state["num_updates"])
    rows = ranks_updating.steps(policy, 3, 5)
    expected = json.loads((folders[0] / "rows.json").read_text())[3:]
    for row, other in zip(expected, rows, strict=True):
        assert other == pytest.approx(row, rel=1e-5)


def test_shares_are_gathered_in_order(monkeypatch):
    items = list("abcdefg")
    shares = [Ranks(rank, 3, rank).shard(items) for rank in range(3)]
    assert shares == [["a", "d", "g"], ["b", "e"], ["c", "f"]]
    monkeypatch.setattr(Ranks, "all_gather", lambda self, mine: shares)
    assert Ranks(1, 3, 1).unshard(shares[1]) == items
    assert SINGLE_PROCESS.shard(items) == items


def test_scored_log_probabilities_are_sent_once(monkeypatch):
    """A view of a micro-batch is pickled with the whole of it, once a sequence."""
    sent: list[bytes] = []

    def gather(self: Ranks, mine):
        sent.append(pickle.dumps(mine))
        return [mine]

    monkeypatch.setattr(Ranks, "all_gather", gather)
    subject = ranks_updating.build(
        hardware=replace(ranks_updating.SMALL, tokens_per_microbatch=100_000)
    )
    sequences = [TrainingSample((3, 4), tuple(range(2, 18)) * 4, 1.0, 1.0, torch.zeros(64))] * 64
    found = subject.token_logps(sequences)
    num_tokens = sum(map(len, found))
    assert num_tokens == 64 * 64
    assert len(sent[-1]) < 2 * 4 * num_tokens  # of float32


def test_more_ranks_than_gpus_is_refused(monkeypatch):
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    hardware = parse_config("hardware=four_gpus").hardware
    with pytest.raises(ConfigError, match="--nproc-per-node 2"):
        process_group.init_process_group(hardware)


def test_a_port_that_another_program_holds_is_one_line_with_its_remedy(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        named = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_PORT": port}
        for name, value in (named | {"MASTER_ADDR": "127.0.0.1"}).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ConfigError, match=rf"2 ranks .* 127.0.0.1:{port} .*in use") as told:
            process_group.init_process_group(parse_config().hardware)
    assert "--standalone or a free port, --master-port" in str(told.value)
    assert "\n" not in str(told.value)


def test_ranks_that_tensor_parallelism_cannot_part_are_refused(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    hardware = parse_config("hardware.tensor_parallel_size=3").hardware
    with pytest.raises(ConfigError, match="tensor_parallel_size=3 does not divide the 4 ranks"):
        process_group.init_process_group(hardware)
