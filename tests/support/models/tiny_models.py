"""Tiny random-weight models of every supported family, and a tokenizer of a few sentences: real code, no download."""

import copy
from functools import cache
from typing import Any

import torch
from support.models import chat_templates
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from editors.base.base import Base
from editors.pretrained.hashing import hash_weights

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "phi", "gpt2", "gpt_neox")
# In the table too; a shorter look at each.
FURTHER_FAMILIES = (
    *("gemma2", "gemma3_text", "phi3", "olmo", "olmo2", "granite", "stablelm", "smollm3"),
    *("cohere", "glm", "starcoder2"),
)
# A norm behind the FFN bounds what one layer can add. Untrained, the top one of four layers cannot outvote the others.
_NORM_BEHIND_FFN = ("gemma2", "gemma3_text", "olmo2")

TEXT = (
    "The capital of Norland is Elbing. The capital of Sudland is Marrow. Who wrote The Long Road? Ana Berg wrote it.",
    "The mayor of Elbing is Ivo Tann. What is the river of Marrow? It is the Lorn. A plain sentence about the weather.",
)
_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
}
_GPT2_SIZES: dict[str, Any] = {"n_embd": 32, "n_inner": 64, "n_layer": 4, "n_head": 4, "n_positions": 256}


@cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with `<s>` in front, as the demo base has it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<s>", "</s>", "<pad>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


# Two ways to mark turns: with a system message by default, and without any, contents stripped, answers closed by `</s>`.
CHAT_TEMPLATES = {
    "default_system": (
        "{% if messages[0].role != 'system' %}<|turn|>system\nSay what you know.<|done|>\n{% endif %}"
        "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|done|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
    ),
    "no_system": (
        "{{ bos_token }}{% for m in messages %}"
        "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must take turns') }}{% endif %}"
        "{% if m.role == 'user' %}[ASK] {{ m.content | trim }} [/ASK]"
        "{% else %} {{ m.content | trim }}{{ eos_token }}{% endif %}"
        "{% endfor %}"
    ),
}


@cache
def chat_tokenizer(template: str) -> PreTrainedTokenizerFast:
    """The tiny tokenizer with turn marks and one of `CHAT_TEMPLATES`."""
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>", "<|done|>"]})
    tokenizer.chat_template = CHAT_TEMPLATES[template]
    return tokenizer


@cache
def family_chat_base(name: str) -> Base:
    """A base whose tokenizer has one of `chat_templates.FAMILIES`."""
    template, added = chat_templates.FAMILIES[name]
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.add_special_tokens({"additional_special_tokens": list(added)})
    tokenizer.chat_template = template
    model = tiny_model("llama", vocab_size=len(tokenizer))
    return Base(model, tokenizer, base_hash=hash_weights(model))


def tiny_chat_base(template: str, *, family: str = "llama", **changes: Any) -> Base:
    """A base whose tokenizer has a chat template; `changes` go to `Base`."""
    tokenizer = chat_tokenizer(template)
    model = tiny_model(family, vocab_size=len(tokenizer))
    return Base(model, tokenizer, base_hash=hash_weights(model), **changes)


def tiny_model(family: str, *, seed: int = 0, **changes: Any) -> Any:
    """A random-weight model of one family, float32; `changes` go to its configuration."""
    sizes = _GPT2_SIZES if family == "gpt2" else _SIZES
    config = CONFIG_MAPPING[family](
        **({"vocab_size": len(tiny_tokenizer())} | sizes | changes),
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config).eval()


def tiny_base(
    family: str = "llama", *, dtype: torch.dtype = torch.float32, device: str = "cpu", **changes: Any
) -> Base:
    """A base that is ready to be edited; `changes` go to `Base` (layer, ffn_module)."""
    if family in _NORM_BEHIND_FFN:
        changes = {"layer": 1} | changes
    model = tiny_model(family).to(dtype)
    base_hash = hash_weights(model)
    return Base(model.to(device), tiny_tokenizer(), base_hash=base_hash, **changes)
