"""Export experts as PEFT LoRA adapters, with the index that tells a server which adapter a prompt needs.

SCEN's are exported as they are, others by their LoRA forms (`editors.store.lora_forms`) where they have one.

W + BA on one projection, acting on every position, is what PEFT calls a LoRA of scaling 1. The folder (docs/export.md):

    index.json, index.safetensors      every edit: names, scope signals, and its adapter's folder
    edit-<id>/adapter_config.json      for peft.PeftModel.from_pretrained and servers that load PEFT adapters
    edit-<id>/adapter_model.safetensors
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from editors.base.architectures import Layout, layout_of
from editors.pretrained.hashing import BaseHash, folder_of, hash_base
from editors.store.adapter_store import AdapterStore
from editors.store.fit import require_fit
from editors.store.header import ShardEntry, ShardHeader
from editors.store.lora_forms import LoraForm
from editors.store.shards import Shard
from edits.errors import BadRequest, BaseUnreadable, PermanentError, ShardCorrupt

INDEX = "index.json"
INDEX_TENSORS = "index.safetensors"
MAX_INDEX_BYTES = 1024**3
# PEFT makes module names of adapter names, which therefore have no dots.
_FOLDER_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


class Unexportable(PermanentError):
    """An expert that has no form a LoRA loader can take."""


class ExportedEdit(ShardEntry):
    """One edit of the index: its scope entry, its adapter's folder, and where its tensors stand in the index."""

    folder: str = Field(max_length=200)
    part: int = Field(ge=0, description="its tensors are `<part>.<name>` of index.safetensors")
    row: int = Field(ge=0, description="its row in each of them")


class SkippedEdit(BaseModel):
    """An edit that was live but is not among the adapters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    edit_id: str
    reason: str


class ExportIndex(BaseModel):
    """`index.json`: which adapters there are, when each is to be used, and what is missing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    adapters: Literal["peft-lora"] = "peft-lora"
    base: str = Field(description="the base as it was named: a folder or a hub id")
    base_hash: str
    generation: int = Field(ge=0)
    parts: tuple[dict[str, Any], ...] = Field(description="what the edits of a part share: a shard's header")
    edits: tuple[ExportedEdit, ...]
    left_out: tuple[SkippedEdit, ...] = ()


@dataclass(frozen=True, slots=True)
class ExportTarget:
    """The base that adapters are exported for: its name, its hash, and where its projections are."""

    name: str
    base_hash: str
    layout: Layout
    earlier_hashes: frozenset[str] = frozenset()

    @property
    def known_as(self) -> BaseHash:
        """The base's hash, with those of earlier releases."""
        return BaseHash(self.base_hash, self.earlier_hashes)

    def adapter_config(self, *, layer: int, rank: int) -> dict[str, Any]:
        """PEFT's `LoraConfig` of one expert: that projection of that layer alone, alpha = r for a scaling of 1."""
        return {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self.name,
            "inference_mode": True,
            "r": rank,
            "lora_alpha": rank,
            "lora_dropout": 0.0,
            "target_modules": [self.projection(layer)],
            "fan_in_fan_out": self.layout.transposed,
            "bias": "none",
            "use_rslora": False,
            "use_dora": False,
            "init_lora_weights": True,
            "modules_to_save": None,
        }

    def projection(self, layer: int) -> str:
        """The path of a layer's edited projection in the model."""
        return f"{self.layout.layers}.{layer}.{self.layout.down_proj}"


