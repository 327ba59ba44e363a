"""Facts of the demo's world in the evaluator's form (`upkeep evaluate`)."""

import random
from typing import Any

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
