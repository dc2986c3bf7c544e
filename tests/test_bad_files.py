"""Bad input on disk: files, models and other runs; one line with its remedy, nothing written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.config.test_validation import REMEDY
from twogrpo.errors import ConfigError
from twogrpo.run_record import provenance
from twogrpo.run_record.record import RunRecord
from twogrpo.training import assemble, loop

ROW = {"id": "a", "problem": "1+1=", "answer": "2"}
FROM_FILE = [
    "dataset=math",
    "dataset.source=path",
    "dataset.ids=null",
    "dataset.num_prompts=2",
    "training.prompts_per_step=2",
    "training.prompts_per_minibatch=1",
    "evaluation.validation_every=0",
    "evaluation.at_end=false",
]


def rows(*changed: dict) -> bytes:
    """Two rows as JSON lines, the second as `changed` says."""
    values = [ROW, *({**ROW, "id": f"b{n}", **change} for n, change in enumerate(changed))]
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


# What the file of prompts holds, and what the message must name.
FILES = {
    "missing": (None, "is not a file: give"),
    "empty": (b"", "num_prompts=2 but only 0|no usable|is empty"),
    "not UTF-8": (rows() + b'{"id": "\xff\xfe"}\n', "line 2 is not a JSON object"),
    "a broken line": (rows() + b'{"id": "b", "problem"\n', "line 2 is not a JSON object"),
    "no object": (rows() + b"[1, 2]\n", "line 2 is not a JSON object"),
    "another schema": (b'{"question_text": "1+1="}\n' * 2, "another schema|lacks|has no"),
    "answers empty": (rows({"answer": "", "problem": "2+2="}), "num_prompts=2 but only 1|empty"),
    "an id twice": (rows({"id": "a", "problem": "2+2="}), "id a twice|ids? .*twice"),
    "too few": (rows(), "num_prompts=2 but only 1 usable"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_prompts_that_cannot_be_used(name, make_config, tmp_path):
    content, words = FILES[name]
    path = tmp_path / "train.jsonl"
    if content is not None:
        path.write_bytes(content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=words) as refusal:
        assemble.assemble(make_config(*FROM_FILE, f"dataset.path={path}"))
    assert "\n" not in str(refusal.value)
    assert sorted(tmp_path.iterdir()) == before


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def without_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def without_end_token(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["eos_token"] = None
    path.write_text(json.dumps(config))


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def with_its_own_code(folder: Path) -> None:
    """As a model of the hub that asks for trust: its code would run at loading."""
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"}}
    config["model_type"] = "evil"
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")


HARMS: list[Callable[[Path], None]] = [
    without_weights, pickled_weights, cut_weights, without_tokenizer, without_end_token,
    without_config, with_its_own_code,
]  # fmt: skip


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_model_s_folder_that_cannot_be_used(harm, make_config, model_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    harm(folder)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(ConfigError, match=r"model\.path") as refusal:
        assemble.assemble(make_config(f"model.path={folder}"))
    assert "\n" not in str(refusal.value)
    assert REMEDY.search(str(refusal.value))
    assert sorted(path.name for path in folder.iterdir()) == before, "something of it ran"
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_without_a_pad_token_will_do(make_run, model_folder, tmp_path):
    """Packed sequences have no padding, and the sampler's is masked."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["pad_token"] = None
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    row = loop.train_step(make_run(f"model.path={folder}"), 0)
    assert row["policy/gradient_norm"] > 0


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("model.path=another/model", r"model\.path="),
        ("dataset.num_prompts=32", r"dataset\.num_prompts=24 there, 32 here"),
        ("dataset.seed=5", r"dataset\.seed=0 there, 5 here"),
        ("algorithm.group_size=4", r"algorithm\.group_size=16 there, 4 here"),
        ("algorithm=two_grpo", r"algorithm\.name=grpo there, two_grpo here"),
        ("training.learning_rate=1e-4", r"training\.learning_rate=0\.001 there, 0\.0001 here"),
    ],
)
def test_a_run_is_not_resumed_as_another(typed, named, make_config, monkeypatch):
    monkeypatch.setattr(provenance, "code_hash", lambda: "one code")
    RunRecord(make_config())
    with pytest.raises(ConfigError, match=rf"belongs to another config \({named}.*give a new"):
        RunRecord(make_config(typed))
