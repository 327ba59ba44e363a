"""The shard: what one batch of edits became. Immutable, content-addressed, safetensors and JSON only.

A shard is a folder named by its digest with two files: `shard.json` (who, where, what each row is) and
`shard.safetensors` (the weights, one row per edit where a tensor is per edit).
"""

import hashlib
import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import save as save_tensors
from torch import Tensor

from editors.store.derived_index import TEXT_VECTORS, DerivedIndex, ReplacedTensors
from editors.store.header import IndexedQuestion, ShardEntry, ShardHeader
from editors.store.mapped import MappedTensors
from editors.store.packed import PackedRows
from edits.errors import ShardCorrupt, ShardDamaged

MAX_HEADER_BYTES = 256 * 1024 * 1024
# Weights are rounded to this type before they are scored, so that what was verified is what is stored.
STORED_DTYPE = torch.float16

# What headers of earlier formats do not have.
_TEXT_OF_ENTRY = {"relation", "odds"}
_TEXT_INDEX: dict[str, Any] = {"encoder_hash": True, "questions": True, "calibration": {"agreement"}}
_LATER: dict[int, Any] = {
    1: {
        **_TEXT_INDEX,
        "routing": True,
        "sequence": True,
        "calibration": True,
        "entries": {
            "__all__": {"near_name", "required_words", "answer_ids", "prompt_sha256", *_TEXT_OF_ENTRY}
        },
    },
    2: {**_TEXT_INDEX, "entries": {"__all__": {"answer_ids", "prompt_sha256", *_TEXT_OF_ENTRY}}},
    3: {**_TEXT_INDEX, "entries": {"__all__": _TEXT_OF_ENTRY}},
    4: None,
}
_SHARED = frozenset({TEXT_VECTORS, "lemoe.w_in", "lemoe.w_out", "kv.key", "kv.w_down", "kv.w_up", "kv.null"})


@dataclass(frozen=True)
class Shard:
    """A header and its tensors.

    Tensors by name (n edits, d hidden size, f FFN width, r rank, m expert width, v and u widths of LEMoE's projection):
        scope.text (m, w)      sentence vectors of `header.questions`, where an encoder read them
        scope.key (n, d)       hidden state entering `layer` at each prompt's last token; where no text is read
        scen.a (n, r, f), scen.b (n, d, r)
        lemoe.w_in (m, d), lemoe.w_out (d, m), lemoe.gate (n, m)
    routed by neuron:
        neuron.w (n, f), neuron.h (n, f), neuron.prompt_ids (n, T) padded with -1
        scen.weight (n, d, f)  paper mode's copy of the whole projection
    routed by KV anchor, one expert for the shard:
        kv.e (n, d), kv.key (v), kv.w_down (u, d), kv.w_up (v, u), kv.null (1): the deferral's logit, if there is one
        lemoe.ffn.<name>       the expert's copy of the FFN's parameter of that name
    """

    header: ShardHeader
    tensors: Mapping[str, Tensor]

    @property
    def payload(self) -> tuple[bytes, bytes]:
        """The two files' bytes, made anew: canonical JSON and safetensors."""
        # A shard of an earlier format keeps the bytes, and so the digest, that it was stored under.
        rows = {"entries": tuple(self.header.entries), "questions": tuple(self.header.questions)}
        whole = self.header.model_copy(update=rows)
        plain = whole.model_dump(mode="json", by_alias=True, exclude=_LATER[self.header.format])
        header = json.dumps(plain, sort_keys=True, ensure_ascii=False).encode()
        # Copies: safetensors refuses tensors that are views of one storage.
        weights = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in sorted(self.tensors.items())
        }
        return header, save_tensors(weights)

    @cached_property
    def digest(self) -> str:
        """sha256 of both files: the shard's name in the store and in generations."""
        header, weights = self.payload
        return digest_of(header, [weights])

    def require_whole(self) -> None:
        """Make sure that its files are still those that were proven when it was loaded.

        Raises:
            ShardDamaged: they are not.
        """
        if isinstance(self.tensors, MappedTensors | ReplacedTensors):
            self.tensors.require_whole()

    @cached_property
    def edit_ids(self) -> tuple[str, ...]:
        return tuple(entry.edit_id for entry in self.header.entries)

    @cached_property
    def size_bytes(self) -> int:
        return sum(len(part) for part in self.payload)

    @cached_property
    def largest_token(self) -> tuple[str, int]:
        """The edit that names the largest token id, and that id; 0 where no edit names any."""
        named = (
            (entry.edit_id, max((*entry.base_answer_ids, *entry.answer_ids), default=0))
            for entry in self.header.entries
        )
        return max(named, key=lambda one: one[1])

    def own_questions(self, row: int) -> range:
        """The rows of `header.questions` that are an edit's own question and the phrasings that came with it."""
        first = self._own_questions[row]
        return range(first, first + self._own_questions[row + len(self.header.entries)])

    @cached_property
    def _own_questions(self) -> "array[int]":
        """Where each edit's own rows begin, then how many each has: both by its row, in eight bytes an edit."""
        places: dict[str, tuple[int, int]] = {}
        for row, question in enumerate(self.header.questions):
            if question.edit_id is not None:
                first, count = places.get(question.edit_id, (row, 0))
                places[question.edit_id] = (first, count + 1)
        found = [places.get(entry.edit_id, (0, 0)) for entry in self.header.entries]
        return array("I", [*(first for first, _ in found), *(count for _, count in found)])

    @cached_property
    def relation_questions(self) -> Mapping[str, Sequence[int]]:
        """Rows of `scope.text` that are known of a relation, by its name."""
        found: dict[str, list[int]] = {}
        for row, question in enumerate(self.header.questions):
            if question.edit_id is None and question.relation is not None:
                found.setdefault(question.relation, []).append(row)
        return found

    def keep(self, edit_ids: Sequence[str]) -> "Shard":
        """The same shard with the rows of `edit_ids` alone; what one batch shares is kept whole."""
        wanted = set(edit_ids)
        rows = [i for i, entry in enumerate(self.header.entries) if entry.edit_id in wanted]
        if len(rows) == len(self.header.entries):
            return self
        entries = tuple(self.header.entries[i] for i in rows)
        tensors = {name: tensor if is_shared(name) else tensor[rows] for name, tensor in self.tensors.items()}
        relations = {entry.relation for entry in entries}
        kept = [
            i
            for i, question in enumerate(self.header.questions)
            if question.edit_id in wanted or (question.edit_id is None and question.relation in relations)
        ]
        changed = {"entries": entries, "questions": tuple(self.header.questions[i] for i in kept)}
        if TEXT_VECTORS in tensors:
            tensors[TEXT_VECTORS] = tensors[TEXT_VECTORS][kept]
        return Shard(self.header.model_copy(update=changed), tensors)


