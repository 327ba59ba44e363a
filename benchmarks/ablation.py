"""LEMoE's paper mode, its traps one by one: the literal formula, each remedy alone, and all of them together.

   python benchmarks/ablation.py --model DIR --facts FACTS.jsonl --probes FAR.jsonl --edits 150 --batch-size 50

Prints one JSON object: the scores of each row by free generation on the final model, and where its prompts were routed
(to the batch that they belong to, to none, to another); progress goes to standard error.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.evaluation.facts_file import read_facts, read_probes
from editors import EditedModel, EditRequest, build_editor, load_base
from editors.base.base import Base
from editors.inference.scoring import fire_rate, score_answers
from editors.routing.scope_router import Route
from edits.names.surface import SurfaceIndex

# What the measured base needs where the paper's 2e-4 is too little for the route to be learned, or for rephrases.
RATES: dict[str, int | float] = {"learning_rate": 1e-3, "steps": 50, "route_learning_rate": 5e-3}
COMMON = ("force_own_expert", "deferral", "pool_prompt_only", "zero_output", "ignore_padding")
SWITCHES = ("replay", "own_projection", *COMMON)
TOKENS = 16


@dataclass(frozen=True)
class Material:
    """The edits, and the prompts that each row is asked; nothing but the prompts and targets is shown to the editor."""

    batches: Sequence[Sequence[EditRequest]]
    rephrased: Sequence[tuple[str, EditRequest]]
    probes: dict[str, list[str]]
    untouched: dict[str, list[str]]  # the base's answers to the probes

    @property
    def requests(self) -> list[EditRequest]:
        return [request for batch in self.batches for request in batch]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--probes", type=Path)
    parser.add_argument("--edits", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--far", type=int, default=200, help="so many far probes")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    base = load_base(options.model)
    material = gather(base, options)
    report: dict[str, Any] = {
        "edits": len(material.requests),
        "batch_size": options.batch_size,
        "rates": RATES,
    }
    report["rows"] = {}
    for name, given in rows().items():
        begun = time.perf_counter()
        report["rows"][name] = measure(base, material, {"seed": options.seed, **given})
        print(f"{name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    print(json.dumps(report))


def rows() -> dict[str, dict[str, int | float | bool]]:
    """Settings by the name of the table's row."""
    common = dict.fromkeys(COMMON, True)
    return {
        "literal, the paper's rates": {},
        "literal": {**RATES},
        **{switch: {**RATES, switch: True} for switch in SWITCHES},
        "replay + force_own_expert": {**RATES, "replay": True, "force_own_expert": True},
        "all, by replay": {**RATES, **common, "replay": True},
        "all, by own_projection": {**RATES, **common, "own_projection": True},
        "all, by both": {**RATES, **common, "replay": True, "own_projection": True},
    }


def gather(base: Base, options: argparse.Namespace) -> Material:
    """The first facts with distinct prompts, and probes that name none of their subjects."""
    facts = list({fact.prompt: fact for fact in read_facts(options.facts, None)}.values())[: options.edits]
    requests = [
        EditRequest(str(i), f.subject, f.prompt, f.target_new, accepted=True) for i, f in enumerate(facts)
    ]
    subjects = SurfaceIndex()
    for request in requests:
        subjects.add(request.edit_id, request.surface_forms)
    far = [probe.prompt for probe in read_probes(options.probes)][: options.far] if options.probes else []
    relation = list(dict.fromkeys(p for fact in facts for p in fact.locality_prompts.relation))
    probes = {
        "far": [p for p in far if not subjects.find(p)],
        "relation": [p for p in relation if not subjects.find(p)],
    }
    size = options.batch_size
    return Material(
        [requests[start : start + size] for start in range(0, len(requests), size)],
        [(p, request) for fact, request in zip(facts, requests, strict=True) for p in fact.rephrase_prompts],
        probes,
        {kind: base.generate(prompts, max_new_tokens=TOKENS) for kind, prompts in probes.items()},
    )


def measure(base: Base, material: Material, settings: dict[str, int | float | bool]) -> dict[str, Any]:
    """Edit batch by batch, then ask the final model."""
    editor = build_editor("lemoe", {"mode": "paper", **settings})
    model = EditedModel(base)
    consistency: list[float] = []
    for number, batch in enumerate(material.batches):
        model.enable(editor.apply(batch, base=base, parent=model))
        consistency.append(right_batch(material, model, known(material, number + 1))[0])
    own = known(material, len(material.batches))
    rephrased = list(material.rephrased)
    right, miss = right_batch(material, model, rephrased)
    answers = {kind: model.generate(p, max_new_tokens=TOKENS) for kind, p in material.probes.items()}
    return {
        "reliability": score(model, own),
        "generality": score(model, rephrased),
        "oracle": {
            "reliability": score(model, own, oracle=True),
            "generality": score(model, rephrased, oracle=True),
        },
        "locality": {kind: score_answers(answers[kind], material.untouched[kind]) for kind in answers},
        "routing": {
            "right_batch_prompt": consistency[-1],
            "right_batch": right,
            "miss": miss,
            "false_fire": {kind: fire_rate(answers[kind]) for kind in answers},
            "consistency": consistency,
        },
    }


def known(material: Material, batches: int) -> list[tuple[str, EditRequest]]:
    return [(request.prompt, request) for batch in material.batches[:batches] for request in batch]


def score(
    model: EditedModel, asked: Sequence[tuple[str, EditRequest]], *, oracle: bool = False
) -> float | None:
    routes = [Route(request.edit_id, 1.0) for _, request in asked] if oracle else None
    answers = model.generate([prompt for prompt, _ in asked], max_new_tokens=TOKENS, routes=routes)
    return score_answers(answers, [request.target_new for _, request in asked])


def right_batch(
    material: Material, model: EditedModel, asked: Sequence[tuple[str, EditRequest]]
) -> tuple[float, float]:
    """Shares of prompts that go to the batch of their own edit, and to none."""
    batch_of = {request.edit_id: n for n, batch in enumerate(material.batches) for request in batch}
    routes = model.route([prompt for prompt, _ in asked])
    went = [None if route.edit_id is None else batch_of[route.edit_id] for route in routes]
    right = sum(n == batch_of[request.edit_id] for n, (_, request) in zip(went, asked, strict=True))
    return right / len(asked), went.count(None) / len(asked)


if __name__ == "__main__":
    main()
