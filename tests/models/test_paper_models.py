"""The paper's five models from what their repositories publish, at a toy size, from end to end.

Each folder has the published keys of config.json, generation_config.json and tokenizer_config.json
(as of 2025), with small shapes, random weights and a tokenizer over bytes whose special tokens are
the model's own. The weights are made so that all its special tokens are often sampled.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from tests import tiny_vision
from tests.conftest import compose_config
from twogrpo.config.schema import parse
from twogrpo.config.script_schemas import EvaluateConfig
from twogrpo.evaluation.checkpoint import evaluate_checkpoint
from twogrpo.run_record.files import read_rows, read_run_file
from twogrpo.training.loop import train

SHAPE = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "hidden_act": "silu", "rms_norm_eps": 1e-6, "use_cache": True,
    "attention_dropout": 0.0, "initializer_range": 0.15, "torch_dtype": "bfloat16",
    "use_sliding_window": False,
}  # fmt: skip
QWEN2 = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_mrope": False} | SHAPE
TEXT_END, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHATML = [TEXT_END, TURN_START, TURN_END]
VISION = ["<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
R1_END, R1_BEGIN = "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>"
R1 = [R1_END, R1_BEGIN, "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"]
R1_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}<｜User｜>{{ m['content'] }}"
    "{% else %}<｜Assistant｜>{{ m['content'] }}<｜end▁of▁sentence｜>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜><think>\n{% endif %}"
)
MATH: dict[str, Any] = {
    "special": CHATML,
    "config": QWEN2 | {
        "bos_token_id": TEXT_END, "eos_token_id": TEXT_END, "max_position_embeddings": 4096,
        "sliding_window": 4096, "max_window_layers": 21, "rope_theta": 10000,
        "tie_word_embeddings": True,
    },
    "generation": {
        "bos_token_id": TEXT_END, "eos_token_id": TEXT_END, "do_sample": False,
        "max_new_tokens": 2048,
    },
    "tokenizer": {"eos_token": TEXT_END, "pad_token": TEXT_END},
    "ends": {TEXT_END, TURN_END},  # the second is of the template alone
}  # fmt: skip
INSTRUCT = {
    "do_sample": True, "bos_token_id": TEXT_END, "pad_token_id": TEXT_END,
    "eos_token_id": [TURN_END, TEXT_END], "repetition_penalty": 1.05, "temperature": 0.7,
    "top_p": 0.8, "top_k": 20,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "qwen25_math_1_5b": MATH,
    "qwen25_math_7b": MATH | {
        "config": MATH["config"] | {"max_window_layers": 28, "tie_word_embeddings": False}
    },
    "r1_distill_qwen_1_5b": {
        "special": R1,
        # Its config.json names the ids of Qwen's tokenizer, of which the second is another token.
        "config": MATH["config"] | {
            "bos_token_id": R1_END, "eos_token_id": R1_END, "max_position_embeddings": 131072,
            "tie_word_embeddings": False,
        },
        "generation": {
            "bos_token_id": R1_BEGIN, "eos_token_id": R1_END, "do_sample": True,
            "temperature": 0.6, "top_p": 0.95,
        },
        "tokenizer": {
            "bos_token": R1_BEGIN, "eos_token": R1_END, "pad_token": R1_END,
            "add_bos_token": True, "add_eos_token": False, "chat_template": R1_TEMPLATE,
        },
        "ends": {R1_END},
    },
    "qwen25_7b_instruct_1m": {
        "special": CHATML,
        "config": QWEN2 | {
            "bos_token_id": TEXT_END, "eos_token_id": TURN_END, "rope_theta": 10000000.0,
            "max_position_embeddings": 1010000, "sliding_window": 32768, "max_window_layers": 28,
            "tie_word_embeddings": False,
            "dual_chunk_attention_config": {
                "chunk_size": 262144, "local_size": 8192, "original_max_position_embeddings": 262144
            },
        },
        "generation": INSTRUCT,
        "tokenizer": {"eos_token": TURN_END, "pad_token": TEXT_END},
        "ends": {TURN_END, TEXT_END},
    },
    "qwen25_vl_7b": {
        "special": [*CHATML, *VISION],
        "config": SHAPE | {
            "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl",
            "bos_token_id": TEXT_END, "eos_token_id": TURN_END, "vision_start_token_id": VISION[0],
            "vision_end_token_id": VISION[1], "vision_token_id": VISION[2],
            "image_token_id": VISION[3], "video_token_id": VISION[4],
            "max_position_embeddings": 128000, "sliding_window": 32768, "max_window_layers": 28,
            "rope_theta": 1000000.0, "tie_word_embeddings": False,
            "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
            "vision_config": {
                "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
                "out_hidden_size": 64, "window_size": 56, "fullatt_block_indexes": [1],
            },
        },
        "generation": INSTRUCT | {"temperature": 1e-6},
        "tokenizer": {"eos_token": TURN_END, "pad_token": TEXT_END},
        "ends": {TURN_END, TEXT_END},
    },
}  # fmt: skip


def publish(name: str, folder: Path) -> dict[str, int]:
    """Writes the model's folder and returns the ids of its special tokens."""
    facts = MODELS[name]
    place = {token: number for number, token in enumerate(facts["special"])}

    def by_id(value: Any) -> Any:
        if isinstance(value, list):
            return [by_id(item) for item in value]
        return place.get(value, value) if isinstance(value, str) else value

    def write(file: str, content: dict[str, Any]) -> None:
        (folder / file).write_text(json.dumps({key: by_id(v) for key, v in content.items()}))

    config = facts["config"] | {"vocab_size": len(place) + 256}
    write("config.json", config)
    tiny_vision.tokenizer(facts["special"], **facts["tokenizer"]).save_pretrained(folder)
    takes_images = "vision_config" in config
    if takes_images:
        tiny_vision.processor().save_pretrained(folder)
    auto = AutoModelForImageTextToText if takes_images else AutoModelForCausalLM
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        config_object = AutoConfig.from_pretrained(folder)
        model = auto.from_config(config_object, dtype=torch.float32)
    with torch.no_grad():  # a large constant first feature, which raises the special tokens' logits
        head = model.get_output_embeddings().weight
        head[: len(place)] = 0
        for weight in (model.get_input_embeddings().weight, head):
            weight[:, 0] = 10
        head[: len(place), 0] += 1.25
    model.to(torch.bfloat16).save_pretrained(folder)
    write("config.json", config)  # as published, not as transformers writes it
    write("generation_config.json", facts["generation"])
    return place


