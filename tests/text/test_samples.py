"""Prompts and continuations as tokens: what is padding, what is real, where it stands."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefrl.text.samples import Prompt, Samples, cat
from tests import tiny_text

lengths = st.lists(st.integers(1, 7), min_size=1, max_size=5)


@given(lengths, lengths)
def test_detail_1_queries_are_padded_left_responses_right_and_positions_come_from_the_mask(responses, prompts):
    samples = tiny_text.ragged(responses, prompts)
    wide = max(prompts)
    for row, length in enumerate(responses):
        words = prompts[row % len(prompts)]
        assert samples.attention[row].tolist() == [
            *[False] * (wide - words), *[True] * (words + length), *[False] * (max(responses) - length)
        ]  # fmt: skip
        assert samples.positions[row, samples.attention[row]].tolist() == [*range(words + length)]


def test_detail_2_the_padding_token_is_not_the_end_of_text(tokenizer):
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    with pytest.raises(ValueError, match="a token of its own"):
        Samples(torch.zeros(1, 2), torch.zeros(1, 2), pad=0, eos=0)


@given(lengths)
def test_lengths_count_real_tokens_and_the_end_is_one(lengths):
    samples = tiny_text.ragged(lengths)
    assert samples.lengths.tolist() == lengths
    assert samples.ended.tolist() == [length < max(lengths) for length in lengths]


@given(lengths)
def test_trimmed_samples_have_the_same_tokens_in_as_few_columns_as_there_can_be(lengths):
    samples = tiny_text.ragged(lengths, prompts=(2,))
    wide = tiny_text.tokenizer().pad_token_id * torch.ones(len(lengths), 3, dtype=torch.int64)
    padded = Samples(
        torch.cat([wide, samples.prompts], 1), torch.cat([samples.responses, wide], 1), samples.pad, samples.eos
    )
    assert torch.equal(padded.trimmed().ids, samples.ids)


def test_a_segment_is_the_ids_and_which_of_them_the_policy_wrote():
    samples = tiny_text.ragged([2, 4], prompts=(1, 3))
    for row, segment in enumerate(samples.segments()):
        assert segment.obs.dtype == np.int32 and segment.obs.tolist() == samples.ids[row].tolist()
        assert segment.acts.dtype == np.uint8
        assert segment.acts.tolist() == [0, 0, 0, *samples.mask[row].int().tolist()]


def test_samples_put_together_and_taken_apart_are_the_same():
    samples = tiny_text.ragged([2, 4, 3])
    again = cat([samples[:1], samples[[1, 2]]])
    assert torch.equal(again.ids, samples.ids)
    with pytest.raises(ValueError, match="no samples"):
        cat([])


def test_every_prompt_needs_a_continuation():
    with pytest.raises(ValueError, match="2 prompts cannot have 1 continuations"):
        Samples(torch.zeros(2, 1), torch.zeros(1, 1), 1, 0)


def test_texts_have_no_special_tokens_and_no_space_around_them(tokenizer):
    samples = tiny_text.written()
    words = samples.texts(tokenizer)
    assert all(text and text == text.strip() and "<|" not in text for text in words)
    assert samples.prompt_texts(tokenizer) == [str(post) for post in tiny_text.posts(6, sentences=1)]


def test_a_prompt_reads_head_body_tail():
    assert str(Prompt("body", "head ", " tail")) == "head body tail"
