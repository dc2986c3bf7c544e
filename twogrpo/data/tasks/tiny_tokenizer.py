"""The tiny model's tokenizer: one token for each of the task's 16 symbols, a pad and an end token.

transformers 5 loads the tokenizer of every Qwen2 folder as `Qwen2Tokenizer` (a
`PreTrainedTokenizerFast`), whatever class was saved, keeping the vocabulary and replacing the
rest. Building a `Qwen2Tokenizer` makes the saved and the loaded tokenizer the same.
"""

from transformers import Qwen2Tokenizer

SYMBOLS = "0123456789+-*()="
PAD = "<pad>"
EOS = "<eos>"
MAX_TOKENS = 64  # the longest text of the task, six operands and their reduction, has 44


def build() -> Qwen2Tokenizer:
    """A byte-level BPE without merges over `SYMBOLS`, so that a character is a token.

    Ids: 0 pads, 1 ends, then `SYMBOLS` in their order. Prompts are padded on the left, as
    sampling requires. Encoding adds no special tokens; a character outside `SYMBOLS` is *dropped*
    silently (this tokenizer class has no unknown token), so compare the decoded text when in doubt.
    """
    vocabulary = {symbol: token_id for token_id, symbol in enumerate([PAD, EOS, *SYMBOLS])}
    return Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[],
        unk_token=None,
        pad_token=PAD,
        eos_token=EOS,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_TOKENS,
    )
