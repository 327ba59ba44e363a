"""What a base is known by: one hash over everything that decides what it answers."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edits.errors import BaseUnreadable

_CONFIGURATION = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
)
# Whatever else tokenizers are read from; a folder that has none of these has one hash in all releases.
_FURTHER_TOKENIZER_FILES = (
    *("added_tokens.json", "special_tokens_map.json", "merges.txt", "*vocab*.json", "*vocab*.txt", "vocab.*"),
    *(
        "*.model",
        "*.spm",
        "*.tiktoken",
        "*.bpe",
        "tekken.json",
        "chat_template.*",
        "additional_chat_templates/*",
    ),
)
# What a tokenizer can be read from, each alone; and what is read beside the weights whenever a base is loaded.
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "*vocab*.json",
    "*vocab*.txt",
    "*.spm",
    "*.tiktoken",
    "tekken.json",
)
_READ_WITH_A_BASE = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)

# Of a configuration: where it was read, and by which release.
_NOT_CONTENT = ("_name_or_path", "transformers_version")


@dataclass(frozen=True, slots=True)
class BaseHash:
    """A base's hash, and those by which ledgers and shards of earlier releases know it.

    Attributes:
        earlier: hashes over fewer files. What carries one of them is this base's, as far as that release could tell.
    """

    current: str
    earlier: frozenset[str] = frozenset()

    def is_of(self, stored: str) -> bool:
        """Whether a hash that was stored is this base's."""
        return stored == self.current or stored in self.earlier


def as_base_hash(stored_hash: "str | BaseHash") -> BaseHash:
    """A hash alone as one that never was another."""
    return BaseHash(stored_hash) if isinstance(stored_hash, str) else stored_hash


def hash_base(folder: Path) -> BaseHash:
    """The hash of a base's folder: its weights, its configuration and each file of its tokenizer."""
    first = hash_folder(folder)
    found = {file for pattern in _FURTHER_TOKENIZER_FILES for file in folder.glob(pattern) if file.is_file()}
    further = sorted(file for file in found if file.name not in _CONFIGURATION)
    if not further:
        return BaseHash(first)
    digest = hashlib.sha256(first.encode())
    _update(digest, further)
    return BaseHash(f"sha256:{digest.hexdigest()}", frozenset((first,)))


def hash_folder(folder: Path) -> str:
    """The hash of an encoder's folder, which pair heads and indices are stored under; and of a base up to release 0.1."""
    digest = hashlib.sha256()
    files = [folder / name for name in _CONFIGURATION if (folder / name).exists()]
    _update(digest, [*files, *sorted(folder.glob("*.safetensors"))])
    return f"sha256:{digest.hexdigest()}"


def _update(digest: "hashlib._Hash", files: Iterable[Path]) -> None:
    """Add names and bytes."""
    for file in files:
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())


def hash_weights(model: nn.Module) -> str:
    """The hash of a model that was built in memory and has no files."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"


def hash_loaded(model: Any, tokenizer: Any) -> str:
    """The hash of a base that is loaded already: its weights, its configuration, its tokenizer and chat template.

    Not the one of its files (`hash_base`): what is trained on one is refused on the other.
    """
    digest = hashlib.sha256(hash_weights(model).encode())
    config = {name: value for name, value in model.config.to_dict().items() if name not in _NOT_CONTENT}
    backend = getattr(tokenizer, "backend_tokenizer", None)
    words = backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items())
    template = getattr(tokenizer, "chat_template", None)
    for part in (config, words, tokenizer.special_tokens_map, template):
        digest.update(json.dumps(part, sort_keys=True, default=str).encode())
    return f"sha256:{digest.hexdigest()}"


def folder_of(place: str) -> Path:
    """Where the files of a directory or hub id lie on this machine: of a hub id, all that decide the hash, else none.

    Raises:
        BaseUnreadable: of the hub id's snapshot weights or the tokenizer are missing here; it names what.
    """
    if Path(place).is_dir():
        return Path(place)
    from transformers.utils import cached_file

    folder = Path(str(cached_file(place, "config.json"))).parent
    for name in _READ_WITH_A_BASE:  # fetched now where the hub can be reached and has them
        cached_file(
            place,
            name,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    if missing := missing_files(folder):
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise BaseUnreadable(
            f"{place!r} was fetched in part: {', '.join(missing[:3])}{more} missing in {folder}, and its hash would be "
            f"another one. Fetch it whole: hf download {place}"
        )
    return folder


def missing_files(folder: Path) -> list[str]:
    """What a snapshot lacks of its weights and its tokenizer."""
    index = folder / "model.safetensors.index.json"
    weights = ["model.safetensors"]
    if index.is_file():
        weights = sorted({*json.loads(index.read_bytes())["weight_map"].values()})
    missing = [name for name in weights if not (folder / name).is_file()]
    return missing if has_tokenizer(folder) else [*missing, "tokenizer.json"]


def has_tokenizer(folder: Path) -> bool:
    """Whether a checkpoint's folder has files that a tokenizer is made of."""
    return any(file.is_file() for pattern in _TOKENIZERS for file in folder.glob(pattern))
