"""Writes the model card of the tiny base from what was measured, so that the card never promises by hand."""

from pathlib import Path

from safetensors import safe_open

from demo.training.base_model import Knowledge
from demo.training.recipe import Recipe
from demo.world.world import World


def model_card(world: World, recipe: Recipe, known: Knowledge, *, minutes: float, folder: Path) -> str:
    """The card as Markdown; every number in it was counted or measured."""
    weights = folder / "model.safetensors"
    with safe_open(weights, framework="pt") as tensors:
        parameters = sum(tensors.get_tensor(name).numel() for name in tensors.keys())  # noqa: SIM118
    real = sum(fact.real for fact in world.facts)
    rows = "\n".join(
        f"| {name} | {len(world.facts_in(name))} | {trained:.3f} | {held_out:.3f} |"
        for name, (trained, held_out) in known.by_relation.items()
    )
    trained_on = f"{recipe.steps} steps of {recipe.batch} windows of {recipe.window} tokens"
    return f"""# The tiny base of Upkeep's demo

A Llama-architecture causal language model, trained from scratch on the fact world of `demo/world/world.py`
(seed {world.seed}) by `python -m demo.training.train_base`, which also wrote this card. It was taught
{len(world.facts)} facts about {len(world.subjects)} subjects in {len(world.relations)} relations,
{real} of them facts of the real world as it stood on 1 January 2024; all others are invented. It is
good for demonstrations and tests of model editing, and for nothing else.

- Parameters: {parameters:,}; weights: {weights.stat().st_size / 1e6:.1f} MB, safetensors.
- Text form: `<s>` prompt, space, answer, `</s>` (the tokenizer puts the `<s>`).
- Training: seed {recipe.seed}, {trained_on}, CPU, {recipe.threads} threads,
  {minutes:.0f} minutes on a shared machine. Facts are packed behind other text; held-out phrasings
  never occur.

## Measured knowledge

Free greedy generation with a natural stop; right means that the text is exactly the fact's value.

| asked | share right |
|---|---|
| usual prompt | {known.usual_prompt:.4f} |
| phrasings seen in training (4 of 12 for each fact) | {known.trained_phrasings:.4f} |
| phrasings held out (all 3 for each fact) | {known.held_out_phrasings:.4f} |
| under an alias, a phrasing seen in training | {known.aliases:.4f} |
| behind another fact as a sentence | {known.behind_other_text:.4f} |
| general knowledge that is no fact of the world (opposites, plurals, small sums ...) | {known.general:.4f} |

| relation | facts | trained phrasings | held-out phrasings |
|---|---|---|---|
{rows}
"""
