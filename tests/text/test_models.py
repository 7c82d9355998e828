"""Language models: from scratch, from a folder, with adapters, as references."""

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from prefrl.text.generate import log_probs
from prefrl.text.models import (
    context_of,
    count_parameters,
    load_model,
    reference_of,
    save_model,
    width_of,
    with_lora,
    without_dropout,
)
from prefrl.text.scratch import new_model
from prefrl.text.tokens import PAD, load_tokenizer, train_tokenizer
from tests import tiny_text


def parameters(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def fitting(tokenizer):
    """Small models of three families, with dropout as they come."""
    common = {"vocab_size": len(tokenizer), "hidden_size": 32, "max_position_embeddings": 64}
    common |= {"num_hidden_layers": 2, "num_attention_heads": 2}
    return [
        GPT2LMHeadModel(GPT2Config(**common)),
        LlamaForCausalLM(LlamaConfig(**common, intermediate_size=64)),
        OPTForCausalLM(OPTConfig(**common, ffn_dim=64, word_embed_proj_dim=32)),
    ]


def test_the_same_seed_makes_the_same_model_and_leaves_torchs_generator_alone(tokenizer):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second, third = (new_model(tokenizer, 1, 16, 2, 32, seed) for seed in (0, 0, 1))
    assert torch.equal(parameters(first), parameters(second)) and not torch.equal(parameters(first), parameters(third))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("kind", "made"), [("gpt2", GPT2LMHeadModel), ("llama", LlamaForCausalLM)])
def test_new_models_of_both_kinds_are_as_wide_and_deep_as_asked_and_about_as_large(tokenizer, kind, made):
    model = new_model(tokenizer, layers=3, width=32, heads=2, context=20, kind=kind)
    assert isinstance(model, made)
    assert (width_of(model), model.config.num_hidden_layers, context_of(model)) == (32, 3, 20)
    assert count_parameters(model) == pytest.approx(32 * len(tokenizer) + 3 * 12 * 32**2, rel=0.1)


def test_a_new_model_of_no_kind_is_refused_with_the_kinds(tokenizer):
    with pytest.raises(ValueError, match="no kind of new model 'rwkv': there are gpt2, llama"):
        new_model(tokenizer, kind="rwkv")


def test_rotary_positions_need_heads_of_an_even_width(tokenizer):
    with pytest.raises(ValueError, match=r"width 12 gives each of 4 heads 3, and .* even number: give 16$"):
        new_model(tokenizer, width=12, heads=4, kind="llama")
    model = new_model(tokenizer, width=16, heads=4, kind="llama")
    assert log_probs(model, tiny_text.ragged([3, 5, 2])).isfinite().all()
    assert width_of(new_model(tokenizer, width=12, heads=4)) == 12


@pytest.mark.parametrize("family", [0, 1, 2])
def test_detail_8_dropout_is_off_whatever_the_mode(tokenizer, family):
    model = without_dropout(fitting(tokenizer)[family]).train()
    samples = tiny_text.ragged([3, 5, 2])
    assert torch.equal(log_probs(model, samples), log_probs(model.eval(), samples))


@pytest.mark.parametrize("family", [0, 1, 2])
def test_any_causal_model_that_was_saved_is_loaded_as_it_was(tokenizer, family, tmp_path):
    model = fitting(tokenizer)[family].eval()
    save_model(model, tokenizer, tmp_path / "model")
    again = load_model(tmp_path / "model", load_tokenizer(tmp_path / "model"))
    assert (tmp_path / "model" / "model.safetensors").exists()
    samples = tiny_text.ragged([3, 5, 2])
    assert torch.equal(log_probs(model, samples), log_probs(again, samples))


def test_saving_replaces_a_folder_and_leaves_nothing_else(model, tokenizer, tmp_path):
    for _ in range(2):
        save_model(model, tokenizer, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").stat()
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


def test_a_folder_whose_writing_failed_is_not_there(model, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(type(tokenizer), "save_pretrained", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_model(model, tokenizer, tmp_path / "model")
    assert not [*tmp_path.iterdir()]


def test_the_embeddings_grow_by_a_padding_token_that_was_added(tokenizer, tmp_path):
    model = tiny_text.model()
    model.resize_token_embeddings(len(tokenizer))
    save_model(model, tokenizer, tmp_path)
    plain = load_tokenizer(tmp_path)
    plain.pad_token = None
    plain.add_special_tokens({"pad_token": PAD + "2"})
    grown = load_model(tmp_path, plain)
    assert grown.get_input_embeddings().weight.shape[0] == len(tokenizer) + 1
    assert torch.equal(grown.get_input_embeddings().weight[:-1], model.get_input_embeddings().weight)


def test_a_model_with_a_state_is_refused(tokenizer, tmp_path):
    config = MambaConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, state_size=4)
    save_model(MambaForCausalLM(config), tokenizer, tmp_path / "mamba")
    with pytest.raises(ValueError, match="mamba is a MambaForCausalLM, which keeps a state: give a model that attends"):
        load_model(tmp_path / "mamba", tokenizer)


def test_a_tokenizer_of_another_model_is_refused(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path)
    larger = train_tokenizer([str(post) for post in tiny_text.posts(50)], len(tokenizer) + 50)
    with pytest.raises(
        ValueError, match=r"the tokenizer has 3\d\d tokens and the GPT2LMHeadModel 320: use the tokenizer"
    ):
        load_model(tmp_path, larger)


def test_a_reference_stays_what_the_model_was(model):
    reference, samples = reference_of(model), tiny_text.ragged([3, 2])
    before = log_probs(model, samples)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    with reference() as frozen:
        assert torch.equal(log_probs(frozen, samples), before)
        assert not any(parameter.requires_grad for parameter in frozen.parameters())


@pytest.mark.parametrize("family", [0, 1])
def test_the_reference_of_adapters_is_the_model_with_them_off(tokenizer, family):
    model = fitting(tokenizer)[family].eval()
    samples = tiny_text.ragged([3, 2])
    before = log_probs(model, samples)
    adapted = with_lora(model, rank=4)
    reference = reference_of(adapted)
    assert torch.equal(log_probs(adapted, samples), before)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    assert not torch.allclose(log_probs(adapted, samples), before)
    with reference() as off:
        assert torch.equal(log_probs(off, samples), before)
    assert not torch.allclose(log_probs(adapted, samples), before)


def test_the_reference_of_adapters_that_have_learned_is_the_model_with_them(model):
    adapted, samples = with_lora(model, rank=4), tiny_text.ragged([3, 2])
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
    before, reference = log_probs(adapted, samples), reference_of(adapted)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
    assert not torch.allclose(log_probs(adapted, samples), before)
    with reference() as frozen:
        assert torch.equal(log_probs(frozen, samples), before)


def test_adapters_are_all_that_learns(model):
    whole = count_parameters(model)
    adapted = with_lora(model, rank=4)
    assert 0 < count_parameters(adapted, trainable=True) < whole / 4
    assert count_parameters(adapted) == whole + count_parameters(adapted, trainable=True)
