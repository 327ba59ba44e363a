"""Where a model runs and in which number type, and the device's own errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from edits.errors import BadRequest, DeviceBusy, first_line


def pick_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU.

    Raises:
        BadRequest: the named device does not exist on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise BadRequest(
            f"model.device = {device!r} is no torch device: use auto, cpu or cuda[:N]"
        ) from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise BadRequest("model.device asks for CUDA, but torch sees no CUDA device here: use auto or cpu")
    return chosen


def pick_dtype(name: str) -> Any:
    """What transformers is told of the number type: "auto" (as stored) or a torch dtype.

    Raises:
        BadRequest: an unknown name.
    """
    known = {"auto": "auto", "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise BadRequest(f"model.dtype = {name!r}: use one of {', '.join(known)}")
    return known[name]


@contextmanager
def device_errors() -> Iterator[None]:
    """The one border where the device's own errors become Upkeep's."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceBusy(
            f"the device is out of memory: {first_line(error)}", retry_after_seconds=10.0
        ) from error
