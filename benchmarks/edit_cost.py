"""What an edit costs: time against a forward pass of the base, growth with what is live, bytes, memory, the paper's mode.

    python benchmarks/edit_cost.py --model DIR --facts FACTS.jsonl [--paper-edits 200]

Prints one JSON object. Edits are found by the text index (`--encoder`), as everywhere; what it costs is part of the edit.
All ratios are medians of measurements that take turns in one process:

* `forwards_per_edit`: training, scope entries, storing and switching on a batch of 50, over one batched forward of the base
  over the same prompts with their answers; the larger of the two editors; in plain form alone;
* `forwards_per_edit_chat`: the same where edits are trained through the base's chat template, too (null without one);
* `growth_5000_over_100`: the same batches appended to a model with 5,000 live edits and to one with 100, each batch as
  often here as there, the larger of the two editors;
* `speedup_over_paper_scen_200`: SCEN in paper mode over SCEN, appending the first 200 facts (null with fewer --paper-edits);
* `peak_memory_growth`: peak resident memory of a process that appends one batch to 5,000 live edits over the same with
  100, after taking off what the live edits keep resident (reported as `resident_bytes_per_live_edit`).

Live edits beyond the facts file are invented subjects with experts of the same shapes, stored and loaded like all others.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from synthetic_edits import read_requests, shards_like

from editors import AdapterStore, EditedModel, build_editor, load_base
from editors.base.base import Base
from editors.base.passes import training_rows
from editors.index import DEFAULT_ENCODER, load_matcher
from editors.methods.registry import EDITORS
from editors.store.shards import Shard
from edits.requests import EditRequest

BATCH = 50
EARLY, LATE = 100, 5_000
PAPER_EDITS = 200


@dataclass(frozen=True)
class Cost:
    """Seconds of the stages of one appended batch, and of a forward pass over its prompts."""

    editing: float
    storing: float
    enabling: float
    forward: float
    processor: float
    processor_forward: float

    @property
    def total(self) -> float:
        return self.editing + self.storing + self.enabling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--editors", nargs="+", default=list(EDITORS))
    parser.add_argument("--encoder", default=DEFAULT_ENCODER, help='"": the base\'s agreement alone')
    parser.add_argument("--batches", type=int, default=4, help="batches of 50 that are measured")
    parser.add_argument("--repetitions", type=int, default=2, help="how often each is appended to each model")
    parser.add_argument(
        "--paper-edits", type=int, default=0, help="edits of SCEN's paper mode: 200 take minutes"
    )
    parser.add_argument(
        "--forwards-only",
        action="store_true",
        help="print forwards_per_edit and forwards_per_edit_chat alone",
    )
    options = parser.parse_args()
    base = load_base(options.model, chat="off")
    requests = read_requests(options.facts)
    chat = in_chat(options, requests)
    if options.forwards_only:
        plain = {name: forwards_of(base, name, requests, options) for name in options.editors}
        print(json.dumps({"forwards_per_edit": max(plain.values()), **chat, "plain": plain}))
        return
    with tempfile.TemporaryDirectory() as folder:
        appended = {name: measure(base, name, requests, options, Path(folder)) for name in options.editors}
    memory = {name: memory_growth(name, options) for name in options.editors}
    paper = against_paper(base, requests, options)
    print(
        json.dumps(
            {
                "forwards_per_edit": max(a["forwards_per_edit"] for a in appended.values()),
                **chat,
                "growth_5000_over_100": max(a["growth"] for a in appended.values()),
                f"speedup_over_paper_scen_{PAPER_EDITS}": paper["speedup"]
                if options.paper_edits == PAPER_EDITS
                else None,
                "bytes_per_edit": {
                    **{name: a["bytes_per_edit"] for name, a in appended.items()},
                    "scen_paper": paper["bytes_per_edit"],
                },
                "peak_memory_growth": max(m["growth"] for m in memory.values()),
                "editors": {name: {**appended[name], "memory": memory[name]} for name in options.editors},
                "paper": paper,
                "threads": torch.get_num_threads(),
                "load_average": os.getloadavg()[0],
            }
        )
    )


def in_chat(options: argparse.Namespace, requests: Sequence[EditRequest]) -> dict[str, object]:
    """What edits cost on the same base where they are trained in both forms."""
    base = load_base(options.model)
    if not base.chat:
        return {"forwards_per_edit_chat": None}
    found = {name: forwards_of(base, name, requests, options) for name in options.editors}
    return {"forwards_per_edit_chat": max(found.values()), "chat": found}


def forwards_of(
    base: Base, editor: str, requests: Sequence[EditRequest], options: argparse.Namespace
) -> float:
    """Forwards per edit, by processor time, of batches appended to a model with one batch."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(base, editor, requests[:BATCH], BATCH, Path(folder), encoder=options.encoder)
        starts = range(BATCH, BATCH * (1 + options.batches), BATCH)
        costs = [append(site, editor, requests[start : start + BATCH])[0] for start in starts]
    return round(statistics.median(cost.processor / cost.processor_forward for cost in costs), 2)


