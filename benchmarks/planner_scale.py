"""How long does it take to plan 100,000 pending edits, against scikit-learn's MiniBatchKMeans alone, and how does it grow?

    python benchmarks/planner_scale.py [--model DIR] [--facts FACTS.jsonl] [--edits 100000] [--rounds 3]

Prints one JSON object. Planned are prompts made from the facts (each prompt about each subject of the file; without
--facts, vectors around random centres), embedded beforehand by the base (without --model: by TF-IDF), in batches of 50.
What is timed is the whole of `planners.plan` on these vectors: conflicts, clusters, seats, editors, order,
explanation, projection. Figures are medians of rounds in which plan and MiniBatchKMeans take turns in one process:

* `ratio_over_minibatchkmeans_100000`: over `MiniBatchKMeans(n_clusters=clusters, random_state=seed)`, all else by
  default, on the same vectors with as many clusters; `cpu_...` is the same by the process's CPU time, which busy
  neighbours disturb less; `ratio_with_embedding` adds the time of embedding (once, outside the ledger's cache);
* `growth_100000_over_10000`: the plan's time over that of a tenth of the edits;
* `peak_memory_bytes`: peak resident memory of a process that holds edits and vectors and plans them once.

With another --edits the keys keep their names and `edits` says what they are about.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from plan_support import START, swapped_prompts

from daemon.events.fact_event import prompt_key
from planners import Pending, PlannerSettings, TfidfEmbedder, plan
from planners.embedding import Vectors, unit
from planners.planning import FILL

DIMENSIONS = 64  # of vectors around random centres
BATCH_SIZE = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model")
    parser.add_argument("--facts", type=Path)
    parser.add_argument("--edits", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report = in_a_process(prepare, folder, options.model, options.facts, options.edits, options.seed)
        _say(f"prepared: {report}")
        large = in_a_process(race, folder, options.edits, options.rounds, options.seed)
        _say(f"all edits: {large}")
        small = in_a_process(race, folder, options.edits // 10, options.rounds, options.seed)
        _say(f"a tenth: {small}")
        peak = in_a_process(plan_once, folder, options.edits, options.seed)
    embedding = report["embedding_seconds"] or 0.0
    print(
        json.dumps(
            {
                "ratio_over_minibatchkmeans_100000": round(large["ratio"], 3),
                "growth_100000_over_10000": round(large["plan_seconds"] / small["plan_seconds"], 2),
                "peak_memory_bytes": peak,
                "cpu_ratio_over_minibatchkmeans_100000": round(large["cpu_ratio"], 3),
                "cpu_growth_100000_over_10000": round(
                    large["plan_cpu_seconds"] / small["plan_cpu_seconds"], 2
                ),
                "ratio_with_embedding": round(
                    (large["plan_seconds"] + embedding) / large["minibatchkmeans_seconds"], 3
                ),
                "edits": options.edits,
                "batch_size": BATCH_SIZE,
                "rounds": options.rounds,
                "seed": options.seed,
                **report,
                "large": large,
                "small": small,
                "model": options.model,
                "facts": str(options.facts) if options.facts else None,
            }
        )
    )


def in_a_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """What `work` gives in a fresh process: its memory and its threads are its own."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sending, work, arguments))
    process.start()
    sending.close()
    try:
        return receiving.recv()
    except EOFError:
        process.join()
        raise SystemExit(f"{work.__name__} failed in its process: see above") from None


def _work(sending: Connection, work: Callable[..., Any], arguments: Sequence[Any]) -> None:
    sending.send(work(*arguments))


def prepare(
    folder: Path, model: str | None, facts: Path | None, count: int, seed: int
) -> dict[str, float | str | int | None]:
    """Texts and vectors into the folder, in an order in which no clusters follow each other."""
    generator = np.random.default_rng(seed)
    if facts is None:
        centres = generator.standard_normal((max(1, count // 40), DIMENSIONS))
        near = 0.7 * generator.standard_normal((count, DIMENSIONS))
        texts = [(f"Thing {n}", f"The property of Thing {n} is") for n in range(count)]
        seconds, cpu_seconds, name = None, None, "none"
        vectors = unit(centres[generator.integers(len(centres), size=count)] + near)
    else:
        about = swapped_prompts(facts, count)
        if len(about) < count:
            raise SystemExit(f"{facts} gives only {len(about)} different prompts")
        texts = [about[n] for n in generator.permutation(count)]
        prompts = [prompt for _, prompt in texts]
        begun, cpu_begun = time.perf_counter(), time.process_time()
        if model is None:
            vectors, name = TfidfEmbedder(seed=seed).embed(prompts), "tfidf"
        else:
            from plan_support import base_embedder

            vectors, name = base_embedder(model).embed(prompts), "base"
        seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu_begun
    np.save(folder / "vectors.npy", vectors.astype(np.float32))
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    return {
        "embedding": name,
        "embedding_seconds": seconds,
        "embedding_cpu_seconds": cpu_seconds,
        "dimensions": int(vectors.shape[1]),
    }


class Given:
    """Vectors that were made before; the edits are asked for in the order of their age."""

    name = "given"

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def embed(self, texts: Sequence[str]) -> Vectors:
        return self._vectors[: len(texts)]


def load(folder: Path, count: int) -> tuple[list[Pending], Vectors]:
    """The first `count` edits, the oldest first, and their vectors."""
    vectors = np.ascontiguousarray(np.load(folder / "vectors.npy", mmap_mode="r")[:count])
    texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))[:count]
    edits = []
    for number, (subject, prompt) in enumerate(texts):
        key = prompt_key(prompt)
        edits.append(
            Pending(str(number), "assert", subject, None, prompt, key, key, False, START, number, "x")
        )
    return edits, vectors


def race(folder: Path, count: int, rounds: int, seed: int) -> dict[str, Any]:
    """Plan and MiniBatchKMeans in turns on the same vectors: medians of seconds and of the rounds' ratios."""
    from sklearn.cluster import MiniBatchKMeans

    warnings.simplefilter("ignore")
    edits, vectors = load(folder, count)
    settings = PlannerSettings(seed=seed, batch_size=BATCH_SIZE)
    clusters = -(-count // int(BATCH_SIZE * FILL))
    batches = 0

    def ours() -> None:
        nonlocal batches
        batches = len(plan(edits, settings=settings, embedder=Given(vectors)).batches)

    def theirs() -> None:
        MiniBatchKMeans(n_clusters=clusters, random_state=seed).fit_predict(vectors)

    turns = [(clocked(theirs), clocked(ours)) for _ in range(rounds)]
    return {
        "edits": count,
        "clusters": clusters,
        "batches": batches,
        "plan_seconds": round(statistics.median(mine for _, (mine, _) in turns), 3),
        "plan_cpu_seconds": round(statistics.median(mine for _, (_, mine) in turns), 3),
        "minibatchkmeans_seconds": round(statistics.median(other for (other, _), _ in turns), 3),
        "minibatchkmeans_cpu_seconds": round(statistics.median(other for (_, other), _ in turns), 3),
        "ratio": statistics.median(mine / other for (other, _), (mine, _) in turns),
        "cpu_ratio": statistics.median(mine / other for (_, other), (_, mine) in turns),
    }


def clocked(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def plan_once(folder: Path, count: int, seed: int) -> int:
    """Peak resident bytes of this process after one plan."""
    edits, vectors = load(folder, count)
    plan(edits, settings=PlannerSettings(seed=seed, batch_size=BATCH_SIZE), embedder=Given(vectors))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
