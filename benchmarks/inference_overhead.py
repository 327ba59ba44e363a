"""What live edits cost while the model answers: throughput and time to first token against the base, in one process.

    python benchmarks/inference_overhead.py --model DIR --facts FACTS.jsonl

Prints one JSON object. Each figure is a median of ratios, both models taking turns on the same prompts: those of the edits
(`fire`), their rephrases, prompts of other facts (`none`), and batches half of which fire. `throughput` lets every answer
be 32 tokens long; `throughput_as_it_stops` lets answers end. The headline ratios are the worst of fire, half and none
and of the slower editor; those of rephrases stand beside them. `prompt_latency_ratio_100000` is time to first token over
the base's, for rephrases, which must be read before they fire (without rephrases in the file: for the edits' own prompts).

Edits beyond the first `--real` of the facts file are invented subjects with random experts of the same shapes.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from synthetic_edits import read_requests, shards_like

from daemon.evaluation.facts_file import read_facts
from editors import EditedModel, build_editor, load_base
from editors.base.base import Base
from editors.base.endings import Ending
from editors.index import DEFAULT_ENCODER, load_matcher
from editors.store.shards import Shard
from edits.requests import EditRequest

BATCH, NEW_TOKENS, EDIT_BATCH = 16, 32, 50
THROUGHPUT_EDITS = (1_000, 10_000)
LATENCY_EDITS = 100_000
HEADLINE = ("fire", "half", "none")

_T = TypeVar("_T")


@dataclass(frozen=True)
class Prompts:
    """Prompts that fire, prompts that name no edited subject, and half of each in every batch."""

    fire: list[str]
    rephrased: list[str]
    none: list[str]

    @property
    def cases(self) -> dict[str, list[str]]:
        half = [prompt for pair in zip(self.fire, self.none, strict=False) for prompt in pair]
        cases = {"fire": self.fire, "half": half, "none": self.none, "rephrased": self.rephrased}
        return {name: prompts for name, prompts in cases.items() if len(prompts) >= BATCH}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--editors", nargs="+", default=["scen", "lemoe"])
    parser.add_argument("--real", type=int, default=320, help="edits that are trained, the rest is invented")
    parser.add_argument("--repetitions", type=int, default=40)
    parser.add_argument("--encoder", default=DEFAULT_ENCODER, help='"": the base\'s agreement alone')
    parser.add_argument("--bank-bytes", type=int, help="device memory for experts; unset: the default")
    options = parser.parse_args()
    base = load_base(options.model, device=options.device)
    detail = {editor: measure(base, editor, options) for editor in options.editors}
    latency = f"prompt_latency_ratio_{LATENCY_EDITS}"
    print(
        json.dumps(
            {
                **{f"throughput_ratio_{n}": slowest(detail, n, HEADLINE) for n in THROUGHPUT_EDITS},
                **{
                    f"throughput_ratio_{n}_rephrased": slowest(detail, n, ["rephrased"])
                    for n in THROUGHPUT_EDITS
                },
                latency: max(d["latency"].get("rephrased", d["latency"]["fire"]) for d in detail.values()),
                f"{latency}_not_firing": max(d["latency"]["none"] for d in detail.values()),
                "encoder": options.encoder or None,
                "headline": "the slowest of all, half and none of the prompts firing, and of the editors",
                "editors": detail,
                "threads": torch.get_num_threads(),
                "load_average": os.getloadavg()[0],
            }
        )
    )


def slowest(detail: Mapping[str, Any], edits: int, cases: Sequence[str]) -> float | None:
    ratios = [d["throughput"][str(edits)].get(case) for d in detail.values() for case in cases]
    return min((ratio for ratio in ratios if ratio is not None), default=None)


def measure(base: Base, editor: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train the real edits, then add invented ones and measure at each size."""
    requests = read_requests(options.facts)
    bank = {} if options.bank_bytes is None else {"device_expert_bytes": options.bank_bytes}
    matcher = load_matcher(options.encoder) if options.encoder else None
    model = EditedModel(base, matcher=matcher, **bank)
    real = []
    for chunk in chunks(requests[: options.real], EDIT_BATCH):
        real.append(build_editor(editor).apply(chunk, base=base, parent=model))
        model.enable(real[-1])
    prompts = sort_prompts(model, requests, options)
    report(f"{editor}: {len(model.live)} edits trained, {len(prompts.fire)} of their prompts fire")
    throughput: dict[str, dict[str, float]] = {}
    as_it_stops: dict[str, dict[str, float]] = {}
    for count in THROUGHPUT_EDITS:
        grow(model, real[0], count, distinct=True)
        with no_stopping(base):
            throughput[str(count)] = throughput_ratios(model, prompts, options.repetitions)
        as_it_stops[str(count)] = throughput_ratios(model, prompts, options.repetitions)
        report(f"{editor}, {count} edits: {throughput[str(count)]}, as it stops {as_it_stops[str(count)]}")
    grow(model, real[0], LATENCY_EDITS, distinct=False)
    latency = {
        case: round(latency_ratio(model, prompts.cases[case], 8 * options.repetitions), 4)
        for case in ("fire", "none", "rephrased")
        if case in prompts.cases
    }
    report(f"{editor}, {LATENCY_EDITS} edits: {latency}")
    return {"throughput": throughput, "throughput_as_it_stops": as_it_stops, "latency": latency}


def sort_prompts(model: EditedModel, requests: Sequence[EditRequest], options: argparse.Namespace) -> Prompts:
    edited = requests[: options.real]
    rephrases = {fact.prompt: fact.rephrase_prompts for fact in read_facts(options.facts, None)}
    rephrased = [rephrase for request in edited for rephrase in rephrases.get(request.prompt, ())[:1]]
    none = [request.prompt for request in requests[options.real :] if not model.named(request.prompt)]
    return Prompts(firing(model, [r.prompt for r in edited]), firing(model, rephrased), none)


def firing(model: EditedModel, prompts: Sequence[str]) -> list[str]:
    return [p for p, route in zip(prompts, model.route(prompts), strict=True) if route.edit_id is not None]


def grow(model: EditedModel, real: Shard, count: int, *, distinct: bool) -> None:
    have = len(model.live)
    for shard in shards_like(real, count - have, first=have, distinct=distinct):
        model.enable(shard)


@contextmanager
def no_stopping(base: Base) -> Iterator[None]:
    """While the block runs, every answer has as many tokens as may be generated: only a token that is no token stops it."""
    ending = base.plain_ending
    base.plain_ending = Ending(frozenset({len(base.tokenizer) + 1_000_000}), one_line=True)
    try:
        yield
    finally:
        base.plain_ending = ending


def throughput_ratios(model: EditedModel, prompts: Prompts, repetitions: int) -> dict[str, float]:
    return {
        case: round(throughput_ratio(model, of_case, repetitions), 4)
        for case, of_case in prompts.cases.items()
    }


def throughput_ratio(model: EditedModel, prompts: Sequence[str], repetitions: int) -> float:
    """Median of edited over base prompts per second, batches of 16, at most 32 new tokens each."""
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


def report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
