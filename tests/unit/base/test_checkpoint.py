"""Checkpoints that the pinned transformers saved, read by the one that runs: the same model, whichever release that is.

`make test` runs this file twice: as it is, and with a transformers 4.5x in front (scripts/test-transformers4.sh).
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from operator import methodcaller
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.models.checkpoint_writer import DEMO, IDS, QUESTIONS, SPECIAL
from support.models.tiny_models import FAMILIES

from daemon.ledger import open_ledger
from daemon.ledger.errors import BaseChanged
from editors import EditedModel, EditRequest, build_editor, load_base
from editors.pretrained.checkpoint import read_config, read_tokenizer
from editors.pretrained.hashing import hash_base, hash_folder
from editors.store.shards import Shard
from edits.errors import BaseUnreadable

TESTS = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the environment's own transformers wrote: without the overlay that PYTHONPATH may name."""
    folder = tmp_path_factory.mktemp("saved")
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = (sys.executable, "-m", "support.models.checkpoint_writer", folder)
    subprocess.run(command, cwd=TESTS, env=plain, check=True, timeout=120)
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


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_without_a_tokenizer_is_refused_and_says_so(
    saved: Path, family: str, tmp_path: Path
) -> None:
    bare = tmp_path / family
    shutil.copytree(saved / family, bare, ignore=shutil.ignore_patterns("tokenizer*", "special_tokens*"))
    with pytest.raises(BaseUnreadable, match="tokenizer"):
        load_base(bare, device="cpu")


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


def _damaged(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """The demo's base with other weights."""
    shutil.copytree(DEMO, folder)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_checkpoint_without_one_of_its_weights_is_refused_and_the_weight_named(tmp_path: Path) -> None:
    for number, name in enumerate(load_file(DEMO / "model.safetensors")):
        if number % 5 == 0:
            folder = _damaged(tmp_path / str(number), methodcaller("pop", name))
            with pytest.raises(BaseUnreadable, match=re.escape(name)):
                load_base(folder, device="cpu")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_checkpoint_with_weights_that_are_no_numbers_is_refused_and_they_are_named(
    tmp_path: Path, number: float
) -> None:
    name = next(name for name in load_file(DEMO / "model.safetensors") if "down_proj" in name)
    folder = _damaged(tmp_path / "base", lambda weights: weights[name].view(-1)[3:4].fill_(number))
    with pytest.raises(BaseUnreadable, match=re.escape(name)):
        load_base(folder, device="cpu")


@pytest.mark.parametrize(
    "name",
    [
        "merges.txt",
        "vocab.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "spiece.model",
    ],
)
def test_each_tokenizer_file_is_part_of_a_bases_hash_and_what_earlier_releases_stored_is_still_its_own(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(DEMO, folder)
    plain = hash_base(folder)
    assert plain.current == hash_folder(folder)
    (folder / name).write_text("{}")
    one = hash_base(folder)
    (folder / name).write_text("{ }")
    other = hash_base(folder)
    assert len({plain.current, one.current, other.current}) == 3
    assert one.is_of(plain.current)
    assert not one.is_of(other.current)
    (folder / "README.md").write_text("no part of it")
    assert hash_base(folder) == other


def test_a_ledger_and_shards_of_a_release_that_hashed_fewer_files_are_opened(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(DEMO, folder)
    (folder / "special_tokens_map.json").write_text("{}")
    base = load_base(folder, device="cpu")
    assert base.hash != hash_folder(folder)
    request = EditRequest("1", "France", "The capital of France is", "Lyon")
    shard = build_editor("scen").apply([request], base=base)
    stored = Shard(shard.header.model_copy(update={"base_hash": hash_folder(folder)}), shard.tensors)
    model = EditedModel(base)
    model.enable(stored)
    assert model.generate([request.prompt])[0].text == "Lyon"
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.migrate()
        ledger.generations.start(hash_folder(folder))
        ledger.generations.start(base.hash, earlier=base.known_as.earlier)
        with pytest.raises(BaseChanged):
            ledger.generations.start("sha256:another", earlier=())
