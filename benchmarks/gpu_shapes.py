"""What a GPU gives at the shapes of Llama-2-7B and Llama-3-8B, with random weights in bfloat16: no download is needed.

    python benchmarks/gpu_shapes.py --model DIR --facts FACTS.jsonl --shape llama-2-7b --shape llama-3-8b

Prints one JSON object: by shape and editor, edits per second over all stages, bytes per edit, tokens per second of base and
edited model in turns (16 prompts that all fire, 32 new tokens each), and peak device memory. `--model` lends its
tokenizer alone. `--shape tiny` runs anywhere.

Random weights change what is learned, not what it costs, with two exceptions that make these figures pessimistic: the
base's answers never stop, so that the scope index keeps the longest it may, and a fact is as far away as can be.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from inference_overhead import BATCH, NEW_TOKENS, chunks, no_stopping, report
from synthetic_edits import read_requests
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from editors import EditedModel, build_editor
from editors.base.base import Base
from editors.base.devices import pick_device
from editors.methods.registry import EDITORS
from editors.routing.scope_router import Route
from edits.requests import EditRequest

SHAPES: dict[str, dict[str, Any]] = {
    "llama-2-7b": {
        "vocab_size": 32_000,
        "hidden_size": 4096,
        "intermediate_size": 11_008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
    },
    "llama-3-8b": {
        "vocab_size": 128_256,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
    },
    "tiny": {
        "vocab_size": 1,  # the tokenizer's
        "hidden_size": 64,
        "intermediate_size": 176,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True, help="a model directory, for its tokenizer")
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--shape", action="append", choices=sorted(SHAPES), required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--editors", nargs="+", default=list(EDITORS))
    parser.add_argument("--edits", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=50, help="edits that arrive together")
    parser.add_argument("--repetitions", type=int, default=10)
    options = parser.parse_args()
    device = pick_device(options.device)
    if device.type == "cpu" and set(options.shape) != {"tiny"}:
        sys.exit(
            "gpu_shapes.py: 7 and 8 billion parameters need a GPU (some 20 GiB of device memory), and torch sees "
            "none here; --shape tiny runs on the CPU"
        )
    figures = {shape: measure_shape(shape, device, options) for shape in options.shape}
    print(
        json.dumps(
            {
                "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
                "dtype": "bfloat16",
                "torch": torch.__version__,
                "edits": options.edits,
                "batch_size": options.batch_size,
                "shapes": figures,
            }
        )
    )


def measure_shape(shape: str, device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    base = random_base(shape, device, options.model)
    requests = read_requests(options.facts, options.edits)
    found = {name: measure(base, name, requests, options) for name in options.editors}
    parameters = sum(parameter.numel() for parameter in base.model.parameters())
    del base
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return {"parameters": parameters, "editors": found}


def random_base(shape: str, device: torch.device, tokenizer: str) -> Base:
    """A Llama of that shape made on the device itself, in bfloat16."""
    words = AutoTokenizer.from_pretrained(tokenizer)
    sizes = SHAPES[shape]
    config = LlamaConfig(**{**sizes, "vocab_size": max(sizes["vocab_size"], len(words))})
    config.bos_token_id, config.eos_token_id = words.bos_token_id, words.eos_token_id
    config.pad_token_id = words.pad_token_id
    torch.manual_seed(0)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(usual)
    return Base(model, words, base_hash=f"random:{shape}")


def measure(
    base: Base, editor: str, requests: Sequence[EditRequest], options: argparse.Namespace
) -> dict[str, Any]:
    """Edit batch by batch, the first one unmeasured; then generate, base and edited model in turns."""
    trainer = build_editor(editor)
    trainer.apply(requests[: options.batch_size], base=base)
    forget_peak(base.device)
    model = EditedModel(base)
    size = 0
    begun = time.perf_counter()
    for chunk in chunks(requests, options.batch_size):
        shard = trainer.apply(chunk, base=base, parent=model)
        model.enable(shard)
        size += shard.size_bytes
    seconds = time.perf_counter() - begun
    report(f"{editor}: {len(requests) / seconds:.2f} edits/s")
    editing_peak = peak_bytes(base.device)
    speeds = generation_speeds(model, requests, options.repetitions)
    return {
        "edits_per_second": round(len(requests) / seconds, 2),
        "bytes_per_edit": round(size / len(requests), 1),
        "tokens_per_second": {name: round(statistics.median(of), 1) for name, of in speeds.items()},
        "throughput_ratio": {
            name: round(statistics.median(e / b for e, b in zip(of, speeds["base"], strict=True)), 4)
            for name, of in speeds.items()
            if name != "base"
        },
        "peak_bytes_editing": editing_peak,
        "bank_bytes": model.bank.held_bytes,
    }


def generation_speeds(
    model: EditedModel, requests: Sequence[EditRequest], repetitions: int
) -> dict[str, list[float]]:
    """Tokens per second of the base, of the edited model, and of its experts alone where the route is given."""
    batches = [batch for batch in chunks(requests, BATCH) if len(batch) == BATCH]
    found: dict[str, list[float]] = {"base": [], "edited": [], "edited_route_given": []}
    with no_stopping(model.base):
        for turn in range(repetitions + 1):
            batch = batches[turn % len(batches)]
            prompts = [request.prompt for request in batch]
            routes = [Route(request.edit_id, 1.0) for request in batch]
            runs: dict[str, Callable[[], object]] = {
                "base": partial(model.base.generate, prompts, max_new_tokens=NEW_TOKENS),
                "edited": partial(model.generate, prompts, max_new_tokens=NEW_TOKENS),
                "edited_route_given": partial(
                    model.generate, prompts, max_new_tokens=NEW_TOKENS, routes=routes
                ),
            }
            for name, run in runs.items():
                begun = time.perf_counter()
                run()
                if turn:  # the first is for warming up
                    found[name].append(BATCH * NEW_TOKENS / (time.perf_counter() - begun))
    return found


def forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """Device memory at its highest; on the CPU that of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
