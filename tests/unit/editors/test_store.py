"""The adapter store: a shard is whole or absent, and is what its name says."""

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from editors.store.adapter_store import YOUNG, AdapterStore, StoreUnwell
from editors.store.header import ShardEntry, ShardHeader
from editors.store.shards import Shard
from edits.errors import ShardCorrupt


def shard(*edit_ids: str) -> Shard:
    entries = tuple(
        ShardEntry(
            edit_id=edit_id, surface_forms=("Norland",), base_answer_ids=(5, 1), confidence=0.5, threshold=0.5
        )
        for edit_id in edit_ids
    )
    header = ShardHeader(
        editor="lemoe", base_hash="sha256:x", layer=2, settings={"width": 2}, entries=entries
    )
    rows = torch.arange(len(edit_ids) * 4, dtype=torch.float16).view(-1, 4)
    tensors = {
        "scope.key": rows,
        "lemoe.gate": rows[:, :2],
        "lemoe.w_in": torch.ones(2, 4),
        "lemoe.w_out": torch.ones(4, 2),
    }
    return Shard(header, tensors)


def test_what_was_saved_is_loaded_bit_for_bit_and_saving_twice_changes_nothing(tmp_path: Path) -> None:
    store = AdapterStore(tmp_path)
    made = shard("1", "2")
    assert store.save(made) == store.save(made) == made.digest
    read = store.load(made.digest)
    assert read.header == made.header
    assert all(torch.equal(read.tensors[name], tensor) for name, tensor in made.tensors.items())
    assert store.digests() == {made.digest}


def test_a_kept_part_has_its_own_rows_and_what_the_batch_shares(tmp_path: Path) -> None:
    part = shard("1", "2", "3").keep(["3", "1"])
    assert part.edit_ids == ("1", "3")
    assert part.tensors["lemoe.gate"].tolist() == [[0.0, 1.0], [8.0, 9.0]]
    assert part.tensors["lemoe.w_in"].shape == (2, 4)
    assert AdapterStore(tmp_path).save(part) != shard("1", "2", "3").digest


@pytest.mark.parametrize("file", ["shard.json", "shard.safetensors"])
def test_a_flipped_byte_a_cut_file_and_a_missing_one_are_told_apart_from_the_shard(
    tmp_path: Path, file: str
) -> None:
    store = AdapterStore(tmp_path)
    digest = store.save(shard("1"))
    path = tmp_path / "shards" / digest / file
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:10] + bytes([whole[10] ^ 1]) + whole[11:]):
        path.write_bytes(damaged)
        with pytest.raises(ShardCorrupt, match="does not match its digest"):
            store.load(digest)
    path.unlink()
    with pytest.raises(ShardCorrupt, match="is missing"):
        store.load(digest)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a file in place of the folder": lambda folder: (shutil.rmtree(folder), folder.write_text("x")),
    "a link to nowhere in place of the folder": lambda folder: (
        shutil.rmtree(folder),
        folder.symlink_to("/nowhere"),
    ),
    "a folder in place of the header": lambda folder: _gone(folder / "shard.json").mkdir(),
    "a folder in place of the weights": lambda folder: _gone(folder / "shard.safetensors").mkdir(),
    "a pipe in place of the header": lambda folder: os.mkfifo(_gone(folder / "shard.json")),
    "a pipe in place of the weights": lambda folder: os.mkfifo(_gone(folder / "shard.safetensors")),
    "a link to itself": lambda folder: _gone(folder / "shard.json").symlink_to("shard.json"),
    "nothing in the header": lambda folder: (folder / "shard.json").write_bytes(b""),
    "less than was written": lambda folder: os.truncate(folder / "shard.safetensors", 10),
}


def _gone(path: Path) -> Path:
    path.unlink()
    return path


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", DAMAGE)
def test_whatever_stands_in_a_shards_place_is_damage_and_saving_the_shard_again_mends_it(
    tmp_path: Path, kind: str
) -> None:
    store = AdapterStore(tmp_path)
    digest = store.save(shard("1"))
    DAMAGE[kind](tmp_path / "shards" / digest)
    assert not store.is_whole(digest)
    with pytest.raises(ShardCorrupt):
        AdapterStore(tmp_path).load(digest)
    assert store.save(shard("1")) == digest
    assert AdapterStore(tmp_path).load(digest).header == shard("1").header


@pytest.mark.parametrize("name", ["../../etc", "a" * 63, "A" * 64, ""])
def test_only_a_digest_names_a_shard(tmp_path: Path, name: str) -> None:
    with pytest.raises(ShardCorrupt, match="not a shard's digest"):
        AdapterStore(tmp_path).load(name)


def test_a_full_disk_is_temporary_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = AdapterStore(tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StoreUnwell, match="free space"):
            store.save(shard("1"))
    assert list((tmp_path / "shards").iterdir()) == []
    assert store.save(shard("1")) in store.digests()


def test_sweeping_takes_old_unnamed_shards_and_dead_writers_leftovers_alone(tmp_path: Path) -> None:
    store = AdapterStore(tmp_path)
    named, old, young = (store.save(shard(edit_id)) for edit_id in "123")
    leftover = tmp_path / "shards" / ".writing-dead"
    leftover.mkdir()
    for path in (tmp_path / "shards" / old, leftover, tmp_path / "shards" / named):
        os.utime(path, (time.time() - 7200,) * 2)
    swept = store.sweep(keep=[named], older_than_seconds=3600)
    assert (swept.removed, swept.left, swept.failed) == (2, {YOUNG: 1}, {})
    assert store.digests() == {named, young}
    assert not leftover.exists()


def test_a_sweep_counts_what_the_disk_does_not_let_it_remove_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = AdapterStore(tmp_path)
    stuck, loose = (store.save(shard(edit_id)) for edit_id in "12")
    unlink = os.unlink

    def refuse(path: str, **options: int) -> None:  # root may remove everything: a disk that refuses is acted
        if stuck in os.readlink(f"/proc/self/fd/{options['dir_fd']}"):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", refuse)
    swept = store.sweep(keep=[], older_than_seconds=-1)
    assert (swept.removed, swept.failed) == (1, {os.strerror(errno.EPERM): 1})
    assert store.digests() == {stuck}
    assert loose not in store.digests()
