"""Which models can be trained, and what is made sure of when they are opened."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small import run_config
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
)

from tsallis_run.packing import micro_batches
from tsallis_run.policy import token_scorer
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.policy.token_scorer import load_scorer
from tsallis_run.tree import Span, Tree
from tsallis_run.types import UserError

SIZES = {"vocab_size": 48, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}

TREE = Tree(0, (Span((5, 6), -1, -1, -1, 0), Span(tuple(range(5, 40)), 0, 0, 0, 35)))


def saved(model: PreTrainedModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (MistralForCausalLM(MistralConfig(**SIZES, num_key_value_heads=2, sliding_window=8)), "sliding_window"),
        (
            Gemma2ForCausalLM(Gemma2Config(**SIZES, num_key_value_heads=2, head_dim=16)),
            "sliding_attention, attn_logit_softcapping, final_logit_softcapping",
        ),
    ],
    ids=["mistral", "gemma2"],
)
def test_a_model_that_packed_trees_cannot_follow_is_refused(model: PreTrainedModel, named: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"full attention in every layer and unscaled logits, got .* with {named};"):
        load_scorer(saved(model, tmp_path), run_config().model)


def test_dropout_is_off_also_where_the_architecture_applies_it_by_function(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=48,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        ffn_dim=32,
        word_embed_proj_dim=32,
        dropout=0.5,
        max_position_embeddings=64,
    )
    scorer = load_scorer(saved(OPTForCausalLM(config), tmp_path), run_config().model)
    (batch,) = micro_batches([TREE], max_tokens=99)
    assert scorer.training
    assert torch.equal(scorer(batch=batch), scorer(batch=batch))


def test_a_weight_that_the_folder_lacks_is_not_made_up(tmp_path: Path) -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=48, n_embd=32, n_layer=2, n_head=2))
    folder = saved(model, tmp_path)
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if "h.1.mlp" in name)
    save_file({name: w for name, w in weights.items() if name != lost}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"whole causal language model, got .*: 1 weights are missing, .*h.1.mlp"):
        load_scorer(folder, run_config().model)


@pytest.mark.parametrize("content", ["", "{}", "[]", "not json", '{"model_type": "no such type"}'])
def test_a_broken_folder_is_told_in_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"^model.path: must hold a whole causal language model, got [^\n]*$"):
        load_scorer(tmp_path, run_config().model)


def test_log_probs_do_not_depend_on_the_number_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    config = run_config().model
    scorer = load_scorer(model_folder(config, seed=0), config)
    (batch,) = micro_batches([TREE], max_tokens=99)
    whole = scorer(batch=batch)
    monkeypatch.setattr(token_scorer, "TOKENS_PER_CHUNK", 8)
    torch.testing.assert_close(scorer(batch=batch), whole)