def measure(
    base: Base, editor: str, requests: Sequence[EditRequest], options: argparse.Namespace, folder: Path
) -> dict[str, float]:
    """Append the same batches to a model with 100 live edits and to one with 5,000, in turns."""
    sites = {
        count: Site(base, editor, requests[:BATCH], count, folder, encoder=options.encoder)
        for count in (EARLY, LATE)
    }
    costs: dict[int, list[Cost]] = {EARLY: [], LATE: []}
    sizes = []
    for turn in range(options.repetitions):
        for number in range(options.batches):
            start = (1 + number) * BATCH
            chosen = [
                replace(request, edit_id=f"{editor}-{turn}-{request.edit_id}")
                for request in requests[start : start + BATCH]
            ]
            for count in (EARLY, LATE) if turn % 2 else (LATE, EARLY):
                cost, size = append(sites[count], editor, chosen)
                costs[count].append(cost)
                sizes.append(size)
        report(f"{editor}: round {turn + 1} of {options.repetitions}")
    every = [*costs[EARLY], *costs[LATE]]
    # Each late cost is held against its own early twin, seconds apart.
    twins = list(zip(costs[EARLY], costs[LATE], strict=True))
    return {
        "forwards_per_edit": round(statistics.median(c.total / c.forward for c in every), 2),
        # The same by processor time, which a busy machine distorts less.
        "forwards_per_edit_processor": round(
            statistics.median(c.processor / c.processor_forward for c in every), 2
        ),
        "growth": round(statistics.median(late.total / early.total for early, late in twins), 3),
        "growth_processor": round(
            statistics.median(late.processor / early.processor for early, late in twins), 3
        ),
        "bytes_per_edit": round(statistics.fmean(sizes) / BATCH, 1),
        "edit_seconds": round(statistics.median(c.total for c in every) / BATCH, 5),
        "share_editing": round(statistics.median(c.editing / c.total for c in every), 3),
        "share_storing": round(statistics.median(c.storing / c.total for c in every), 3),
        "share_enabling": round(statistics.median(c.enabling / c.total for c in every), 3),
    }


class Site:
    """A model, the store that it follows, and so many live edits in both, the first batch of them trained."""

    def __init__(
        self,
        base: Base,
        editor: str,
        requests: Sequence[EditRequest],
        live: int,
        folder: Path,
        *,
        encoder: str,
    ) -> None:
        self.store = AdapterStore(folder / f"{editor}-{live}")
        self.model = EditedModel(base, self.store, matcher=load_matcher(encoder) if encoder else None)
        shard = build_editor(editor).apply(requests, base=base, parent=self.model)
        for one in (shard, *shards_like(shard, live - BATCH, first=BATCH)):
            self.publish(one)
        report(f"{editor}: {len(self.model.live)} edits are live")

    def publish(self, shard: Shard) -> tuple[float, float]:
        """Store a shard and switch its edits on; the seconds of both."""
        begun = time.perf_counter()
        digest = self.store.save(shard)
        stored = time.perf_counter()
        self.model.apply_generation(enabled=dict.fromkeys(shard.edit_ids, digest), disabled=())
        return stored - begun, time.perf_counter() - stored


