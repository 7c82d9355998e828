"""Tokenizers, how prompts are cut, how continuations end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from prefrl.text.samples import Prompt
from prefrl.text.tokens import (
    PAD,
    encode_prompts,
    encode_responses,
    load_tokenizer,
    to_samples,
    train_tokenizer,
    with_pad,
)
from tests import tiny_text


def words(**special):
    """A tokenizer of whole words, with the special tokens that are named."""
    plain = Tokenizer(models.WordLevel({"<unk>": 0, "<end>": 1, "a": 2, "b": 3}, "<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>", **special)


def decoded(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=True)


@given(st.text(max_size=40))
def test_a_trained_tokenizer_knows_every_text(text):
    tokenizer = tiny_text.tokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.sampled_from(["<|endoftext|>", "<|padding|>"]))
def test_what_looks_like_a_special_token_in_a_text_is_text(special):
    tokenizer, written = tiny_text.tokenizer(), f"before {special} after"
    samples = to_samples(tokenizer, [Prompt(written)], [written], 60, 60)
    assert samples.texts(tokenizer) == [written]
    assert samples.prompt_texts(tokenizer) == [written]
    assert (samples.responses == tokenizer.eos_token_id).sum() == 1


def test_a_tokenizer_that_cannot_hold_all_bytes_is_refused():
    with pytest.raises(ValueError, match="give at least 258"):
        train_tokenizer(["a"], 100)


def test_a_tokenizer_without_padding_gets_a_token_for_it(tmp_path):
    words(eos_token="<end>").save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.pad_token == PAD and tokenizer.pad_token_id == len(tokenizer) - 1


def test_a_tokenizer_that_pads_with_its_end_gets_a_token_for_it():
    assert with_pad(words(eos_token="<end>", pad_token="<end>")).pad_token == PAD


def test_a_tokenizer_without_end_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"no end-of-text token: set .* tokenizer.eos_token"):
        with_pad(words())


def test_detail_3_a_reference_starts_with_a_space_and_ends_with_the_end_of_text(tokenizer):
    ids = encode_responses(tokenizer, ["the cat", " the cat "], 12)
    assert ids[0].tolist() == ids[1].tolist()
    real = ids[0][ids[0] != tokenizer.pad_token_id]
    assert tokenizer.decode(real[:-1]) == " the cat" and real[-1] == tokenizer.eos_token_id


def test_a_reference_that_is_too_long_does_not_end(tokenizer):
    ids = encode_responses(tokenizer, ["the cat sees a dog in the garden"], 3)
    assert ids.shape == (1, 3) and tokenizer.eos_token_id not in ids and tokenizer.pad_token_id not in ids


def test_prompts_begin_as_the_tokenizer_has_texts_begin_and_continuations_do_not():
    begun = words(bos_token="<unk>", eos_token="<end>", pad_token="a")
    begun.backend_tokenizer.post_processor = processors.TemplateProcessing("<unk> $A", special_tokens=[("<unk>", 0)])
    prompts = [Prompt("b"), Prompt("b\n b b b", tail=" b")]
    ids, cut = encode_prompts(begun, prompts, 3)
    assert ids.tolist() == [[2, 0, 3], [0, 3, 3]] and cut == 1  # 2 is padding, which counts as any other
    assert encode_responses(begun, ["b"], 2).tolist() == [[3, 1]]


LONG = Prompt("one cat sits\ntwo dogs run far away. three birds sing\nfour men paint", "POST: ", "\nTL;DR:")


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ("one cat sits\ntwo dogs run\nfour men paint", "one cat sits\ntwo dogs run"),
        ("one cat sits\ntwo dogs run. four men paint", "one cat sits"),
        ("one cat sits. two dogs run. four men paint", "one cat sits. two dogs run."),
        ("one cat sits and two dogs run fourmenpaint", "one cat sits and two dogs run"),
    ],
)
def test_a_long_body_is_cut_at_its_last_line_end_or_else_sentence_or_word(tokenizer, body, kept):
    whole, part = (Prompt(text, "POST: ", "\nTL;DR:") for text in (body, kept))
    longest = len(tokenizer.encode(str(whole))) - 1
    ids, cut = encode_prompts(tokenizer, [whole, part], longest)
    assert cut == 1
    assert decoded(tokenizer, ids[0]) == str(part) == decoded(tokenizer, ids[1])


def test_a_word_longer_than_the_room_is_cut_within(tokenizer):
    ids, cut = encode_prompts(tokenizer, [Prompt("x" * 100, "", "\nTL;DR:")], 30)
    assert (
        cut == 1 and decoded(tokenizer, ids[0]).startswith("xxx") and decoded(tokenizer, ids[0]).endswith("x\nTL;DR:")
    )


@given(st.text(alphabet="ab .\n", min_size=1, max_size=80), st.integers(14, 60))
def test_no_prompt_is_longer_than_asked_and_head_and_tail_are_whole(body, longest):
    tokenizer = tiny_text.tokenizer()
    prompt = Prompt(body, "POST: ", "\nTL;DR:")
    ids, cut = encode_prompts(tokenizer, [prompt], longest)
    text = decoded(tokenizer, ids[0])
    assert ids.shape[1] <= longest
    assert text.startswith("POST: ") and text.endswith("\nTL;DR:")
    assert text == str(prompt) if not cut else body.startswith(text[6:-7])


def test_empty_prompts_are_refused_with_their_index(tokenizer):
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        encode_prompts(tokenizer, [Prompt("a"), Prompt(" ")], 10)


def test_heads_and_tails_that_do_not_fit_are_refused_with_their_index(tokenizer):
    with pytest.raises(ValueError, match=r"prompt 0: its head and tail alone have \d+ tokens, more than 4"):
        encode_prompts(tokenizer, [LONG], 4)


def test_samples_for_a_store_have_exactly_the_asked_widths(tokenizer):
    samples = to_samples(tokenizer, tiny_text.posts(3), ["a", "a dog", "the cat sees"], 40, 9)
    assert samples.prompts.shape == (3, 40) and samples.responses.shape == (3, 9)
