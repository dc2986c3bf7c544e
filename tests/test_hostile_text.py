"""Hostile text of models and data sets stays text in every output."""

import itertools
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from tests import hostile_text
from tests.config.test_cli import in_a_process
from tests.hostile_text import Writes, is_harmless
from tests.run_record.test_wandb_mirror import FakeRun
from twogrpo.data import prompts
from twogrpo.data.filtering import prepare
from twogrpo.errors import ConfigError, Fault, in_one_line
from twogrpo.policy import checkpoint
from twogrpo.training import loop

HOSTILE = pytest.mark.parametrize("text", hostile_text.ALL, ids=ascii)
EVERYTHING = " ".join(hostile_text.ALL)


class SeenRun(FakeRun):
    """A W&B run that keeps what it is sent."""

    def __init__(self, sent: list[Any]) -> None:
        super().__init__(breaks=())
        self.sent = sent
        self.summary = SimpleNamespace(update=sent.append)

    def log(self, values, step):
        self.sent.append(values)


def is_plain_data(value: Any) -> bool:
    """Whether W&B shows it as text; its own types would be shown as HTML or files."""
    if isinstance(value, dict):
        return all(type(key) is str and is_plain_data(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(is_plain_data, value))
    return value is None or type(value) in (str, int, float, bool)


def data_with_hostile_ids(folder: Path) -> list[str]:
    """Overrides for 24 training problems and a benchmark with hostile ids."""
    texts = (hostile_text.ALL * 2)[:24]
    rows = [{"id": f"{text}{i}", "problem": f"{i}=", "answer": "1"} for i, text in enumerate(texts)]
    for name in ("train", "bench"):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)
    return [
        "dataset=math", "dataset.source=path", f"dataset.path={folder / 'train.jsonl'}",
        "dataset.ids=null", "dataset.num_prompts=24", "dataset.max_response_tokens=6",
        "model.prompt_template=plain", "evaluation=math_benchmarks", "evaluation.source=path",
        f"evaluation.folder={folder}", "evaluation.benchmarks=[bench]",
        "evaluation.problems_per_benchmark=24", "evaluation.max_response_tokens=6",
        "evaluation.num_samples=2", "evaluation.validation_every=0",
    ]  # fmt: skip


def test_a_run_of_hostile_responses_and_ids_writes_harmless_text(
    make_run, tmp_path, capsys, monkeypatch
):
    sent: list[Any] = []

    def init(**given):
        settings = {name: value for name, value in given.items() if name != "settings"}
        sent.append(json.loads(json.dumps(settings)))
        return SeenRun(sent)

    fake = SimpleNamespace(init=init, Settings=dict)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    typed = data_with_hostile_ids(tmp_path)
    run = make_run(
        *typed, "algorithm=two_grpo", "training.epochs=2", "evaluation.keep_text=true",
        "tracking=wandb_offline", "tracking.save_rollouts=true",
    )  # fmt: skip
    run.collector.sampler = Writes(run.collector.sampler, itertools.repeat(EVERYTHING))
    loop.train(run)
    output = capsys.readouterr()
    assert is_harmless(output.out + output.err)
    assert "rollouts in all" in output.err
    for path in (tmp_path / "run").rglob("*"):
        assert str(path).isprintable()
        if path.suffix in (".json", ".jsonl", ".md", ".csv"):
            assert is_harmless(path.read_text()), path
    samples = pd.read_parquet(tmp_path / "run/evaluation/samples.parquet")
    assert set(samples["response"]) == {EVERYTHING}  # as data it is kept to the letter
    assert hostile_text.CLIPBOARD in "".join(samples["problem_id"])
    assert len(sent) > 3 and is_plain_data(sent)


def test_hostile_ids_are_harmless_in_a_message_of_the_real_script(small, tmp_path):
    (tmp_path / "data").mkdir()
    typed = data_with_hostile_ids(tmp_path / "data")
    row = {"id": EVERYTHING, "problem": "1=", "answer": "1"}
    lines = [json.dumps(row), json.dumps(row | {"problem": "2="})]
    (tmp_path / "data/train.jsonl").write_text("\n".join(lines))
    before = sorted(tmp_path.rglob("*"))
    done = in_a_process(*small, *typed, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "1 repeated_id (" in done.stderr  # it names the dropped row
    assert done.stderr.count("\n") == 2 and is_harmless(done.stderr)
    assert sorted(tmp_path.rglob("*")) == before


@HOSTILE
def test_hostile_text_in_an_error_or_a_warning_is_harmless(text, capsys):
    fault = Fault(f"first {text} line")
    fault.exit_code = 70
    fault.add_note(f"a note {text} of it")
    for error, code, num_lines in ((ConfigError(f"the id {text} twice"), 2, 1), (fault, 70, 2)):
        with pytest.raises(SystemExit) as stopped, in_one_line():
            raise error
        printed = capsys.readouterr().err
        assert stopped.value.code == code
        assert printed.count("\n") == num_lines and is_harmless(printed)
    prompts._print_dropped(1, 2, f"are ill-formed ({text}: no image)")
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and is_harmless(printed)


def test_hostile_file_names_of_a_checkpoint_are_harmless(tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    state = {"step": 1}
    checkpoint.save(folder, step=1, tensors={}, state=state, kept=2)
    checkpoint.save(folder, step=2, tensors={}, state=state, kept=2)
    manifest = folder / "000002/manifest.json"
    content = json.loads(manifest.read_text())
    content["files"]["\x1b[2J\r\u202e"] = "0" * 64
    manifest.write_text(json.dumps(content))
    assert checkpoint.load_latest(folder, into={}) == state
    printed = capsys.readouterr().err
    assert "is damaged" in printed and is_harmless(printed)


@pytest.mark.parametrize("key", ["id", "problem", "answer"])
def test_half_a_surrogate_pair_is_dropped_or_spelled_out(key):
    """JSON can spell it, but no file and no tokenizer can hold it."""
    row = {"id": "a", "problem": "1=", "answer": "1"}
    rows = [row, row | {"id": "b", "problem": "2="} | {key: "\ud800"}]
    found = prepare(rows, origin="here")
    assert len(found.problems) == (2 if key == "id" else 1)
    assert is_harmless(found.summary) and found.summary.encode()
    assert all(problem.problem_id.encode() for problem in found.problems)