def append(site: Site, editor: str, requests: Sequence[EditRequest]) -> tuple[Cost, int]:
    """One batch into the model and out again, so that the next one meets as many live edits."""
    model = site.model
    passes = [forward_seconds(model.base, requests)]
    begun, used = time.perf_counter(), time.process_time()
    shard = build_editor(editor).apply(requests, base=model.base, parent=model)
    editing = time.perf_counter() - begun
    storing, enabling = site.publish(shard)
    used = time.process_time() - used
    passes.append(forward_seconds(model.base, requests))
    model.disable(shard.edit_ids)
    forward, processor_forward = (statistics.fmean(of) for of in zip(*passes, strict=True))
    return Cost(editing, storing, enabling, forward, used, processor_forward), shard.size_bytes


def forward_seconds(base: Base, requests: Sequence[EditRequest], times: int = 5) -> tuple[float, float]:
    """Median seconds, and processor seconds, of one batched forward over the prompts with their answers."""
    rows = []
    for request in requests:
        ids = base.prompt_ids(request.prompt)
        rows.append((0, ids, base.answer_ids(request.prompt, request.target_new, prompt_ids=ids)))
    batch = training_rows(base, rows)
    seconds, processor = [], []
    for _ in range(times):
        begun, used = time.perf_counter(), time.process_time()
        with torch.no_grad():
            base.model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
        if base.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
        processor.append(time.process_time() - used)
    return statistics.median(seconds), statistics.median(processor)


def against_paper(
    base: Base, requests: Sequence[EditRequest], options: argparse.Namespace
) -> dict[str, float | None]:
    """SCEN's paper mode and ours on the same facts; the paper's is given a few facts in any case, for its bytes."""
    chosen = requests[: max(options.paper_edits, 4)]
    seconds: dict[str, float] = {}
    sizes: dict[str, float] = {}
    for mode in ("default", "paper"):
        text = mode == "default" and options.encoder
        model = EditedModel(base, matcher=load_matcher(options.encoder) if text else None)
        editor = build_editor("scen", {"mode": mode})
        begun = time.perf_counter()
        shards = []
        for start in range(0, len(chosen), BATCH):
            shards.append(editor.apply(chosen[start : start + BATCH], base=base, parent=model))
            model.enable(shards[-1])
            report(f"scen, {mode} mode: {len(model.live)} edits, {time.perf_counter() - begun:.1f} s")
        seconds[mode] = time.perf_counter() - begun
        sizes[mode] = sum(shard.size_bytes for shard in shards) / len(chosen)
    return {
        "edits": len(chosen),
        "speedup": round(seconds["paper"] / seconds["default"], 1),
        "seconds_per_edit": round(seconds["paper"] / len(chosen), 4),
        "bytes_per_edit": round(sizes["paper"], 1),
    }


def memory_growth(editor: str, options: argparse.Namespace) -> dict[str, float]:
    """Peak resident memory while one batch is appended, in a process of its own for each number of live edits."""
    rest, peak = {}, {}
    for count in (EARLY, LATE):
        rest[count], peak[count] = in_a_child(editor, count, options)
        report(f"{editor}, {count} live: rest {rest[count] >> 20} MiB, peak {peak[count] >> 20} MiB")
    live = rest[LATE] - rest[EARLY]
    return {
        "growth": round((peak[LATE] - live) / peak[EARLY], 3),
        "peak_bytes_100": peak[EARLY],
        "peak_bytes_5000": peak[LATE],
        "resident_bytes_per_live_edit": round(live / (LATE - EARLY)),
    }


def in_a_child(editor: str, live: int, options: argparse.Namespace) -> tuple[int, int]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=peak_of_one_batch, args=(theirs, editor, live, options))
    child.start()
    theirs.close()
    try:
        found: tuple[int, int] = ours.recv()
    finally:
        child.join()
    return found


def peak_of_one_batch(answer: Connection, editor: str, live: int, options: argparse.Namespace) -> None:
    """Send resident bytes before a batch is appended, and the peak while it is."""
    requests = read_requests(options.facts, 2 * BATCH)
    with tempfile.TemporaryDirectory() as folder:
        base = load_base(options.model)
        site = Site(base, editor, requests[:BATCH], live, Path(folder), encoder=options.encoder)
        rest = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
        append(site, editor, requests[BATCH:])
        answer.send((rest, resident("VmHWM")))


def resident(field: str) -> int:
    """Bytes by the kernel's account of this process: VmRSS now, VmHWM at the most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {field}: memory can be measured on Linux alone")


def report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
