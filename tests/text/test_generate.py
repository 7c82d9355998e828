"""Generation, and how likely a model finds continuations: against loops without padding, cache or batch."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from prefrl.text.generate import continued, distance, entropy_of, generate, kl_of, log_probs, spread, token_logits
from prefrl.text.kl import per_sequence
from prefrl.text.samples import Samples
from prefrl.text.tokens import encode_prompts
from tests import tiny_text

MODEL, TOKENIZER = tiny_text.model(), tiny_text.tokenizer()
EOS, PAD = TOKENIZER.eos_token_id, TOKENIZER.pad_token_id


def alone(model, samples, row, temperature=1.0):
    """Log-probabilities of one continuation by a plain forward of its real tokens only."""
    ids, length = samples.ids[row][samples.attention[row]], int(samples.lengths[row])
    with torch.no_grad():
        logits = model(input_ids=ids[None]).logits[0].float() / temperature
    logits[:, PAD] = -torch.inf
    return logits.log_softmax(-1)[-length - 1 : -1].gather(1, ids[-length:, None])[:, 0]


def ender(chance):
    """A model that ends at each token with about this chance."""
    model = deepcopy(MODEL)
    with torch.no_grad():
        model.lm_head = torch.nn.Linear(32, len(TOKENIZER))
        model.lm_head.weight.zero_()
        model.lm_head.bias.zero_()
        model.lm_head.bias[EOS] = torch.tensor(chance / (1 - chance) * (len(TOKENIZER) - 2)).log()
    return model


lengths = st.lists(st.integers(1, 6), min_size=1, max_size=4)


@settings(max_examples=20)
@given(lengths, lengths, st.sampled_from([0.5, 1.0, 2.0]))
def test_log_probs_of_ragged_batches_equal_those_of_each_sequence_alone(responses, prompts, temperature):
    samples = tiny_text.ragged(responses, prompts)
    batch = log_probs(MODEL, samples, temperature)
    for row, length in enumerate(responses):
        torch.testing.assert_close(batch[row, :length], alone(MODEL, samples, row, temperature), atol=1e-5, rtol=0)
    assert not batch[~samples.mask].any()


def test_detail_1_padding_on_either_side_changes_nothing():
    samples = tiny_text.ragged([2, 5, 3])
    more = torch.full((3, 4), PAD)
    padded = Samples(torch.cat([more, samples.prompts], 1), torch.cat([samples.responses, more], 1), PAD, EOS)
    torch.testing.assert_close(log_probs(MODEL, padded)[:, :5], log_probs(MODEL, samples), atol=1e-6, rtol=0)


def test_detail_9_one_temperature_scales_generation_and_log_probs():
    """No false alarm: the generator is seeded."""
    temperature, count = 2.0, 4_000
    prompt = tiny_text.ragged([1], prompts=(2,)).prompts
    drawn = generate(MODEL, TOKENIZER, prompt.expand(count, -1), 1, temperature, torch.Generator().manual_seed(0))
    each = Samples(prompt.expand(len(TOKENIZER), -1), torch.arange(len(TOKENIZER))[:, None], PAD, EOS)
    chances = log_probs(MODEL, each, temperature)[:, 0].detach().exp()
    words = torch.arange(len(TOKENIZER)) != PAD
    assert float(chances[words].sum()) == pytest.approx(1, abs=1e-4)
    seen = drawn.responses[:, 0].bincount(minlength=len(TOKENIZER))[words]
    expected = chances[words].double()
    assert chisquare(seen, expected / expected.sum() * count).pvalue > 1e-3


def test_detail_10_every_token_but_padding_may_be_drawn():
    flat = ender(1 / (len(TOKENIZER) - 1))
    prompt = tiny_text.ragged([1], prompts=(2,)).prompts
    drawn = generate(flat, TOKENIZER, prompt.expand(8_000, -1), 1, 1.0, torch.Generator().manual_seed(0))
    assert {*drawn.responses[:, 0].tolist()} == {*range(len(TOKENIZER))} - {PAD}


def test_greedy_generation_equals_transformers():
    prompts = tiny_text.prompt_ids(6)
    ours = generate(MODEL, TOKENIZER, prompts, 12, temperature=0)
    theirs = MODEL.generate(
        input_ids=prompts, attention_mask=prompts != PAD, max_new_tokens=12, do_sample=False, suppress_tokens=[PAD]
    )
    assert torch.equal(ours.responses, theirs[:, prompts.shape[1] :])


def test_greedy_generation_equals_a_loop_without_cache():
    prompts, samples = tiny_text.prompt_ids(5), generate(MODEL, TOKENIZER, tiny_text.prompt_ids(5), 6, temperature=0)
    for row, prompt in enumerate(prompts):
        ids = prompt[prompt != PAD]
        for _ in range(6):
            logits = MODEL(input_ids=ids[None]).logits[0, -1].detach()
            logits[PAD] = -torch.inf
            ids = torch.cat([ids, logits.argmax()[None]])
        assert torch.equal(samples.responses[row], ids[-6:])


def test_sequences_end_where_their_end_was_drawn_and_are_padding_after_it():
    samples = generate(ender(0.3), TOKENIZER, tiny_text.prompt_ids(1).expand(200, -1), 20)
    ended, at = samples.ended, samples.lengths
    assert 0.9 < ended.float().mean() <= 1
    assert (samples.responses[ended, at[ended] - 1] == EOS).all()
    assert ((samples.responses == EOS).sum(1) == ended).all()
    assert (samples.mask == (torch.arange(20) < at[:, None])).all()


def test_sequences_that_ended_leave_the_others_as_they_would_be():
    """The cache loses rows; what the rest is continued by must not notice."""
    model = deepcopy(MODEL)
    prompts = tiny_text.prompt_ids(8)
    whole = continued(model, prompts, 10, PAD, EOS, temperature=0)
    ends = int(whole.responses[0, 2])  # declared the end of text: some sequences now stop early
    stopped = continued(model, prompts, 10, PAD, ends, temperature=0)
    for row in range(8):
        length = int(stopped.lengths[row])
        assert torch.equal(stopped.responses[row, :length], whole.responses[row, :length])
        assert length == 10 or whole.responses[row, length - 1] == ends
    assert stopped.ended.any()


def test_generation_stops_when_all_have_ended():
    calls = []
    model = ender(0.999)
    model.register_forward_hook(lambda *_: calls.append(1))
    samples = generate(model, TOKENIZER, tiny_text.prompt_ids(4), 40, temperature=0)
    assert len(calls) == 1 and samples.lengths.tolist() == [1] * 4 and samples.responses.shape == (4, 40)


def test_the_same_generator_draws_the_same():
    prompts = tiny_text.prompt_ids(4)
    first, second = (
        generate(MODEL, TOKENIZER, prompts, 8, generator=torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first.responses, second.responses)


def test_more_tokens_than_the_context_holds_are_refused():
    prompts, _ = encode_prompts(TOKENIZER, tiny_text.posts(2), 100)
    with pytest.raises(ValueError, match=r"continuations of 120 are more than the model's 128: shorten"):
        generate(MODEL, TOKENIZER, prompts, 120)


@given(lengths)
def test_numbers_of_tokens_return_to_their_places(lengths):
    mask = tiny_text.ragged(lengths).mask
    numbers = torch.randn(mask.shape)
    assert torch.equal(spread(numbers[mask], mask), numbers * mask)


def test_entropy_is_the_mean_surprise():
    logits = token_logits(MODEL, tiny_text.ragged([3, 5])).detach()
    distribution = torch.distributions.Categorical(logits=logits)
    torch.testing.assert_close(entropy_of(logits), distribution.entropy())


def test_the_kl_of_each_token_is_that_of_its_distribution_and_never_negative():
    samples = tiny_text.ragged([3, 5, 1])
    ours, theirs = (token_logits(tiny_text.model(seed), samples, 0.7).detach() for seed in (0, 1))
    own, other = (torch.distributions.Categorical(logits=logits) for logits in (ours, theirs))
    torch.testing.assert_close(kl_of(ours, theirs), torch.distributions.kl_divergence(own, other))
    near = ours + 1e-4 * torch.randn(ours.shape, generator=torch.Generator().manual_seed(0))
    assert (kl_of(ours, near) >= 0).all() and float(kl_of(ours, near).max()) < 1e-6


@torch.no_grad()
def test_the_distance_of_a_policy_is_the_mean_of_its_log_ratio_over_what_it_draws():
    start, policy = tiny_text.model(0), tiny_text.model(1)
    prompts = tiny_text.prompt_ids(1).expand(2_000, -1)
    drawn = generate(policy, TOKENIZER, prompts, 3, generator=torch.Generator().manual_seed(0))
    ratios = per_sequence(log_probs(policy, drawn), log_probs(start, drawn), drawn.mask)
    exact = distance(policy, start, drawn)
    assert float(exact.mean()) == pytest.approx(float(ratios.mean()), abs=4 * float(ratios.std()) / 2_000**0.5)
    assert float(exact.std()) < float(ratios.std()) and not distance(start, start, drawn).any()


@pytest.mark.parametrize("temperature", [-1.0, float("nan")])
def test_a_temperature_below_greedy_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be from 0, which is greedy, on, got"):
        generate(MODEL, TOKENIZER, tiny_text.prompt_ids(2), 4, temperature)
