"""Writes facts and probes of the world in the evaluator's form (`upkeep evaluate`)."""

import json
import random
from pathlib import Path
from typing import Any

from demo.world.general import far_probes
from demo.world.selection import Selection, select
from demo.world.world import Fact, World


def evaluation_facts(world: World, n: int, seed: int = 0) -> list[dict[str, Any]]:
    """`n` changed facts, one JSON object each; every prompt but `prompt` is for scoring only.

    Raises:
        ValueError: the world has fewer facts that may change.
    """
    rng = random.Random(f"evaluation {seed}")
    selection = select(world, rng, n)
    rows = [_row(world, selection, fact, rng) for fact in selection.changed]
    rng.shuffle(rows)
    return rows


def _row(world: World, selection: Selection, fact: Fact, rng: random.Random) -> dict[str, Any]:
    return {
        "subject": fact.subject,
        "prompt": world.prompt(fact, rng.randrange(3)),
        "target_new": rng.choice(world.other_values(fact)),
        "ground_truth": fact.value,
        "relation": fact.relation,
        "aliases": list(fact.aliases),
        "rephrase_prompts": list(world.held_out_prompts(fact)),
        "locality_prompts": {
            "relation": list(selection.relation_prompts(fact, rng, 2, for_scoring=True)),
            "subject": list(selection.subject_prompts(fact, rng, 2, for_scoring=True)),
        },
        "portability_prompts": {"alias": [world.prompt(fact, name=alias) for alias in fact.aliases]},
    }


def write_evaluation_files(
    world: World, n: int, *, facts_path: Path, probes_path: Path, seed: int = 0, probes: int = 200
) -> None:
    """The facts file and the `far` probes file that `upkeep evaluate` reads."""
    _write_lines(facts_path, evaluation_facts(world, n, seed))
    _write_lines(probes_path, [{"prompt": prompt, "kind": "far"} for prompt in far_probes(probes, seed)])


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
