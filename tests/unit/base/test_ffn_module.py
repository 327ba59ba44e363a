"""Families that the table lacks, by `model.ffn_module`: each is edited, or refused in one line."""

from typing import Any

import pytest
import torch
from support.models.tiny_models import tiny_tokenizer
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from editors import Base, EditedModel, EditRequest, build_editor
from editors.base.passes import Replay, prove_replayable
from edits.errors import UnknownArchitecture

SUDLAND = EditRequest("1", "Sudland", "The capital of Sudland is", "Elbing")
_SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "num_experts_per_tok": 2,
}
_EYES: dict[str, int] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
EXPERTS = "model.layers|mlp|mlp.experts.down_proj|model.norm"
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bloom": (
        "transformer.h|mlp|mlp.dense_4h_to_h|transformer.ln_f",
        {"hidden_size": 32, "n_layer": 4, "n_head": 4},
    ),
    "gemma3": (
        "model.language_model.layers|mlp|mlp.down_proj|model.language_model.norm",
        {"text_config": _SMALL, "vision_config": _EYES},
    ),
}
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": (EXPERTS, {**_SMALL, "num_local_experts": 4}),
    "qwen3_moe": (EXPERTS, {**_SMALL, "num_experts": 4, "moe_intermediate_size": 32}),
    "gpt_oss": (EXPERTS, {**_SMALL, "num_local_experts": 4, "layer_types": ["full_attention"] * 4}),
    "opt": (
        "model.decoder.layers|fc2|fc2|model.decoder.final_layer_norm",
        {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "word_embed_proj_dim": 32},
    ),
    "llama": ("model.layers|mlp|mlp.act_fn|model.norm", _SMALL),
    "qwen2": ("model.layers|mlp|input_layernorm|model.norm", _SMALL),
}  # fmt: skip


def _base(family: str, ffn_module: str, sizes: dict[str, Any], layer: int | None = None) -> Base:
    tokenizer = tiny_tokenizer()
    reported = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    if "text_config" in sizes:
        sizes = {**sizes, "text_config": {**sizes["text_config"], **reported}}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**sizes, **reported))
    return Base(model, tokenizer, base_hash="x", ffn_module=ffn_module, layer=layer)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_dense_family_is_edited_and_its_rows_are_trained_each_by_itself(family: str) -> None:
    base = _base(family, *FAMILIES[family], layer=0 if family == "gemma3" else None)
    ids, mask = base.pad(
        [base.prompt_ids(text) for text in ("The mayor of Elbing is", "Who", "A plain one")], side="right"
    )
    replay, rows = Replay(base, ids, mask), torch.tensor([2, 0])
    real = mask[rows].bool()
    torch.testing.assert_close(replay.hidden(rows)[real], replay.final[rows][real])
    model = EditedModel(base)
    model.enable(build_editor("scen", {"max_steps": 150}).apply([SUDLAND], base=base))
    (edited, other) = model.generate([SUDLAND.prompt, "A plain sentence"], max_new_tokens=8)
    assert (edited.text, edited.edit_id, other.edit_id) == ("Elbing", "1", None)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", REFUSED)
def test_what_cannot_be_edited_is_refused_in_one_line_before_anything_is_trained(family: str) -> None:
    with pytest.raises(UnknownArchitecture, match=r"ffn_module|experts") as caught:
        prove_replayable(_base(family, *REFUSED[family]))
    assert "\n" not in str(caught.value)
