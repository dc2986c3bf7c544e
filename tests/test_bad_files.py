"""Bad files, models and runs on disk are refused in one line, and nothing is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.config.test_validation import REMEDY
from twogrpo.errors import ConfigError
from twogrpo.run_record import provenance
from twogrpo.run_record.record import RunRecord
from twogrpo.training import assemble, loop

ROW = {"id": "a", "problem": "1+1=", "answer": "2"}
FROM_FILE = [
    "dataset=math", "dataset.source=path", "dataset.ids=null", "dataset.num_prompts=2",
    "training.prompts_per_step=2", "training.prompts_per_minibatch=1",
    "evaluation.validation_every=0", "evaluation.at_end=false",
]  # fmt: skip


def rows(*changed: dict) -> bytes:
    """JSON lines: a row, and a copy of it for each of the changes."""
    values = [ROW, *({**ROW, "id": f"b{n}", **change} for n, change in enumerate(changed))]
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


# The content of the file of prompts, and what the message must name.
FILES = {
    "missing": (None, r"dataset\.path=.* is not a file .*: give"),
    "empty": (b"", "num_prompts=2 but only 0|no usable|is empty"),
    "not UTF-8": (rows() + b'{"id": "\xff\xfe"}\n', "line 2 is not a JSON object"),
    "a broken line": (rows() + b'{"id": "b", "problem"\n', "line 2 is not a JSON object"),
    "no object": (rows() + b"[1, 2]\n", "line 2 is not a JSON object"),
    "another schema": (b'{"question_text": "1+1="}\n' * 2, "another schema|lacks|has no"),
    "answers empty": (rows({"answer": "", "problem": "2+2="}), "num_prompts=2 but only 1|empty"),
    "a key twice": (rows() + b'{"id": "b", "id": "c", "problem": "1="}\n', "line 2 .*a key twice"),
    "an id twice": (rows({"id": "a", "problem": "2+2="}), "num_prompts=2 but only 1 usable"),
    "too few": (rows(), "num_prompts=2 but only 1 usable"),
}


@pytest.mark.parametrize("name", FILES)
def test_an_unusable_file_of_prompts_is_refused(name, make_config, tmp_path):
    content, words = FILES[name]
    path = tmp_path / "train.jsonl"
    if content is not None:
        path.write_bytes(content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=words) as refusal:
        assemble.assemble(make_config(*FROM_FILE, f"dataset.path={path}"))
    assert "\n" not in str(refusal.value)
    assert sorted(tmp_path.iterdir()) == before


def pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def without(pattern: str) -> Callable[[Path], None]:
    return lambda folder: [path.unlink() for path in folder.glob(pattern)]


def change_json(file: Path, **changed: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def without_end_token(folder: Path) -> None:
    """Nothing names one: neither the tokenizer nor a configuration."""
    change_json(folder / "tokenizer_config.json", eos_token=None)
    change_json(folder / "config.json", eos_token_id=None)
    (folder / "generation_config.json").unlink()


def with_its_own_code(folder: Path) -> None:
    """A model of the hub that needs remote code, which would run at loading."""
    auto_map = {"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"}
    change_json(folder / "config.json", model_type="evil", auto_map=auto_map)
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")


def with_sizes_of_no_model(folder: Path) -> None:
    """Building it would never end."""
    change_json(folder / "config.json", num_hidden_layers=10**9)


HARMS = {
    "a billion layers": with_sizes_of_no_model,
    "no weights": without("model.safetensors"),
    "pickled weights": pickled_weights,
    "cut weights": cut_weights,
    "no tokenizer": without("tokenizer*"),
    "no end token": without_end_token,
    "no configuration": without("config.json"),
    "code of its own": with_its_own_code,
}


@pytest.mark.parametrize("harm", HARMS)
def test_an_unusable_model_folder_is_refused(harm, make_config, model_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    HARMS[harm](folder)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(ConfigError, match=r"model\.path") as refusal:
        assemble.assemble(make_config(f"model.path={folder}"))
    assert "\n" not in str(refusal.value)
    assert REMEDY.search(str(refusal.value))
    assert sorted(path.name for path in folder.iterdir()) == before, "something of it ran"
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_needs_no_pad_token(make_run, model_folder, tmp_path):
    """Packed sequences have no padding, and the sampler's is masked."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    change_json(folder / "tokenizer_config.json", pad_token=None)
    row = loop.train_step(make_run(f"model.path={folder}"), 0)
    assert row["policy/gradient_norm"] > 0


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("model.path=another/model", r"model\.path="),
        ("dataset.num_prompts=32", r"dataset\.num_prompts=24 .*32"),
        ("dataset.seed=5", r"dataset\.seed=0 .*5"),
        ("algorithm.group_size=4", r"algorithm\.group_size=16 .*4"),
        ("algorithm=two_grpo", r"algorithm\.name=grpo .*two_grpo"),
        ("training.learning_rate=1e-4", r"training\.learning_rate=0\.001 .*0\.0001"),
        ("lora=rank_32", r"model\.lora\.rank=None there, 32 here"),
    ],
)
def test_a_run_is_not_resumed_with_another_configuration(typed, named, make_config, monkeypatch):
    monkeypatch.setattr(provenance, "code_hash", lambda: "one code")
    RunRecord(make_config())
    with pytest.raises(ConfigError, match=named):
        RunRecord(make_config(typed))


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ([], r"model\.lora=\{'model\.lora\.rank': 32, .* there, None here"),
        (["lora=rank_32", "model.lora.rank=8"], r"model\.lora\.rank=32 there, 8 here"),
    ],
)
def test_adapters_are_not_resumed_as_others(typed, named, make_config, monkeypatch):
    monkeypatch.setattr(provenance, "code_hash", lambda: "one code")
    RunRecord(make_config("lora=rank_32"))
    with pytest.raises(ConfigError, match=named) as refused:
        RunRecord(make_config(*typed))
    assert "give a new folder, output_dir=…" in str(refused.value)
