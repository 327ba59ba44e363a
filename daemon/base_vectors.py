"""Prompts as the base model sees them: the vectors of `planner.embedding = "base"`."""

from collections.abc import Sequence

import numpy as np
import torch

from daemon.runtime import open_base
from daemon.settings import ModelSettings
from editors.base import device_errors, length_sorted_chunks
from planners.embedding import Vectors

CHUNK = 64


def base_vectors(texts: Sequence[str], settings: ModelSettings) -> Vectors:
    """(n, hidden size): mean over each text's tokens of the hidden states that enter the edited layer.

    The base is loaded for this call and freed after it: the scheduler plans the batch lane once a night.

    Raises:
        DeviceBusy: the device has no room for the base at this moment.
        PermanentError: the base cannot be loaded.
    """
    base = open_base(settings)
    rows = [base.prompt_ids(text) for text in texts]
    vectors = np.zeros((len(rows), base.hidden_size), dtype=np.float32)
    for chunk in length_sorted_chunks(rows, CHUNK):
        ids, mask = base.pad([rows[index] for index in chunk], side="right")
        with device_errors(), torch.inference_mode():
            out = base.model(
                input_ids=ids,
                attention_mask=mask,
                output_hidden_states=True,
                use_cache=False,
                logits_to_keep=1,
            )
            hidden = out.hidden_states[base.layer].float()  # (B, T, d)
            weights = mask[..., None].float()
            means = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
        vectors[chunk] = means.cpu().numpy()
    return vectors
