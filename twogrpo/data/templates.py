r"""Prompt templates: a problem's text as the model is asked it. Verbatim from their sources.

plain         the text as it is
chat          the tokenizer's own chat template, one message of the user
chat_boxed    the same with the request to reason and to box the answer after the problem
qwen25_math   "qwen25-math-cot" of QwenLM/Qwen2.5-Math, evaluation/utils.py
r1_distill    the tokenizer's own chat template of DeepSeek-R1-Distill, no system message, the
              request within the user's message: deepseek-ai/DeepSeek-R1, "Usage Recommendations"
think_boxed   the instruction of EasyR1 and verl for Geometry3K, after the problem
code_r1       system message and request of Code-R1, examples/data_preprocess/coder1.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from twogrpo.errors import ConfigError

BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
THINK_BOXED = (
    "You FIRST think about the reasoning process as an internal monologue and then provide the "
    "final answer. The reasoning process MUST BE enclosed within <think> </think> tags. The final "
    "answer MUST BE put in \\boxed{}."
)
CODE_R1 = (
    "You are a helpful programming assistant. The user will ask you a question and you as the "
    "assistant solve it. The assistant first thinks how to solve the task through reasoning and "
    "then provides the user with the final answer. The reasoning process and answer are enclosed "
    "within <think>...</think> and <answer>...</answer> tags, respectively."
)
QWEN25_MATH = (
    f"<|im_start|>system\n{BOXED}<|im_end|>\n"
    "<|im_start|>user\n{problem}<|im_end|>\n"
    "<|im_start|>assistant\n"
)

Messages = list[dict[str, str]]


def _user(content: str) -> Messages:
    return [{"role": "user", "content": content}]


# Of those that go through the tokenizer's chat template: the problem as messages.
CHAT: dict[str, Callable[[str], Messages]] = {
    "chat": _user,
    "chat_boxed": lambda problem: _user(f"{problem}\n{BOXED}"),
    "r1_distill": lambda problem: _user(f"{problem}\n{BOXED}"),
    "code_r1": lambda problem: [{"role": "system", "content": CODE_R1}, *_user(problem)],
    "think_boxed": lambda problem: _user(f"{problem} {THINK_BOXED}"),
}
TEMPLATES = ("plain", "qwen25_math", *CHAT)
# Where a problem's text has an image, as EasyR1 publishes Geometry3K.
PICTURE = "<image>"


def render(
    problem: str, *, template: str, tokenizer: PreTrainedTokenizerBase, num_images: int = 0
) -> list[int]:
    """Token ids of the templated problem; each image is one image token.

    An image stands where the problem says `<image>`; where it never does, all stand before it.

    Raises:
        ConfigError: the template is unknown, or the tokenizer has no chat template.
        ValueError: the problem says `<image>` more or less often than it has images.
    """
    text = problem
    if num_images and template not in CHAT:
        raise ConfigError(
            f"model.prompt_template={template} has no place for images: use think_boxed"
        )
    if template == "qwen25_math":
        # Not format(): a problem is full of braces.
        text = QWEN25_MATH.replace("{problem}", problem)
    elif template in CHAT:
        messages = CHAT[template](problem)
        text = _through_chat(_illustrated(messages, num_images), template, tokenizer)
    elif template != "plain":
        raise ConfigError(
            f"model.prompt_template={template} is unknown: use one of {', '.join(TEMPLATES)}"
        )
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _illustrated(messages: Messages, num_images: int) -> list[dict[str, Any]]:
    """The messages with the user's text cut where its images stand; as they are without any."""
    if not num_images:
        return list(messages)
    *before, question = messages
    content = question["content"]
    if PICTURE not in content:
        content = PICTURE * num_images + content
    first, *others = content.split(PICTURE)
    if len(others) != num_images:
        raise ValueError(f"{num_images} images but {len(others)} places for them")
    parts: list[dict[str, str]] = [{"type": "text", "text": first}]
    for text in others:
        parts += [{"type": "image"}, {"type": "text", "text": text}]
    return [*before, {**question, "content": [part for part in parts if part.get("text") != ""]}]


def _through_chat(
    messages: list[dict[str, Any]], name: str, tokenizer: PreTrainedTokenizerBase
) -> str:
    if tokenizer.chat_template is None:
        raise ConfigError(
            f"model.prompt_template={name} needs a tokenizer with a chat template: "
            "use another model, or model.prompt_template=plain"
        )
    try:
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except TemplateError as error:
        raise ConfigError(
            f"model.prompt_template={name}: the tokenizer's chat template refuses ({error}): "
            "use another template"
        ) from error
    assert isinstance(text, str)
    return text
