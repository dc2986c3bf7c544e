"""The start checkpoint: how it is trained, when it is refused, and the one in the repository."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.conftest import ROOT, compose_config
from twogrpo.config.schema import parse
from twogrpo.data.tasks import tiny_tokenizer
from twogrpo.data.tasks.chain_arithmetic import owner
from twogrpo.errors import ConfigError
from twogrpo.training import warm_start

SHIPPED = ROOT / "assets" / "tiny"


def config(tmp_path: Path, *overrides: str) -> warm_start.WarmStart:
    typed = [f"output_dir={tmp_path / 'start'}", *overrides]
    return parse(compose_config(*typed, name="tiny_model"), warm_start.WarmStart)


@pytest.fixture
def short(tmp_path) -> warm_start.WarmStart:
    """Two stages of two steps, and a gate that lets everything pass."""
    made = config(
        tmp_path, "gate.mean_at_least=0", "gate.pass_at_least=0",
        "evaluation.problems_per_benchmark=2", "evaluation.num_samples=2",
    )  # fmt: skip
    for stage in made.stages:
        stage.steps, stage.batch_size = 2, 4
    return made


def test_labels_are_the_response_and_its_end_token():
    tokenizer = tiny_tokenizer.build()
    batch = warm_start.collate([("1+2=", "3"), ("2*3+4=", "6+4=0")], tokenizer)
    # Ids: digits from 2, + 12, * 14, = 17; the end is 1, padding 0; -100 is out of the loss.
    assert batch["input_ids"].tolist() == [
        [3, 12, 4, 17, 5, 1, 0, 0, 0, 0, 0, 0],
        [4, 14, 5, 12, 6, 17, 8, 12, 6, 17, 2, 1],
    ]
    assert batch["labels"].tolist() == [
        [-100] * 4 + [5, 1] + [-100] * 6,
        [-100] * 6 + [8, 12, 6, 17, 2, 1],
    ]


def test_the_traces_are_of_the_warm_start_split_only():
    pairs = itertools.islice(warm_start.traces(0.5, seed=3), 500)
    assert {owner(prompt.removesuffix("=")) for prompt, _ in pairs} == {"warm_start"}


def test_training_learns(tmp_path):
    tokenizer = tiny_tokenizer.build()
    model = warm_start.build_model(config(tmp_path).architecture, tokenizer, seed=0)
    held_out = warm_start.collate(
        list(itertools.islice(warm_start.traces(0.0, seed=9), 64)), tokenizer
    )
    stage = warm_start.Stage(steps=40, learning_rate=6e-3, batch_size=16, error_rate=0.0)
    before = model(**held_out).loss.item()
    warm_start.train(model, tokenizer, stage, seed=1)
    # The frequencies of the symbols, about log 14 = 2.6 nats a token, are learnt first.
    assert before > 2.6
    assert model(**held_out).loss.item() < 2.0


def test_the_same_configuration_makes_the_same_bytes(short, tmp_path):
    warm_start.make(short)
    first = Path(short.output_dir, "SHA256SUMS").read_text()
    short.output_dir = str(tmp_path / "again")
    warm_start.make(short)
    assert Path(short.output_dir, "SHA256SUMS").read_text() == first
    assert first == warm_start.checksums(tmp_path / "start")


def test_a_folder_that_pins_another_checkpoint_is_replaced_only_on_request(short):
    warm_start.make(short)
    pinned = warm_start.checksums(Path(short.output_dir))
    short.seed = 1
    with pytest.raises(ConfigError, match="pins another checkpoint"):
        warm_start.make(short)
    assert warm_start.checksums(Path(short.output_dir)) == pinned
    short.replace = True
    warm_start.make(short)
    assert warm_start.checksums(Path(short.output_dir)) != pinned


def test_a_refused_start_is_not_written(short):
    short.gate.mean_at_least = short.gate.mean_at_most = 1.0  # two steps make no model perfect
    with pytest.raises(ConfigError, match="error_rate"):
        warm_start.make(short)
    assert not Path(short.output_dir).exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: setattr(c, "output_dir", __file__), "output_dir=.*Not a directory"),
        (lambda c: setattr(c, "output_dir", "x" * 300), "output_dir=.*too long a name"),
        (lambda c: setattr(c, "stages", []), "stages=.* give"),
        (lambda c: setattr(c.gate, "benchmark", "none"), "gate.benchmark=none"),
        (lambda c: setattr(c.architecture, "num_attention_heads", 7), "hidden_size=64"),
    ],
)
def test_what_is_wrong_is_found_before_training(change, named, short, monkeypatch):
    monkeypatch.setattr(warm_start, "train", lambda *_, **__: pytest.fail("it trained"))
    change(short)
    with pytest.raises(ConfigError, match=named):
        warm_start.make(short)


def test_the_gate_names_the_value_out_of_bounds(tmp_path):
    gate = config(tmp_path).gate
    warm_start.check_gate(gate, mean=0.25, passed=0.75)
    warm_start.check_gate(gate, mean=0.50, passed=1.0)
    for mean, passed, named in (
        (0.51, 1.0, "Mean@n .* is 0.510, .* raise"),
        (0.24, 1.0, "Mean@n .* is 0.240, .* lower"),
        (0.30, 0.74, "Pass@n .* is 0.740, but gate.pass_at_least=0.75"),
    ):
        with pytest.raises(ConfigError, match=named):
            warm_start.check_gate(gate, mean=mean, passed=passed)


def test_the_shipped_model_is_a_small_qwen2_that_vllm_can_serve(tmp_path):
    assert (SHIPPED / "SHA256SUMS").read_text() == warm_start.checksums(SHIPPED)
    # A generation_config.json with a temperature would override conf/ in some engines.
    assert not (SHIPPED / "generation_config.json").exists()
    model = AutoModelForCausalLM.from_pretrained(SHIPPED)
    written = json.loads((SHIPPED / "config.json").read_text())
    assert not {"temperature", "top_p", "top_k", "do_sample"} & written.keys()
    shape = config(tmp_path).architecture
    assert type(model).__name__ == "Qwen2ForCausalLM"
    assert 100_000 <= model.num_parameters() <= 300_000
    assert model.config.hidden_size // model.config.num_attention_heads >= 32
    assert model.lm_head.weight is model.model.embed_tokens.weight
    written = {key: value for key, value in vars(shape).items() if key != "rope_theta"}
    assert {key: getattr(model.config, key) for key in written} == written
    assert model.dtype == torch.float32


def test_the_shipped_tokenizer_is_the_one_in_the_code(tmp_path):
    built, shipped = tiny_tokenizer.build(), AutoTokenizer.from_pretrained(SHIPPED)
    built.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (SHIPPED / name).read_text() == (tmp_path / name).read_text()
    assert shipped.get_vocab() == built.get_vocab()
    assert (shipped.pad_token, shipped.eos_token) == ("<pad>", "<eos>")


def test_the_shipped_model_passes_the_gate(tmp_path):
    made = config(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(SHIPPED)
    mean, passed = warm_start.measure(model, AutoTokenizer.from_pretrained(SHIPPED), made)
    warm_start.check_gate(made.gate, mean=mean, passed=passed)