def export_target(path: str, *, ffn_module: str | None = None) -> ExportTarget:
    """What an export must know of the base at `path`; no weight is loaded.

    Raises:
        BaseUnreadable: there is no base with a config.json.
        UnknownArchitecture: the table lacks its family and `ffn_module` does not say where the FFN is.
    """
    try:
        folder = folder_of(path)
        model_type = json.loads((folder / "config.json").read_bytes())["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BaseUnreadable(f"there is no readable config.json of a base at {path!r}: {error}") from error
    known_as, layout = hash_base(folder), layout_of(model_type, ffn_module=ffn_module)
    return ExportTarget(path, known_as.current, layout, known_as.earlier)


def why_unexportable(shard: Shard) -> str | None:
    """Why a shard's experts cannot be LoRA adapters; None: they can."""
    names = shard.tensors.keys()
    if "scen.weight" in names:
        return (
            "SCEN's paper mode keeps a copy of the whole projection, which is no low-rank adapter: "
            "edit in the default mode to export"
        )
    if not {"scen.a", "scen.b"} <= names:
        return (
            f"its {shard.header.editor} expert is not linear (W_out SiLU(W_in x + g) beside the FFN), "
            "so no LoRA can say what it says: edit the fact with scen to export it"
        )
    if shard.header.routing != "scope":
        return f"it is routed by {shard.header.routing}, which the exported index does not carry"
    return None


def export_peft(
    edits: Mapping[str, str],
    *,
    store: AdapterStore,
    target: ExportTarget,
    generation: int,
    out: Path,
) -> ExportIndex:
    """Write the adapters of `edits` (edit id -> shard digest) and their index to the folder `out`, whole or not at all.

    What cannot be exported stands in the index's `left_out`.

    Raises:
        Unexportable: nothing of it can be.
        ShardCorrupt: a shard is missing, damaged or of another base.
        PermanentError: `out` is not an empty place that can be written.
    """
    require_empty(out)
    by_shard: dict[str, list[str]] = {}
    for edit_id, digest in edits.items():
        by_shard.setdefault(digest, []).append(edit_id)
    with _output_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    whole = aside / "export"  # with the usual rights: those of mkdtemp's own folder are private
    try:
        with _output_errors(out):
            whole.mkdir()
        index = _write_all(by_shard, store=store, target=target, generation=generation, folder=whole)
        with _output_errors(out):
            whole.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return index


def require_empty(out: Path) -> None:
    """Refuse a place that holds anything.

    Raises:
        PermanentError: it is a file or a folder with something in it.
    """
    with _output_errors(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise PermanentError(f"{out} is not empty: name a new folder, nothing is overwritten")


def read_index(folder: Path) -> tuple[ExportIndex, list[Shard]]:
    """An export's index, and its edits as shards that `EditedModel.enable` takes: to route, not to generate.

    Raises:
        ShardCorrupt: the index is missing, damaged or of a form that this version does not read.
    """
    try:
        if (folder / INDEX).stat().st_size > MAX_INDEX_BYTES:
            raise ShardCorrupt(f"{folder / INDEX} is larger than {MAX_INDEX_BYTES} bytes")
        index = ExportIndex.model_validate_json((folder / INDEX).read_bytes())
        tensors = load_file(folder / INDEX_TENSORS)
        shards = [_shard_of(index, number, tensors) for number in range(len(index.parts))]
    except (OSError, ValidationError, SafetensorError) as error:
        raise ShardCorrupt(f"{folder} holds no export that this version reads: {error}") from error
    return index, shards


def _shard_of(index: ExportIndex, part: int, tensors: Mapping[str, Tensor]) -> Shard:
    rows = sorted((edit for edit in index.edits if edit.part == part), key=lambda edit: edit.row)
    entries = tuple(edit.model_dump(include=set(ShardEntry.model_fields)) for edit in rows)
    header = ShardHeader.model_validate({**index.parts[part], "entries": entries})
    prefix = f"{part}."
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if [edit.row for edit in rows] != list(range(len(rows))) or any(
        len(t) != len(rows) for t in own.values()
    ):
        raise ShardCorrupt(f"part {part} of the index does not have a row for each of its edits")
    return Shard(header, own)


def _write_all(
    by_shard: Mapping[str, Sequence[str]],
    *,
    store: AdapterStore,
    target: ExportTarget,
    generation: int,
    folder: Path,
) -> ExportIndex:
    parts: list[dict[str, Any]] = []
    exported: list[ExportedEdit] = []
    left_out: list[SkippedEdit] = []
    tensors: dict[str, Tensor] = {}
    for digest, edit_ids in by_shard.items():
        whole = store.load(digest)
        require_fit(whole, base_hash=target.known_as, edit_ids=edit_ids)
        form, reason = store.lora.find(digest), why_unexportable(whole)
        linear = [one for one in edit_ids if reason is None or (form is not None and one in form.edit_ids)]
        left_out += [SkippedEdit(edit_id=one, reason=reason or "") for one in edit_ids if one not in linear]
        if not linear:
            continue
        shard = whole.keep(linear)
        with _output_errors(folder):
            exported += _write_adapters(shard, form, part=len(parts), target=target, folder=folder)
        scope = {name: tensor for name, tensor in shard.tensors.items() if name.startswith("scope.")}
        # Copies: safetensors refuses tensors that are views of one storage.
        tensors |= {f"{len(parts)}.{name}": tensor.clone().contiguous() for name, tensor in scope.items()}
        parts.append(shard.header.model_dump(mode="json", exclude={"entries"}))
    if not exported:
        reasons = dict.fromkeys(f"edit {edit.edit_id}: {edit.reason}" for edit in left_out)
        raise Unexportable("\n".join(["nothing here can be exported", *list(reasons)[:5]]))
    index = ExportIndex(
        base=target.name,
        base_hash=target.base_hash,
        generation=generation,
        parts=tuple(parts),
        edits=tuple(exported),
        left_out=tuple(left_out),
    )
    with _output_errors(folder):
        save_file(tensors, folder / INDEX_TENSORS)
        (folder / INDEX).write_text(index.model_dump_json(indent=1, by_alias=True) + "\n", encoding="utf-8")
    return index


def export_adapter(
    shard: Shard, edit_id: str, *, target: ExportTarget, folder: Path, form: LoraForm | None = None
) -> None:
    """Write one edit of a shard as a PEFT adapter: `folder` appears whole, or was already there.

    Args:
        form: of a shard whose experts are no LoRA.

    Raises:
        Unexportable: its expert is no LoRA.
        ShardCorrupt: the shard lacks the edit or was made for another base.
        PermanentError: the folder cannot be written.
    """
    require_fit(shard, base_hash=target.known_as, edit_ids=[edit_id])
    pair = _pair(shard, form, edit_id)
    if folder.is_dir():
        return
    with _output_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with _output_errors(folder):
            whole = aside / "adapter"  # with the usual rights: another process reads it
            whole.mkdir()
            _write_adapter(pair, layer=shard.header.layer, target=target, folder=whole)
            try:
                whole.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was first, with the same bytes
                    raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_adapters(
    shard: Shard, form: LoraForm | None, *, part: int, target: ExportTarget, folder: Path
) -> Iterator[ExportedEdit]:
    """One adapter folder per row of a shard; yields what the index says of each."""
    for row, entry in enumerate(shard.header.entries):
        if not _FOLDER_ID.fullmatch(entry.edit_id):
            raise BadRequest(
                f"edit id {entry.edit_id!r} cannot name an adapter: use letters, digits, - and _"
            )
        name = f"edit-{entry.edit_id}"
        (folder / name).mkdir()
        pair = _pair(shard, form, entry.edit_id)
        _write_adapter(pair, layer=shard.header.layer, target=target, folder=folder / name)
        yield ExportedEdit(**entry.model_dump(), folder=name, part=part, row=row)


def _pair(shard: Shard, form: LoraForm | None, edit_id: str) -> tuple[Tensor, Tensor]:
    """A (r, f) and B (d, r) of an edit: of its shard's LoRA form where it has one, else its expert itself.

    Raises:
        Unexportable: its expert is no LoRA.
    """
    if form is not None and edit_id in form.edit_ids:
        return form.pair(edit_id)
    if (reason := why_unexportable(shard)) is not None:
        raise Unexportable(f"edit {edit_id}: {reason}")
    row = shard.edit_ids.index(edit_id)
    return shard.tensors["scen.a"][row], shard.tensors["scen.b"][row]


def _write_adapter(pair: tuple[Tensor, Tensor], *, layer: int, target: ExportTarget, folder: Path) -> None:
    """The two files of one adapter: A (r, f) and B (d, r)."""
    a, b = pair
    config = json.dumps(target.adapter_config(layer=layer, rank=len(a)), indent=1) + "\n"
    stem = f"base_model.model.{target.projection(layer)}"
    (folder / "adapter_config.json").write_text(config, encoding="utf-8")
    weights = {f"{stem}.lora_A.weight": a.clone(), f"{stem}.lora_B.weight": b.clone()}
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})


@contextmanager
def _output_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PermanentError(f"{out} cannot be written: {error.strerror}") from error