def is_shared(tensor: str) -> bool:
    """Whether the tensor of this name is one for the whole batch, not a row per edit."""
    return tensor.startswith("lemoe.ffn.") or tensor in _SHARED


def prompt_sha256(prompt: str) -> str:
    """How a shard knows a prompt again; text that is no Unicode, such as half of a pair, has one too."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()


def digest_of(header: bytes, weights: Iterable[bytes]) -> str:
    """The content address of a shard's two files, the second given in pieces."""
    digest = digest_begun(header)
    for piece in weights:
        digest.update(piece)
    return digest.hexdigest()


def digest_begun(header: bytes) -> "hashlib._Hash":
    """The content address as far as the header decides it; the weights' bytes are still to be added."""
    digest = hashlib.sha256(len(header).to_bytes(8, "big"))
    digest.update(header)
    return digest


def parse_shard(
    header: bytes, tensors: Mapping[str, Tensor], *, digest: str, derived: DerivedIndex | None = None
) -> Shard:
    """A stored shard from its header's bytes and its tensors, whose bytes were proven to be what `digest` names.

    Args:
        derived: what another encoder made of its texts, to stand in place of its own index.

    Raises:
        ShardCorrupt: it is not of a form that this version reads.
    """
    try:
        parsed = ShardHeader.model_validate_json(header)
    except ValidationError as error:
        raise ShardDamaged(
            digest, f"shard {digest} has a form that this version does not read: {error}"
        ) from error
    if derived is not None:
        parsed, tensors = derived.put_into(parsed, tensors)
    rows = len(parsed.entries)
    for name, tensor in tensors.items():
        if not is_shared(name) and tensor.shape[:1] != (rows,):
            raise ShardCorrupt(f"shard {digest}: {name} has the shape {tuple(tensor.shape)} for {rows} edits")
    read = len(parsed.questions) if parsed.encoder_hash is not None else 0
    if (TEXT_VECTORS in tensors) != bool(read) or (read and tensors[TEXT_VECTORS].shape[:1] != (read,)):
        raise ShardCorrupt(f"shard {digest}: {TEXT_VECTORS} does not have a row for each question")
    return _packed(Shard(parsed, tensors), digest)


def _packed(whole: Shard, digest: str) -> Shard:
    """The same shard with its rows packed: what all rows are needed for is asked while they are at hand."""
    entries = PackedRows(ShardEntry, whole.header.entries)
    questions = PackedRows(IndexedQuestion, whole.header.questions)
    shard = Shard(whole.header.over(entries, questions), whole.tensors)
    vars(shard).update(
        digest=digest,  # known: to make it anew would read all weights
        edit_ids=whole.edit_ids,
        largest_token=whole.largest_token,
        relation_questions=whole.relation_questions,
        _own_questions=whole._own_questions,
    )
    return shard
