"""Save a tiny checkpoint of every family, and what it says, with the transformers that stands in the environment.

python -m support.models.checkpoint_writer FOLDER, in tests/

A process of its own: the tests that read the checkpoints may run on another transformers.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from support.models.tiny_models import FAMILIES, tiny_model, tiny_tokenizer
from transformers.utils import logging

from editors import load_base

DEMO = Path(__file__).parents[3] / "demo" / "base"
QUESTIONS = ("The capital of France is", "What is the capital of Japan?", "The sun is")
SPECIAL = "<turn>"
IDS = torch.arange(5, 45)[None]
# None of it a default, so that a reader that overlooks it says something else.
ROPE: dict[str, Any] = {"rope_theta": 500.0}
ROPE_OF: dict[str, dict[str, Any]] = {
    "llama": {"rope_type": "linear", "factor": 2.0},
    "phi": {"partial_rotary_factor": 0.25},
    "gpt_neox": {"partial_rotary_factor": 0.5},
}


def main(folder: Path) -> None:
    """Write `<family>/` for each family, `gemma3_text/`, `logits.safetensors` and `answers.json`."""
    logging.disable_progress_bar()
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"extra_special_tokens": [SPECIAL]})
    logits = {}
    for family in (*FAMILIES, "gemma3_text"):
        changes: dict[str, Any] = {}
        if family in FAMILIES and hasattr(tiny_model(family).config, "rope_parameters"):
            changes = {"rope_parameters": {"rope_type": "default"} | ROPE | ROPE_OF.get(family, {})}
        model = tiny_model(family, **changes)
        model.save_pretrained(folder / family)
        tokenizer.save_pretrained(folder / family)
        with torch.no_grad():
            logits[family] = model(IDS).logits.clone()
    save_file(logits, folder / "logits.safetensors")
    (folder / "answers.json").write_text(json.dumps(load_base(DEMO).generate(QUESTIONS)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
