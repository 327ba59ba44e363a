"""The expert bank: what does not fit on the device is paged, and nobody can tell from the text."""

import gc
from pathlib import Path

import pytest
import torch
from support.models.tiny_models import tiny_base

from editors import AdapterStore, EditedModel, EditRequest, build_editor
from editors.adapters.bank import DEFAULT_DEVICE_EXPERT_BYTES
from editors.base.base import Base
from editors.routing.scope_router import Route
from editors.store import adapter_store as store_module
from editors.store.mapped import OpenMaps
from editors.store.shards import Shard
from edits.errors import BadRequest, ShardCorrupt

LANDS = [f"Land{number}" for number in range(12)]
REQUESTS = [
    EditRequest(str(i), land, f"The capital of {land} is", f"Town{i}") for i, land in enumerate(LANDS)
]
PROMPTS = [request.prompt for request in REQUESTS]
UNROUTED = Route(None, 0.0)


@pytest.fixture(scope="module")
def base() -> Base:
    return tiny_base("llama")


@pytest.fixture(scope="module")
def shards(base: Base) -> list[Shard]:
    """Six edits of each editor, in shards of three."""
    editors = {
        "scen": build_editor("scen", {"max_steps": 4}),
        "lemoe": build_editor("lemoe", {"max_steps": 4, "width": 8}),
    }
    names = ("scen", "lemoe", "lemoe", "scen")
    return [editors[name].apply(REQUESTS[3 * n : 3 * n + 3], base=base) for n, name in enumerate(names)]


def routes(ids: str) -> list[Route]:
    """Oracle routes for the first prompts: an edit's number, or `.` for the base."""
    return [UNROUTED if edit == "." else Route(str(int(edit, 36)), 1.0) for edit in ids]


def texts(model: EditedModel, ids: str) -> list[str]:
    chosen = routes(ids)
    answers = model.generate(PROMPTS[: len(ids)], max_new_tokens=8, routes=chosen, batch_size=12)
    return [answer.text for answer in answers]


def with_all(
    base: Base, shards: list[Shard], device_expert_bytes: int = DEFAULT_DEVICE_EXPERT_BYTES
) -> EditedModel:
    model = EditedModel(base, device_expert_bytes=device_expert_bytes)
    for shard in shards:
        model.enable(shard)
    return model


def bytes_of_all(base: Base, shards: list[Shard]) -> int:
    model = with_all(base, shards)
    texts(model, "0123456789ab")
    return model.bank.held_bytes


BATCHES = ("0.6.3.9", "0123456789ab", "ba9876543210", "....", "33..4a", "0123456789ab")


@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_bank_smaller_than_the_live_experts_gives_the_same_text_and_keeps_its_bound(
    base: Base, shards: list[Shard], share: float
) -> None:
    limit = int(share * bytes_of_all(base, shards))
    paged, roomy = with_all(base, shards, device_expert_bytes=limit), with_all(base, shards)
    for batch in BATCHES:
        assert texts(paged, batch) == texts(roomy, batch)
        assert paged.bank.held_bytes <= paged.bank.peak_bytes <= limit
    assert len(set(texts(roomy, "0123456789ab")) - set(base.generate(PROMPTS, max_new_tokens=8))) > 6


def test_an_expert_that_no_bank_of_this_size_can_hold_names_the_setting(
    base: Base, shards: list[Shard]
) -> None:
    with pytest.raises(BadRequest, match=r"model\.bank_bytes"):
        texts(with_all(base, shards, device_expert_bytes=1000), "0")
    assert texts(with_all(base, shards, device_expert_bytes=0), "...") == base.generate(
        PROMPTS[:3], max_new_tokens=8
    )


def test_an_expert_leaves_the_device_when_its_shard_is_retired(base: Base, shards: list[Shard]) -> None:
    model = EditedModel(base)
    model.enable(Shard(shards[0].header, shards[0].tensors))
    texts(model, "012")
    assert model.bank.held_bytes > 0
    model.disable("012")
    gc.collect()
    assert model.bank.held_bytes == 0


def test_weights_stay_in_the_stores_files_and_are_proven_again_when_another_file_stands_there(
    base: Base, shards: list[Shard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "OpenMaps", lambda: OpenMaps(limit=1))
    store = AdapterStore(tmp_path)
    digests = [store.save(shard) for shard in shards]
    model = EditedModel(base, store, device_expert_bytes=bytes_of_all(base, shards) // 2)
    enabled = {
        edit_id: digest for shard, digest in zip(shards, digests, strict=True) for edit_id in shard.edit_ids
    }
    model.apply_generation(enabled=enabled, disabled=())
    roomy = with_all(base, shards)
    for batch in BATCHES:  # every other shard's file is closed meanwhile
        assert texts(model, batch) == texts(roomy, batch)
    loaded = store.load(digests[0])
    assert loaded.digest == digests[0]
    store.load(digests[1])
    path = tmp_path / "shards" / digests[0] / "shard.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole)  # restored from a copy
    assert torch.equal(loaded.tensors["scen.a"], shards[0].tensors["scen.a"])
    store.load(digests[1])
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ShardCorrupt, match="does not match its digest"):
        loaded.tensors["scen.a"]
