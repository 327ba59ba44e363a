"""Read a checkpoint with transformers 4.51 to 5.x, whichever of them saved it: the one file that knows their versions.

Transformers 5 writes three things that 4.x does not read: the tokenizer's class, its list of extra special tokens, and
`rope_parameters`, without which a model would load and say something else. They are put into 4.x's words here.
"""

from collections.abc import Mapping
from typing import Any

from edits.errors import BaseUnreadable

# The class of every tokenizer that transformers 5 saves from a tokenizer.json.
_TOKENIZER_OF_5 = "TokenizersBackend"


def read_config(place: str) -> Any:
    """A checkpoint's configuration.

    Raises:
        BaseUnreadable: transformers 5 saved it in a form that the installed 4.x cannot be told.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(place, trust_remote_code=False)
    if _release() < (5, 0):
        _tell_rope(config)
    return config


def read_model(place: str, config: Any, dtype: Any) -> Any:
    """The causal LM of a checkpoint, from safetensors only; `dtype` is "auto" or a torch dtype."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    named = {"dtype" if _release() >= (4, 56) else "torch_dtype": dtype}
    return AutoModelForCausalLM.from_pretrained(
        place, config=config, use_safetensors=True, trust_remote_code=False, **named
    )


def read_encoder(place: str) -> Any:
    """The sentence encoder of a checkpoint in float32, from safetensors only."""
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    named = {"dtype" if _release() >= (4, 56) else "torch_dtype": torch.float32}
    return AutoModel.from_pretrained(place, use_safetensors=True, trust_remote_code=False, **named)


def read_tokenizer(place: str) -> Any:
    """The tokenizer of a checkpoint."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    if _release() >= (5, 0):
        return AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    saved = get_tokenizer_config(place)
    options: dict[str, Any] = {}
    if isinstance(extra := saved.get("extra_special_tokens"), list):
        options = {"extra_special_tokens": {}, "additional_special_tokens": extra}
    if saved.get("tokenizer_class") == _TOKENIZER_OF_5:
        # Under its own name, else 4.x warns that the class is another one.
        backend: Any = type(_TOKENIZER_OF_5, (PreTrainedTokenizerFast,), {})
        return backend.from_pretrained(place, **options)
    return AutoTokenizer.from_pretrained(place, trust_remote_code=False, **options)


def _tell_rope(config: Any) -> None:
    """Say `rope_parameters` in the words of transformers 4.x; what it does not know stays without effect there."""
    rope = getattr(config, "rope_parameters", None)
    if rope is None:
        return
    if not isinstance(rope, Mapping) or any(isinstance(value, Mapping) for value in rope.values()):
        raise BaseUnreadable(
            "the base was saved by transformers 5 with rotary embeddings that differ from layer to layer, which "
            "transformers 4 cannot be told: install transformers>=5"
        )
    scaling = dict(rope)
    if (theta := scaling.pop("rope_theta", None)) is not None:
        config.rope_theta = theta
        config.rotary_emb_base = theta  # GPT-NeoX
    if (part := scaling.pop("partial_rotary_factor", None)) is not None:
        config.partial_rotary_factor = part
        config.rotary_pct = part  # GPT-NeoX
    if scaling.get("rope_type", "default") != "default":
        config.rope_scaling = scaling


def _release() -> tuple[int, int]:
    import transformers

    major, minor = transformers.__version__.split(".")[:2]
    return int(major), int(minor)
