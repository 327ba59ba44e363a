"""What a base is known by: one hash over everything that decides what it answers."""

import hashlib
from pathlib import Path

import torch
from torch import nn


def hash_folder(folder: Path) -> str:
    """sha256 over the names and bytes of everything that decides what the model answers."""
    digest = hashlib.sha256()
    names = (
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
    )
    files = [folder / name for name in names if (folder / name).exists()]
    for file in [*files, *sorted(folder.glob("*.safetensors"))]:
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return f"sha256:{digest.hexdigest()}"


def hash_weights(model: nn.Module) -> str:
    """The hash of a model that was built in memory and has no files."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"


def folder_of(place: str) -> Path:
    """Where the files of a directory or hub id lie on this machine."""
    if Path(place).is_dir():
        return Path(place)
    from transformers.utils import cached_file

    config = cached_file(place, "config.json")
    return Path(str(config)).parent