@pytest.mark.parametrize("name", MODELS)
def test_it_samples_ends_trains_a_step_and_is_evaluated(name, make_run, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    place = publish(name, folder)
    ends = {place[token] for token in MODELS[name]["ends"]}
    typed = [
        f"model={name}", f"model.path={folder}", "algorithm=two_grpo", "training.epochs=1",
        "dataset.max_prompt_tokens=1000", "evaluation.max_prompt_tokens=1000",
        "evaluation.benchmarks=[in_distribution]",
    ]  # fmt: skip
    run = make_run(*typed)
    rollouts = [r for group in run.collector.collect(0).drawn for r in group.rollouts]
    assert {r.token_ids[-1] for r in rollouts if r.finish_reason == "stop"} == ends
    assert not any(ends & {*r.token_ids[:-1]} for r in rollouts)
    assert any(r.finish_reason == "length" for r in rollouts)
    assert not any(token in r.text for r in rollouts for token in place)

    train(run)
    first, last = read_rows(tmp_path / "run")
    assert first["mismatch/max"] < 1e-4 and first["policy/gradient_norm"] > 0
    assert 0 <= last["evaluation/in_distribution/mean"] <= 1
    named = read_run_file(tmp_path / "run")["end_tokens"]
    assert {int(token_id) for token_id in named} == ends
    assert {*named.values()} == MODELS[name]["ends"]

    final = json.loads((tmp_path / "run/final/generation_config.json").read_text())
    assert {*final["eos_token_id"]} == ends
    assert not {"temperature", "top_p", "repetition_penalty", "max_new_tokens"} & {*final}
    typed = [f"checkpoint={tmp_path / 'run'}", f"output_dir={tmp_path / 'again'}", "tracking=local"]
    again = parse(compose_config(*typed, name="evaluate"), EvaluateConfig)
    again.evaluation = run.config.evaluation
    evaluate_checkpoint(again)
    assert read_run_file(tmp_path / "again")["end_tokens"] == named
