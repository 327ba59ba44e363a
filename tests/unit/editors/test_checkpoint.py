"""Checkpoints that the pinned transformers saved, read by the one that runs: the same model, whichever release that is.

`make test` runs this file twice: as it is, and with a transformers 4.5x in front (scripts/test-transformers4.sh).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoint_writer import DEMO, IDS, QUESTIONS, SPECIAL
from safetensors.torch import load_file
from tiny_models import FAMILIES

from editors import load_base
from editors.pretrained.checkpoint import read_config, read_tokenizer
from edits.errors import BaseUnreadable

WRITER = Path(__file__).parents[2] / "checkpoint_writer.py"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the environment's own transformers wrote: without the overlay that PYTHONPATH may name."""
    folder = tmp_path_factory.mktemp("saved")
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, WRITER, folder], env=plain, check=True, timeout=120)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_base_says_what_it_said_when_it_was_saved(saved: Path, family: str) -> None:
    base = load_base(saved / family, device="cpu")
    with torch.no_grad():
        assert torch.equal(base.model(IDS).logits, load_file(saved / "logits.safetensors")[family])
    assert load_base(saved / family, device="cpu", dtype="bfloat16").dtype == torch.bfloat16


def test_a_saved_tokenizer_keeps_its_special_tokens(saved: Path) -> None:
    tokenizer = read_tokenizer(str(saved / "llama"))
    assert len(tokenizer(f"a{SPECIAL}")["input_ids"]) == 3
    assert tokenizer.convert_tokens_to_ids(SPECIAL) in tokenizer.all_special_ids
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<s>", "</s>", "<pad>")


def test_the_demos_base_says_the_same(saved: Path) -> None:
    assert load_base(DEMO, device="cpu").generate(QUESTIONS) == json.loads(
        (saved / "answers.json").read_text()
    )


def test_what_transformers_4_cannot_be_told_is_refused_not_misread(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.__version__", "4.57.6")
    with pytest.raises(BaseUnreadable, match="install transformers>=5"):
        read_config(str(saved / "gemma3_text"))
