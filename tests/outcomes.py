"""What a finished run leaves, apart from times, and its comparison bit for bit."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from twogrpo.run_record.files import read_rows


def is_time(name: str) -> bool:
    first = name.split("/")[0]
    return first in ("seconds", "cpu_seconds", "speed", "memory") or name.endswith("/seconds")


def timeless(row: dict) -> dict:
    return {name: value for name, value in row.items() if not is_time(name)}


def run_json(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def outcome(folder: Path) -> dict:
    """Rows, weights, the state to continue from, the summary."""
    checkpoint = max((folder / "checkpoints").glob("[0-9]*"))
    record = run_json(folder)
    return {
        "seconds": record["summary"]["seconds/training"],
        "rows": [timeless(row) for row in read_rows(folder)],
        "state": json.loads((checkpoint / "state.json").read_text()),
        "summary": timeless(record["summary"]),
        "status": record["status"],
        "weights": load_file(folder / "final/model.safetensors"),
        "tensors": {k: v for p in checkpoint.glob("shard-*") for k, v in load_file(p).items()},
    }


def assert_bit_for_bit(actual: dict, expected: dict) -> None:
    for part in ("rows", "state", "summary", "status"):
        assert actual[part] == expected[part], part
    for part in ("weights", "tensors"):
        assert actual[part].keys() == expected[part].keys()
        for name, tensor in expected[part].items():
            assert torch.equal(actual[part][name], tensor), name


def assert_surplus_crossed_a_step(expected: dict) -> None:
    """Otherwise a test of resuming with resampling proves too little."""
    rows, charged = expected["rows"][:-1], ("rollouts/kept", "rollouts/discarded")
    assert any(row["rollouts/generated"] - sum(row[name] for name in charged) for row in rows)
