"""Hostile text of models and data sets, wherever it leaves the program: it stays text."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from tests import hostile_text
from tests.config.test_cli import in_a_process
from tests.hostile_text import is_harmless
from tests.run_record.test_wandb_mirror import FakeRun
from twogrpo.config import cli
from twogrpo.data.filtering import prepare
from twogrpo.errors import ConfigError, Fault
from twogrpo.policy import checkpoint
from twogrpo.training import loop

HOSTILE = pytest.mark.parametrize("text", hostile_text.ALL, ids=ascii)
EVERYTHING = " ".join(hostile_text.ALL)


class Writes:
    """The policy's tokens under the texts of an attacker."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def sample(self, prompts, seeds_PG, sampling):
        groups = self.inner.sample(prompts, seeds_PG, sampling)
        return [tuple(replace(rollout, text=EVERYTHING) for rollout in group) for group in groups]

    def __getattr__(self, name):
        return getattr(self.inner, name)


class SeenRun(FakeRun):
    """What W&B is sent."""

    def __init__(self, sent: list[Any]) -> None:
        super().__init__(breaks=())
        self.sent = sent
        self.summary = SimpleNamespace(update=sent.append)

    def log(self, values, step):
        self.sent.append(values)


def is_plain_data(value: Any) -> bool:
    """As which W&B shows text; its own types would be shown as HTML or files."""
    if isinstance(value, dict):
        return all(type(key) is str and is_plain_data(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(is_plain_data, value))
    return value is None or type(value) in (str, int, float, bool)


def data_with_hostile_ids(folder: Path) -> list[str]:
    """24 problems to train on, whose ids are hostile, and a benchmark; as it is typed."""
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


def test_a_run_of_nothing_but_hostile_text_leaves_text(make_run, tmp_path, capsys, monkeypatch):
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
    run.collector.sampler = Writes(run.collector.sampler)
    loop.train(run)
    said = capsys.readouterr()
    assert is_harmless(said.out + said.err)
    assert "rollouts in all" in said.err
    for path in (tmp_path / "run").rglob("*"):
        assert str(path).isprintable()
        if path.suffix in (".json", ".jsonl", ".md", ".csv"):
            assert is_harmless(path.read_text()), path
    samples = pd.read_parquet(tmp_path / "run/evaluation/samples.parquet")
    assert set(samples["response"]) == {EVERYTHING}  # as data it is kept to the letter
    assert hostile_text.CLIPBOARD in "".join(samples["problem_id"])
    assert len(sent) > 3 and is_plain_data(sent)


def test_a_data_set_s_ids_cannot_speak_to_a_real_terminal(small, tmp_path):
    (tmp_path / "data").mkdir()
    typed = data_with_hostile_ids(tmp_path / "data")
    row = {"id": EVERYTHING, "problem": "1=", "answer": "1"}
    lines = [json.dumps(row), json.dumps(row | {"problem": "2="})]
    (tmp_path / "data/train.jsonl").write_text("\n".join(lines))
    before = sorted(tmp_path.rglob("*"))
    done = in_a_process(*small, *typed, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "twice: give every row its own" in done.stderr
    assert done.stderr.count("\n") == 1 and is_harmless(done.stderr)
    assert sorted(tmp_path.rglob("*")) == before


@HOSTILE
def test_what_stops_a_run_is_said_harmlessly(text, monkeypatch, capsys):
    monkeypatch.setattr(cli, "_shares_its_process", lambda: False)
    fault = Fault(f"first {text} line")
    fault.exit_code = 70
    fault.add_note(f"a note {text} of it")
    for error, code, num_lines in ((ConfigError(f"the id {text} twice"), 2, 1), (fault, 70, 2)):

        def fail(_cfg, error=error):
            raise error

        with pytest.raises(SystemExit) as stopped:
            cli.job(fail)(None)
        said = capsys.readouterr().err
        assert stopped.value.code == code
        assert said.count("\n") == num_lines and is_harmless(said)


@HOSTILE
def test_what_is_dropped_is_told_harmlessly(text, tokenizer, capsys):
    from twogrpo.data.prompts import _print_dropped

    _print_dropped(1, 2, f"are ill-formed ({text}: no image)")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and is_harmless(said)


def test_a_checkpoint_s_file_names_are_told_harmlessly(tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    state = {"step": 1}
    checkpoint.save(folder, step=1, tensors={}, state=state, kept=2)
    checkpoint.save(folder, step=2, tensors={}, state=state, kept=2)
    manifest = folder / "000002/manifest.json"
    content = json.loads(manifest.read_text())
    content["files"]["\x1b[2J\r\u202e"] = "0" * 64
    manifest.write_text(json.dumps(content))
    assert checkpoint.load_latest(folder, into={}) == state
    said = capsys.readouterr().err
    assert "is damaged" in said and is_harmless(said)


@pytest.mark.parametrize("key", ["id", "problem", "answer"])
def test_half_a_surrogate_pair_is_refused_with_its_row(key):
    """JSON can spell it, no file and no tokenizer can hold it."""
    rows = [
        {"id": "a", "problem": "1=", "answer": "1"},
        {"id": "b", "problem": "2=", "answer": "1"},
    ]
    rows[1][key] = "\ud800"
    with pytest.raises(ConfigError, match="here row 2 has another schema") as refusal:
        prepare(rows, origin="here")
    assert is_harmless(str(refusal.value))
