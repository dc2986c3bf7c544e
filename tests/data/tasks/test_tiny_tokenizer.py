"""The tiny tokenizer: one token a character, and unchanged by being saved and loaded."""

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2Config

from twogrpo.data.tasks import tiny_tokenizer
from twogrpo.data.tasks.chain_arithmetic import RECIPES, problems, trace


@pytest.fixture(params=["built", "loaded"])
def tokenizer(request, tmp_path) -> PreTrainedTokenizerFast:
    built = tiny_tokenizer.build()
    if request.param == "built":
        return built
    built.save_pretrained(tmp_path)
    Qwen2Config(vocab_size=len(built)).save_pretrained(tmp_path)  # this picks the class loaded
    return AutoTokenizer.from_pretrained(tmp_path)


def test_ids_worked_by_hand(tokenizer):
    # 0 pads, 1 ends, digits from 2, then + 12, - 13, * 14, ( 15, ) 16, = 17.
    assert tokenizer.encode("(3*8)+5-0=<eos>") == [15, 5, 14, 10, 16, 12, 7, 13, 2, 17, 1]


def test_vocabulary_is_the_symbols_and_two_more(tokenizer):
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert len(tokenizer) == 18
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<pad>", 0)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<eos>", 1)
    assert set(tokenizer.all_special_tokens) == {"<pad>", "<eos>"}


@pytest.mark.parametrize("split", RECIPES)
def test_decode_inverts_encode_one_token_a_character(tokenizer, split):
    for problem in problems(split, 50, 0):
        text = problem.text + trace(problem.text.removesuffix("="))
        token_ids = tokenizer.encode(text)
        assert tokenizer.decode(token_ids) == text
        assert len(token_ids) == len(text)


def test_special_tokens_can_be_left_out_and_padding_is_on_the_left(tokenizer):
    token_ids = [*tokenizer.encode("4+5=9"), tokenizer.eos_token_id, tokenizer.pad_token_id]
    assert tokenizer.decode(token_ids, skip_special_tokens=True) == "4+5=9"
    padded = tokenizer(["1+2=", "1="], padding=True)
    assert padded["input_ids"] == [[3, 12, 4, 17], [0, 0, 3, 17]]
    assert padded["attention_mask"] == [[1, 1, 1, 1], [0, 0, 1, 1]]
