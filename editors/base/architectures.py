"""Where each decoder family keeps what Upkeep needs: its layers, its FFN, the FFN's last projection, the final norm."""

from dataclasses import dataclass
from functools import reduce
from typing import Any

from torch import Tensor, nn

from edits.errors import UnknownArchitecture


@dataclass(frozen=True, slots=True)
class Layout:
    """Module paths inside a Hugging Face causal LM; `ffn` and `down_proj` are relative to one layer."""

    layers: str
    ffn: str
    down_proj: str
    final_norm: str
    transposed: bool = False  # the projection's weight is (in, out), as in GPT-2's Conv1D


_LLAMA_LIKE = Layout("model.layers", "mlp", "mlp.down_proj", "model.norm")

# Keyed by `config.model_type`. One row per family is all that a new architecture needs, once the contract suite has it.
LAYOUTS: dict[str, Layout] = {
    **dict.fromkeys(
        (
            *("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3"),
            *("olmo", "olmo2", "granite", "stablelm", "smollm3", "cohere", "glm"),
        ),
        _LLAMA_LIKE,
    ),
    "phi": Layout("model.layers", "mlp", "mlp.fc2", "model.final_layernorm"),
    "starcoder2": Layout("model.layers", "mlp", "mlp.c_proj", "model.norm"),
    "gpt2": Layout("transformer.h", "mlp", "mlp.c_proj", "transformer.ln_f", transposed=True),
    "gpt_neox": Layout("gpt_neox.layers", "mlp", "mlp.dense_4h_to_h", "gpt_neox.final_layer_norm"),
}


def layout_of(model_type: str, *, ffn_module: str | None = None) -> Layout:
    """The layout of a family, or the one that the setting `ffn_module` spells out.

    Args:
        ffn_module: four paths joined by `|`: layers, FFN in a layer, its last projection in a layer, final norm;
            e.g. ``model.layers|mlp|mlp.down_proj|model.norm``.

    Raises:
        UnknownArchitecture: the family is not in the table and `ffn_module` does not say where things are.
    """
    if ffn_module is not None:
        parts = [part.strip() for part in ffn_module.split("|")]
        if len(parts) != 4 or not all(parts):
            raise UnknownArchitecture(
                f"ffn_module = {ffn_module!r} must name four modules joined by '|': the list of layers, the FFN in a "
                "layer, the FFN's last projection in a layer, the final norm; "
                "for Llama that is 'model.layers|mlp|mlp.down_proj|model.norm'"
            )
        layers, ffn, down_proj, final_norm = parts
        return Layout(layers, ffn, down_proj, final_norm)
    if model_type not in LAYOUTS:
        known = ", ".join(sorted(LAYOUTS))
        raise UnknownArchitecture(
            f"the architecture {model_type!r} is not in the table ({known}). Set model.ffn_module to its layers, FFN, "
            "FFN's last projection and final norm, e.g. 'model.layers|mlp|mlp.down_proj|model.norm'"
        )
    return LAYOUTS[model_type]


def submodule(root: nn.Module, path: str) -> nn.Module:
    """The module at a dotted path.

    Raises:
        UnknownArchitecture: there is none; the message names the part of the path that is missing.
    """

    def step(module: Any, name: str) -> Any:
        child = getattr(module, name, None)
        if child is None:
            raise UnknownArchitecture(
                f"the model has no module {path!r} (stopped at {name!r} in {type(module).__name__}); "
                "correct model.ffn_module"
            )
        return child

    found: Any = reduce(step, path.split("."), root)
    if not isinstance(found, nn.Module):
        raise UnknownArchitecture(
            f"{path!r} is a {type(found).__name__} of {type(root).__name__}, no module that runs: experts that share one "
            "weight (mixture of experts) cannot be edited; name a dense projection in model.ffn_module"
        )
    return found


def require_projection(module: nn.Module, path: str) -> None:
    """Let a linear map with one weight (out, in) or (in, out) pass.

    Raises:
        UnknownArchitecture: it is none.
    """
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise UnknownArchitecture(
            f"{path!r} is a {type(module).__name__}, no linear projection with a weight of two dimensions: correct the "
            "third part of model.ffn_module"
        )
