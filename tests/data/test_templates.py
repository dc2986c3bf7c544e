"""Prompts to the letter."""

import pytest
from transformers import PreTrainedTokenizerFast

from twogrpo.data.templates import BOXED, CODE_R1, THINK_BOXED, render
from twogrpo.errors import ConfigError

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PROBLEM = r"Find {x}: \frac{1}{2} + {problem}"


class Characters:
    """A tokenizer whose tokens are characters."""

    def __init__(self, chat_template: str | None) -> None:
        self.chat_template = chat_template
        self.special_tokens_map: dict[str, str] = {}

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens  # the template writes them
        return {"input_ids": [ord(c) for c in text]}

    apply_chat_template = PreTrainedTokenizerFast.apply_chat_template
    get_chat_template = PreTrainedTokenizerFast.get_chat_template


def rendered(template: str, chat_template: str | None = CHATML) -> str:
    return "".join(map(chr, render(PROBLEM, template, Characters(chat_template))))


def chatml(*messages: tuple[str, str]) -> str:
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in messages)
    return text + "<|im_start|>assistant\n"


def test_plain_is_the_text_itself_and_qwen25_math_its_authors_text():
    assert rendered("plain", None) == PROBLEM
    assert BOXED == "Please reason step by step, and put your final answer within \\boxed{}."
    assert rendered("qwen25_math", None) == chatml(("system", BOXED), ("user", PROBLEM))


def test_the_others_go_through_the_tokenizers_own_chat_template():
    assert rendered("chat") == chatml(("user", PROBLEM))
    assert rendered("chat_boxed") == chatml(("user", f"{PROBLEM}\n{BOXED}"))
    assert rendered("r1_distill") == rendered("chat_boxed")
    assert rendered("think_boxed") == chatml(("user", f"{PROBLEM} {THINK_BOXED}"))
    assert rendered("code_r1") == chatml(("system", CODE_R1), ("user", PROBLEM))


def test_what_cannot_be_rendered_is_one_line():
    with pytest.raises(ConfigError, match="prompt_template=banana is unknown"):
        rendered("banana")
    with pytest.raises(ConfigError, match="needs a tokenizer with a chat template"):
        rendered("chat", None)
    with pytest.raises(ConfigError, match="code_r1 is refused"):
        rendered("code_r1", "{{ raise_exception('no system message') }}")
