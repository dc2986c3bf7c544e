"""What ends a response is a set, from every place that says so, or from model.end_tokens."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import compose_config, parse_config
from twogrpo.config.schema import parse
from twogrpo.config.script_schemas import EvaluateConfig
from twogrpo.errors import ConfigError
from twogrpo.evaluation.checkpoint import evaluate_checkpoint
from twogrpo.models.end_tokens import end_token_ids, end_token_names
from twogrpo.models.load import load_tokenizer
from twogrpo.run_record.files import read_run_file
from twogrpo.training.loop import train

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['content'] }}AFTER{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>{% endif %}"
)


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    """The tiny model; ids 2 to 11 are the digits 0 to 9."""
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def write(file: Path, **changed: Any) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(content | changed))


def ids(folder: Path, *typed: str) -> tuple[int, ...]:
    model = parse_config(f"model.path={folder}", *typed).model
    return end_token_ids(model, load_tokenizer(model))


def test_each_source_adds_its_own(folder):
    assert ids(folder) == (1,)
    write(folder / "config.json", eos_token_id=[1, 4])
    assert ids(folder) == (1, 4)
    write(folder / "generation_config.json", eos_token_id=[6, 4], temperature=0.1)
    assert ids(folder) == (1, 4, 6)
    write(folder / "generation_config.json", eos_token_id=5)
    assert ids(folder) == (1, 4, 5)
    (folder / "generation_config.json").unlink()
    write(folder / "tokenizer_config.json", eos_token="<pad>")
    assert ids(folder) == (0, 1, 4)


@pytest.mark.parametrize(
    ("after", "added"),
    [("<pad>\n", (0,)), ("<pad><eos>", (0,)), (" <pad>", (0,)), ("7", ()), ("\n", ()), ("", ())],
)
def test_a_chat_template_adds_the_token_right_after_a_turn(folder, after, added):
    """And the text of a digit is none. Where no chat is asked, nothing is added."""
    write(folder / "tokenizer_config.json", chat_template=CHATML.replace("AFTER", after))
    assert ids(folder, "model.prompt_template=chat_boxed") == (*added, 1)
    assert ids(folder) == (1,)


def test_a_chat_template_that_takes_no_answer_adds_nothing(folder):
    write(folder / "tokenizer_config.json", chat_template="{{ raise_exception('only users') }}")
    assert ids(folder, "model.prompt_template=chat") == (1,)


def test_a_list_stands_for_itself(folder):
    write(folder / "generation_config.json", eos_token_id=99)
    assert ids(folder, "model.end_tokens=[9,3,3]") == (3, 9)
    model = parse_config(f"model.path={folder}", "model.end_tokens=[9,3]").model
    assert end_token_names(model, load_tokenizer(model)) == {"3": "1", "9": "7"}


@pytest.mark.parametrize("value", ["[]", "null", "auot", "[99]", "[-1]", "[1.5]", "[true]"])
def test_what_is_no_list_of_tokens_is_refused(folder, value):
    with pytest.raises(ConfigError, match=r"model\.end_tokens") as refusal:
        ids(folder, f"model.end_tokens={value}")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("file", "value"),
    [("config.json", 99), ("generation_config.json", [1, 99]), ("generation_config.json", "1")],
)
def test_an_end_token_that_the_model_does_not_have_is_refused_with_its_source(folder, file, value):
    write(folder / file, eos_token_id=value)
    with pytest.raises(ConfigError, match=rf"99|'1' of its {file} is none of its vocab_size=18"):
        ids(folder)


def test_a_tokenizer_that_guesses_its_end_token_is_refused(folder):
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ConfigError, match="the end token 18 of its tokenizer"):
        ids(folder)


def test_a_torn_generation_config_is_refused(folder):
    (folder / "generation_config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"generation_config\.json is no JSON object"):
        ids(folder)


def test_a_run_stops_at_all_of_them_and_every_record_says_so(make_run, folder, tmp_path):
    write(folder / "generation_config.json", eos_token_id=[1, 4, 5], top_k=1)
    run = make_run(f"model.path={folder}", "algorithm=two_grpo", "training.epochs=1")
    drawn = run.collector.collect(0).drawn
    rollouts = [rollout for group in drawn for rollout in group.rollouts]
    assert {4, 5} <= {rollout.token_ids[-1] for rollout in rollouts}
    assert not any({1, 4, 5} & {*rollout.token_ids[:-1]} for rollout in rollouts)
    train(run)
    names = {"1": "<eos>", "4": "2", "5": "3"}
    assert read_run_file(tmp_path / "run")["end_tokens"] == names
    card = json.loads((tmp_path / "run/evaluation/card.json").read_text())
    assert card["about"]["end_tokens"] == names
    final = json.loads((tmp_path / "run/final/generation_config.json").read_text())
    assert final["eos_token_id"] == [1, 4, 5] and "top_k" not in final


def test_a_checkpoint_is_evaluated_with_its_runs_end_tokens(make_run, folder, tmp_path):
    run = make_run(f"model.path={folder}", "model.end_tokens=[1,4]", "training.epochs=1")
    train(run)
    typed = [f"checkpoint={tmp_path / 'run'}", f"output_dir={tmp_path / 'again'}"]
    config = parse(compose_config(*typed, "tracking=local", name="evaluate"), EvaluateConfig)
    config.evaluation = run.config.evaluation
    evaluate_checkpoint(config)
    assert read_run_file(tmp_path / "again")["end_tokens"] == {"1": "<eos>", "4": "2"}


def test_responses_that_are_nearly_all_cut_are_said_once(make_run, tmp_path, capsys):
    """One token of 18 ends a response of one token, about one time in eighteen."""
    short = ("dataset.max_response_tokens=1", "evaluation.at_end=false", "training.epochs=2")
    train(make_run(*short))
    err = capsys.readouterr().err
    assert err.count("of the first responses reached dataset.max_response_tokens") == 1
    assert "model.end_tokens" in err
    # With nine of eighteen about half of them end.
    train(
        make_run(*short, "model.end_tokens=[1,2,3,4,5,6,7,8,9]", f"output_dir={tmp_path / 'ended'}")
    )
    assert "of the first responses" not in capsys.readouterr().err
