"""Do final scores move with the order in which LEMoE's batches are trained, and what does it gain to plan the batches?

    python benchmarks/order.py --model DIR --facts FACTS.jsonl [--edits 60 --batch-size 15 --orders 10 --modes ...]

Prints one JSON object: for each mode of LEMoE, and for batches made of clusters and as many cut from the arrival order,
the scores of the final model under `--orders` random orders (mean, standard deviation, smallest, largest), those of
each strategy for the order among clusters, and what clusters gain over arrival (difference of the random orders' means).

`default` trains an expert without looking at the experts before it, so its shards are the same in every order:
`shards_depend_on_order` says whether that was so, from training the last batch of one order again beside all others.
`paper` is the literal formula; `paper_mended` has every switch of methods/paper_lemoe.py for a trap of the formula on.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from plan_support import FinalScores, Judge, base_embedder, pending, read_facts, requests

from editors import EditedModel, build_editor, load_base
from editors.base.base import Base
from editors.store.shards import Shard
from edits.ids import EditId
from edits.requests import EditRequest
from planners import PlannerSettings, plan
from planners.ordering import ORDERS

_SWITCHES = ("replay", "force_own_expert", "deferral", "pool_prompt_only", "zero_output", "ignore_padding")
MODES: Mapping[str, Mapping[str, Any]] = {
    "default": {"mode": "default"},
    "paper": {"mode": "paper"},
    "paper_mended": {"mode": "paper", **dict.fromkeys(_SWITCHES, True)},
}
Batches = Sequence[tuple[EditId, ...]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--edits", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=15)
    parser.add_argument("--orders", type=int, default=10)
    parser.add_argument("--modes", nargs="+", choices=sorted(MODES), default=["default", "paper"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    facts = read_facts(options.facts, options.edits, options.seed)
    base = load_base(options.model, device="cpu")
    judge = Judge(base, facts)
    bench = Bench(base, requests(facts), judge)
    edits, embedder = pending(facts), base_embedder(options.model)

    def clusters(order: str) -> Batches:
        chosen = PlannerSettings(
            seed=options.seed, batch_size=options.batch_size, batch_editor="lemoe", order=order
        )
        return [batch.edit_ids for batch in plan(edits, settings=chosen, embedder=embedder).batches]

    ids = [edit.edit_id for edit in edits]
    strategies: dict[str, Batches] = {order: clusters(order) for order in sorted(ORDERS) if order != "random"}
    # As many batches as there are clusters: else their number would be compared, not what is in them.
    slices = [tuple(part.tolist()) for part in np.array_split(ids, len(strategies["arrival"]))]
    found = {
        mode: bench.measure(mode, strategies, slices, orders=options.orders, seed=options.seed)
        for mode in options.modes
    }
    print(
        json.dumps(
            {
                "edits": len(facts),
                "batch_size": options.batch_size,
                "orders": options.orders,
                "seed": options.seed,
                "batches": len(slices),
                "modes": found,
                "model": options.model,
                "facts": str(options.facts),
            }
        )
    )


class Bench:
    """Trains batches in an order and asks the final model."""

    def __init__(self, base: Base, edits: Sequence[EditRequest], judge: Judge) -> None:
        self._base = base
        self._edits = {edit.edit_id: edit for edit in edits}
        self._judge = judge
        self._trained: dict[tuple[EditId, ...], Shard] = {}

    def measure(
        self, mode: str, strategies: Mapping[str, Batches], slices: Batches, *, orders: int, seed: int
    ) -> dict[str, Any]:
        begun = time.perf_counter()
        report: dict[str, Any] = {}
        means = {}
        for name, batches in (("clusters", strategies["arrival"]), ("arrival", slices)):
            generator = np.random.default_rng(seed)
            scores = []
            for number in range(orders):
                shuffled = [batches[i] for i in generator.permutation(len(batches))]
                scores.append(self._final(mode, shuffled))
                _say(f"{mode}: {name}, random order {number + 1}: {scores[-1]}")
            report[f"{name}_in_random_orders"] = spread = _spread(scores)
            means[name] = spread
        report["clusters_by_strategy"] = {}
        for order, batches in strategies.items():
            scores_of_order = self._final(mode, batches)
            _say(f"{mode}: clusters, order {order}: {scores_of_order}")
            report["clusters_by_strategy"][order] = dataclasses.asdict(scores_of_order)
        report["gain_of_clusters"] = {
            score: round(mine["mean"] - theirs["mean"], 4) if mine and theirs else None
            for score, mine in means["clusters"].items()
            for theirs in (means["arrival"][score],)
        }
        if mode == "default":
            report["shards_depend_on_order"] = self._depends(strategies["arrival"])
        report["seconds"] = round(time.perf_counter() - begun, 1)
        return report

    def _final(self, mode: str, batches: Batches) -> FinalScores:
        return self._judge.scores(self._train(mode, batches))

    def _train(self, mode: str, batches: Batches) -> EditedModel:
        model = EditedModel(self._base)
        editor = build_editor("lemoe", MODES[mode])
        for batch in batches:
            shard = self._trained.get(batch) if mode == "default" else None
            if shard is None:
                asked = [self._edits[edit_id] for edit_id in batch]
                shard = editor.apply(asked, base=self._base, parent=model)
            if mode == "default":
                self._trained[batch] = shard
            model.enable(shard)
        return model

    def _depends(self, batches: Batches) -> bool:
        """Whether the last batch is another expert when all others are live than when it was trained first."""
        parent = self._train("default", batches[:-1])
        alone = build_editor("lemoe", MODES["default"])
        asked = [self._edits[edit_id] for edit_id in batches[-1]]
        made = (alone.apply(asked, base=self._base, parent=model) for model in (None, parent))
        return len({shard.digest for shard in made}) > 1


def _spread(scores: Sequence[FinalScores]) -> dict[str, dict[str, float] | None]:
    report: dict[str, dict[str, float] | None] = {}
    for score in dataclasses.fields(FinalScores):
        values = [value for each in scores if (value := getattr(each, score.name)) is not None]
        report[score.name] = (
            {
                "mean": round(statistics.fmean(values), 4),
                "sd": round(statistics.pstdev(values), 4),
                "smallest": round(min(values), 4),
                "largest": round(max(values), 4),
            }
            if values
            else None
        )
    return report


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
