r"""Prompt templates, verbatim from their sources.

plain         the unchanged text, after the BOS token if the tokenizer adds one
chat          the tokenizer's own chat template, one user message
chat_boxed    the same with the instruction to reason and to box the answer after the problem
qwen25_math   "qwen25-math-cot" of QwenLM/Qwen2.5-Math, evaluation/utils.py
r1_distill    DeepSeek-R1-Distill's own chat template without a system message, the instruction
              in the user message: deepseek-ai/DeepSeek-R1, "Usage Recommendations"
think_boxed   the instruction of EasyR1 and verl for Geometry3K, after the problem
code_r1       the system message and instruction of Code-R1, examples/data_preprocess/coder1.py
"""

from __future__ import annotations

import itertools
import json
import re
import signal
from functools import lru_cache
from typing import Any

from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer
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


# The templates that use the tokenizer's chat template: the text after the problem.
CHAT = {
    "chat": "",
    "chat_boxed": f"\n{BOXED}",
    "r1_distill": f"\n{BOXED}",
    "code_r1": "",
    "think_boxed": f" {THINK_BOXED}",
}
SYSTEM = {"code_r1": CODE_R1}
TEMPLATES = ("plain", "qwen25_math", *CHAT)
TEMPLATE_SECONDS = 10  # of one prompt; the longest real ones take milliseconds
# Marks an image in a problem's text, as in EasyR1's release of Geometry3K.
PICTURE = "<image>"
# Stands for the problem's text in the template; a private-use character.
PLACE = "\ue000"


def render(
    problem: str, template: str, tokenizer: PreTrainedTokenizerBase, *, num_images: int = 0
) -> list[int]:
    """The token ids of the templated problem; each image is one image token.

    Images replace `<image>` in the text; without any `<image>` they precede the text. Control
    tokens are the template's: where the problem spells one, such as `<|im_end|>`, it stays text.

    Raises:
        ConfigError: the template is unknown, or the tokenizer has no chat template.
        ValueError: the numbers of `<image>` marks and of images differ, or the problem spells a
            control token and cannot be kept apart from its template.
    """
    if num_images and template not in CHAT:
        raise ConfigError(
            f"model.prompt_template={template} does not support images: use think_boxed"
        )

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    text, controls = _framed(problem, template, tokenizer, num_images), _control_ids(tokenizer)
    # Chat templates write their own BOS; a base model gets it where its tokenizer would add it.
    added = tokenizer("")["input_ids"][:1] if template == "plain" else []
    begin = added if added == [tokenizer.bos_token_id] else []
    if controls.isdisjoint(encode(problem)):
        return begin + encode(text)
    pieces = problem.split(PICTURE) if num_images else [problem]
    frame = _framed(PICTURE.join([PLACE] * len(pieces)), template, tokenizer, num_images)
    first, *others = map(encode, frame.split(PLACE))
    reader = _text_only(tokenizer) if tokenizer.is_fast else None
    read = [reader.encode(piece, add_special_tokens=False).tokens for piece in pieces if reader]
    spelled = [tokenizer.convert_tokens_to_ids(tokens) for tokens in read]
    if len(spelled) != len(others) or not controls.isdisjoint(itertools.chain(*spelled)):
        raise ValueError("it spells a control token, and the tokenizer or template keeps it one")
    pairs = zip(spelled, others, strict=True)
    return begin + first + [token for piece, after in pairs for token in (*piece, *after)]


def _framed(problem: str, template: str, tokenizer: PreTrainedTokenizerBase, images: int) -> str:
    """The problem in its template, with `images` images."""
    if template == "plain":
        return problem
    if template == "qwen25_math":
        # Not format(): problems contain braces.
        return QWEN25_MATH.replace("{problem}", problem)
    if template in CHAT:
        content = _illustrated(problem + CHAT[template], images)
        return _through_chat(content, template, tokenizer)
    raise ConfigError(
        f"model.prompt_template={template} is unknown: use one of {', '.join(TEMPLATES)}"
    )


@lru_cache(maxsize=1)
def _control_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The special tokens and those that look like marks (`<think>`), not added words or blanks."""
    added = tokenizer.get_added_vocab().items()
    marks = {token for text, token in added if re.fullmatch(r"\W.*\W", text.strip(), re.DOTALL)}
    return frozenset(marks.union(tokenizer.all_special_ids))


@lru_cache(maxsize=1)
def _text_only(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """A tokenizer that reads no control token; its ids of other added tokens may differ."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    controls = _control_ids(tokenizer)
    content["added_tokens"] = [t for t in content["added_tokens"] if t["id"] not in controls]
    content |= {"truncation": None, "padding": None}
    return Tokenizer.from_str(json.dumps(content))


def _illustrated(text: str, num_images: int) -> str | list[dict[str, str]]:
    """Splits the user's text at its images; without images it is unchanged."""
    if not num_images:
        return text
    first, *others = (text if PICTURE in text else PICTURE * num_images + text).split(PICTURE)
    if len(others) != num_images:
        raise ValueError(f"{num_images} images but {len(others)} places for them")
    parts: list[dict[str, str]] = [{"type": "text", "text": first}]
    for other in others:
        parts += [{"type": "image"}, {"type": "text", "text": other}]
    return [part for part in parts if part.get("text") != ""]


def _through_chat(content: Any, name: str, tokenizer: PreTrainedTokenizerBase) -> str:
    if tokenizer.chat_template is None:
        raise ConfigError(
            f"model.prompt_template={name} needs a tokenizer with a chat template: "
            "use another model, or model.prompt_template=plain"
        )
    messages = [{"role": "system", "content": SYSTEM[name]}] if name in SYSTEM else []
    messages.append({"role": "user", "content": content})
    try:
        return apply_chat_template(tokenizer, messages, add_generation_prompt=True)
    except TemplateError as error:
        raise ConfigError(
            f"model.prompt_template={name} is refused by the tokenizer's chat template ({error}): "
            "use another template"
        ) from error


def apply_chat_template(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]], **how: Any
) -> str:
    """The messages as the tokenizer's chat template renders them; it is a program, and may not end.

    Raises:
        TemplateError: the template refuses the messages, or takes longer than `TEMPLATE_SECONDS`.
    """

    def give_up(*_: object) -> None:
        raise TemplateError(f"it takes over {TEMPLATE_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, give_up)  # renders in the main thread only
    signal.setitimer(signal.ITIMER_REAL, TEMPLATE_SECONDS)
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **how))
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise TemplateError(f"{type(error).__name__}: {error}") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
