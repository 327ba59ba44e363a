"""From which size on does a cluster serve LEMoE better than SCEN? It sets `planner.min_lemoe_cluster`.

    python benchmarks/lanes.py --model DIR --facts FACTS.jsonl [--edits 64 --sizes 1 2 4 8 10 16 32]

Prints one JSON object: for each size, clusters of exactly that many edits that lie close together are trained one by one
by both editors, and once more by LEMoE in groups of that size drawn at random (`lemoe_strangers`: does density matter,
or size alone?). Reliability and generality of the final model by free generation, locality, seconds
(of the clock and of the CPU) and bytes per edit.
"""

import argparse
import dataclasses
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from plan_support import Judge, base_embedder, read_facts, requests

from daemon.evaluation.facts_file import EvaluationFact
from editors import EditedModel, build_editor, load_base
from editors.base.base import Base
from planners.embedding import Vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--edits", type=int, default=64, help="edits of each size; a multiple of the sizes")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8, 10, 16, 32])
    parser.add_argument("--pool", type=int, default=1_000, help="facts from which the clusters are taken")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pool = read_facts(options.facts, options.pool, options.seed)
    base = load_base(options.model, device="cpu")
    vectors = base_embedder(options.model).embed([fact.prompt for fact in pool])
    found = []
    for size in options.sizes:
        groups = dense_groups(vectors, size, max(1, options.edits // size), options.seed)
        members = [number for group in groups for number in group]
        strangers = random.Random(options.seed).sample(members, len(members))
        mixed = [strangers[at : at + size] for at in range(0, len(strangers), size)]
        measured = {
            "size": size,
            "groups": len(groups),
            "scen": measure(base, pool, groups, "scen"),
            "lemoe": measure(base, pool, groups, "lemoe"),
            "lemoe_strangers": measure(base, pool, mixed, "lemoe"),
        }
        print(measured, file=sys.stderr, flush=True)
        found.append(measured)
    cheaper = [
        row["size"] for row in found if row["lemoe"]["bytes_per_edit"] <= row["scen"]["bytes_per_edit"]
    ]
    report = {
        "lemoe_keeps_fewer_bytes_from": min(cheaper, default=None),
        "sizes": found,
        "seed": options.seed,
        "model": options.model,
        "facts": str(options.facts),
    }
    print(json.dumps(report))


def dense_groups(vectors: Vectors, size: int, count: int, seed: int) -> list[list[int]]:
    """`count` groups of exactly `size`: edits drawn at random, each with those nearest to it that are still free."""
    free = np.ones(len(vectors), dtype=bool)
    groups: list[list[int]] = []
    for middle in np.random.default_rng(seed).permutation(len(vectors)).tolist():
        if len(groups) == count or free.sum() < size:
            break
        if free[middle]:
            likeness = np.where(free, vectors @ vectors[middle], -np.inf)
            groups.append(np.argsort(-likeness, kind="stable")[:size].tolist())
            free[groups[-1]] = False
    return groups


def measure(
    base: Base, pool: Sequence[EvaluationFact], groups: Sequence[Sequence[int]], editor: str
) -> dict[str, Any]:
    """Train each group as one batch; scores of the final model, seconds and bytes per edit."""
    facts = [pool[number] for group in groups for number in group]
    asked = requests(facts)
    model = EditedModel(base)
    seconds, cpu_seconds, size_bytes, at = 0.0, 0.0, 0, 0
    for group in groups:
        begun, cpu_begun = time.perf_counter(), time.process_time()
        shard = build_editor(editor, {}).apply(asked[at : at + len(group)], base=base, parent=model)
        seconds += time.perf_counter() - begun
        cpu_seconds += time.process_time() - cpu_begun
        size_bytes += shard.size_bytes
        model.enable(shard)
        at += len(group)
    return {
        **dataclasses.asdict(Judge(base, facts).scores(model)),
        "seconds_per_edit": round(seconds / len(facts), 4),
        "cpu_seconds_per_edit": round(cpu_seconds / len(facts), 4),
        "bytes_per_edit": round(size_bytes / len(facts)),
    }


if __name__ == "__main__":
    main()
