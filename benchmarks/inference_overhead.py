"""What live edits cost while the model answers: throughput and time to first token against the base, in one process.

    python benchmarks/inference_overhead.py --model DIR --facts FACTS.jsonl

Prints one JSON object. Each figure is a median of ratios, both models taking turns on the same prompts. The headline
ratios are those of the worst case: every prompt names an edited subject and fires, and of the slower editor.
`prompt_latency_ratio_100000` is time to first token over the base's, again for prompts that fire.

Edits beyond the first `--real` of the facts file are invented subjects with random experts of the same shapes.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from synthetic_edits import read_requests, shards_like

from editors import EditedModel, build_editor, load_base
from editors.base import Base
from editors.requests import EditRequest
from editors.shards import Shard

BATCH, NEW_TOKENS, EDIT_BATCH = 16, 32, 50
THROUGHPUT_EDITS = (1_000, 10_000)
LATENCY_EDITS = 100_000

_T = TypeVar("_T")


@dataclass(frozen=True)
class Prompts:
    """Prompts that fire, prompts that name no edited subject, and half of each in every batch."""

    fire: list[str]
    none: list[str]

    @property
    def cases(self) -> dict[str, list[str]]:
        half = [prompt for pair in zip(self.fire, self.none, strict=False) for prompt in pair]
        return {"fire": self.fire, "half": half, "none": self.none}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--editors", nargs="+", default=["scen", "lemoe"])
    parser.add_argument("--real", type=int, default=320, help="edits that are trained, the rest is invented")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--bank-bytes", type=int, help="device memory for experts; unset: the default")
    options = parser.parse_args()
    base = load_base(options.model, device=options.device)
    detail = {editor: measure(base, editor, options) for editor in options.editors}
    figures = {
        f"throughput_ratio_{count}": min(d["throughput"][str(count)]["fire"] for d in detail.values())
        for count in THROUGHPUT_EDITS
    }
    latency = f"prompt_latency_ratio_{LATENCY_EDITS}"
    print(
        json.dumps(
            {
                **figures,
                latency: max(d["latency"]["fire"] for d in detail.values()),
                f"{latency}_not_firing": max(d["latency"]["none"] for d in detail.values()),
                "headline": "all prompts name edited subjects and fire; the slower of the editors",
                "editors": detail,
                "threads": torch.get_num_threads(),
                "load_average": os.getloadavg()[0],
            }
        )
    )


def measure(base: Base, editor: str, options: argparse.Namespace) -> dict[str, dict[str, object]]:
    """Train the real edits, then add invented ones and measure at each size."""
    requests = read_requests(options.facts)
    bank = {} if options.bank_bytes is None else {"device_expert_bytes": options.bank_bytes}
    model = EditedModel(base, **bank)
    real = [train(base, editor, chunk) for chunk in chunks(requests[: options.real], EDIT_BATCH)]
    for shard in real:
        model.enable(shard)
    prompts = sort_prompts(model, requests, options.real)
    told(f"{editor}: {len(model.live)} edits trained, {len(prompts.fire)} of their prompts fire")
    throughput: dict[str, object] = {}
    with no_stopping(base):
        for count in THROUGHPUT_EDITS:
            grow(model, real[0], count, distinct=True)
            throughput[str(count)] = {
                case: round(throughput_ratio(model, of_case, options.repetitions), 4)
                for case, of_case in prompts.cases.items()
            }
            told(f"{editor}, {count} edits: {throughput[str(count)]}")
        grow(model, real[0], LATENCY_EDITS, distinct=False)
        latency = {
            case: round(latency_ratio(model, of_case, 8 * options.repetitions), 4)
            for case, of_case in (("fire", prompts.fire), ("none", prompts.none))
        }
        told(f"{editor}, {LATENCY_EDITS} edits: {latency}")
    return {"throughput": throughput, "latency": latency}


def train(base: Base, editor: str, requests: Sequence[EditRequest]) -> Shard:
    return build_editor(editor).apply(requests, base=base)


def sort_prompts(model: EditedModel, requests: Sequence[EditRequest], edited: int) -> Prompts:
    asked = [request.prompt for request in requests[:edited]]
    fire = [p for p, route in zip(asked, model.route(asked), strict=True) if route.edit_id is not None]
    none = [request.prompt for request in requests[edited:] if not model.named(request.prompt)]
    return Prompts(fire, none)


def grow(model: EditedModel, real: Shard, count: int, *, distinct: bool) -> None:
    have = len(model.live)
    for shard in shards_like(real, count - have, first=have, distinct=distinct):
        model.enable(shard)


@contextmanager
def no_stopping(base: Base) -> Iterator[None]:
    """While the block runs, every answer has as many tokens as may be generated: only a token that is no token stops it."""
    stops = base._stop_ids
    base._stop_ids = frozenset({len(base.tokenizer) + 1_000_000})
    try:
        yield
    finally:
        base._stop_ids = stops


def throughput_ratio(model: EditedModel, prompts: Sequence[str], repetitions: int) -> float:
    """Median of edited over base tokens per second, batches of 16, 32 new tokens each."""
    batches = list(chunks(prompts, BATCH))
    full = [batch for batch in batches if len(batch) == BATCH]

    def base(batch: Sequence[str]) -> object:
        return model.base.generate(batch, max_new_tokens=NEW_TOKENS, batch_size=BATCH)

    def edited(batch: Sequence[str]) -> object:
        return model.generate(batch, max_new_tokens=NEW_TOKENS, batch_size=BATCH)

    return 1 / median_ratio(edited, base, [full[i % len(full)] for i in range(repetitions)])


def latency_ratio(model: EditedModel, prompts: Sequence[str], repetitions: int) -> float:
    """Median of edited over base time from a prompt to its first token."""

    def base(prompt: str) -> object:
        return model.base.generate([prompt], max_new_tokens=1)

    def edited(prompt: str) -> object:
        return model.generate([prompt], max_new_tokens=1)

    return median_ratio(edited, base, [prompts[i % len(prompts)] for i in range(repetitions)])


def median_ratio(one: Callable[[_T], object], other: Callable[[_T], object], inputs: Sequence[_T]) -> float:
    """Median over inputs of the one's time over the other's; they take turns at going first."""
    for run in (one, other):
        run(inputs[0])  # warm
    ratios = []
    for turn, value in enumerate(inputs):
        seconds = {}
        for run in (one, other) if turn % 2 else (other, one):
            begun = time.perf_counter()
            run(value)
            seconds[run] = time.perf_counter() - begun
        ratios.append(seconds[one] / seconds[other])
    return statistics.median(ratios)


def chunks(values: Sequence[_T], size: int) -> list[Sequence[_T]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def told(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
