"""Read a checkpoint with transformers 4.51 to 5.x, whichever of them saved it: the one file that knows their versions.

Transformers 5 writes three things that 4.x does not read: the tokenizer's class, its list of extra special tokens, and
`rope_parameters`, without which a model would load and say something else. They are put into 4.x's words here.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from editors.pretrained.hashing import has_tokenizer
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
    """The causal LM of a checkpoint, from safetensors only; `dtype` is "auto" or a torch dtype.

    Raises:
        BaseUnreadable: weights are missing, which transformers would draw at random, or are no numbers.
    """
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    named = {"dtype" if _release() >= (4, 56) else "torch_dtype": dtype}
    model, report = AutoModelForCausalLM.from_pretrained(
        place,
        config=config,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
        # Its own would be checked for what does not concern us, and refused for sampling that nobody asks for.
        generation_config=GenerationConfig(eos_token_id=_sequence_ends(place, config)),
        **named,
    )
    _require_weights(model, place, [*report["missing_keys"], *_mismatched(report)])
    return model


def _sequence_ends(place: str, config: Any) -> Any:
    """The ids that end a sequence: one, several or none, as generation_config.json says, else the configuration.

    Raises:
        BaseUnreadable: they are no ids.
    """
    from transformers.utils import cached_file

    found = cached_file(place, "generation_config.json", _raise_exceptions_for_missing_entries=False)
    report = {} if found is None else json.loads(Path(found).read_text(encoding="utf-8-sig"))
    ends = report.get("eos_token_id", getattr(config.get_text_config(), "eos_token_id", None))
    for end in ends if isinstance(ends, list | tuple) else (ends,):
        if end is not None and type(end) is not int:
            raise BaseUnreadable(
                f"{place}: eos_token_id must be an id, a list of ids, or null; it has {end!r}"
            )
    return ends


def read_encoder(place: str) -> Any:
    """The sentence encoder of a checkpoint in float32, from safetensors only.

    Raises:
        BaseUnreadable: weights are missing or are no numbers; of a pooler, which is not asked, they may be.
    """
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    named = {"dtype" if _release() >= (4, 56) else "torch_dtype": torch.float32}
    model, report = AutoModel.from_pretrained(
        place, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **named
    )
    missing = [*report["missing_keys"], *_mismatched(report)]
    _require_weights(model, place, [name for name in missing if not name.startswith("pooler.")])
    return model


def read_tokenizer(place: str) -> Any:
    """The tokenizer of a checkpoint.

    Raises:
        BaseUnreadable: its folder has none, where transformers 5 would make an empty one.
    """
    if Path(place).is_dir() and not has_tokenizer(Path(place)):
        raise BaseUnreadable(f"{place} has no tokenizer: save it beside the weights (tokenizer.json)")
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


def _mismatched(report: Mapping[str, Any]) -> list[str]:
    """Weights of another shape than the configuration says: a name, or (name, shape, shape)."""
    return [one if isinstance(one, str) else one[0] for one in report.get("mismatched_keys", ())]


def _require_weights(model: Any, place: str, missing: Iterable[str]) -> None:
    if names := sorted({*missing}):
        raise BaseUnreadable(
            f"the checkpoint {place!r} lacks {_listed(names)}: they would be random numbers. Save it with all its weights"
        )
    if names := [name for name, weight in model.named_parameters() if not _is_finite(weight)]:
        raise BaseUnreadable(
            f"the checkpoint {place!r} has NaN or infinite numbers in {_listed(names)}: get it anew, or save it in a number "
            "type that holds its weights"
        )


def _is_finite(weight: Any) -> bool:
    """Whether all of a tensor are numbers; those of a byte each know no others that matter here."""
    import torch

    if not weight.is_floating_point() or weight.element_size() < 2:
        return True
    return bool(torch.isfinite(weight).all())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


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
