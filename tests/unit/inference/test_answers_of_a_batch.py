"""Whatever stands in a batch, each prompt is answered as it would be alone, by the expert that it is routed to."""

import random

import pytest
from support.models.tiny_models import FAMILIES, tiny_base

from editors import EditedModel, EditRequest, build_editor
from editors.adapters.apply import apply_adapters
from editors.base.base import Base
from editors.base.endings import Ending
from editors.store.header import ShardEntry
from editors.store.shards import Shard

REQUESTS = [
    EditRequest("1", "Norland", "The capital of Norland is", "Marrow"),
    EditRequest("2", "Norland", "The mayor of Norland is", "Ivo Tann of Elbing"),
    EditRequest("3", "The Long Road", "Who wrote The Long Road?", "Ivo Tann"),
    EditRequest("4", "Sudland", "What is the river of Sudland?", "It is the Lorn"),
]
BEFORE = "It rained and the tea was cold on that long evening by the river of Marrow. "
UNRELATED = ("A plain sentence about", "x", "The weather", "What is the river of Marrow?")
CASES = 12


@pytest.mark.parametrize("family", FAMILIES)
def test_each_prompt_of_a_batch_is_answered_as_it_is_alone(family: str) -> None:
    base = tiny_base(family, layer=1)  # so low that layers above have to run again
    shards = [
        build_editor("scen", {"max_steps": 15}).apply(REQUESTS[:2], base=base),
        build_editor("lemoe", {"max_steps": 15}).apply(REQUESTS[2:], base=base),
    ]
    fired = 0
    for case in range(CASES):
        rng = random.Random(f"{family} {case}")
        base.plain_ending = Ending(
            frozenset({base.eos_id, *rng.sample(range(3, 300), rng.choice([0, 3, 40]))}), one_line=True
        )
        model = EditedModel(base)
        for shard in shards:
            model.enable(_varied(base, shard, rng))
        prompts = [_prompt(rng) for _ in range(rng.randrange(1, 9))]
        most = rng.choice([1, 2, 3, 5, 8, 12, 20, 64])
        answers = model.generate(prompts, max_new_tokens=most)
        assert [(a.edit_id, a.text) for a in answers] == [_alone(model, p, most) for p in prompts], case
        fired += sum(answer.edit_id is not None for answer in answers)
    assert fired


def _alone(model: EditedModel, prompt: str, most: int) -> tuple[str | None, str]:
    (route,), base = model.route([prompt]), model.base
    with apply_adapters(base, [model.expert(route)]):
        (ids,) = base.generate_ids([base.prompt_ids(prompt)], max_new_tokens=most)
    return route.edit_id, base.decode(ids)


def _prompt(rng: random.Random) -> str:
    request = rng.choice(REQUESTS)
    return rng.choice(
        [
            request.prompt,
            f"{BEFORE[: rng.randrange(len(BEFORE))]} {request.prompt}",
            f"A letter about {request.subject} came, and",
            "Both Norland and The Long Road and Sudland were",
            rng.choice(UNRELATED),
        ]
    )


def _varied(base: Base, shard: Shard, rng: random.Random) -> Shard:
    """The same experts, whose prompts were answered by the base, and fire in ways of every kind."""
    entries = tuple(
        entry.model_copy(
            update={
                "threshold": rng.choice([0.0, 0.05, 0.2, entry.threshold]),
                "base_answer_ids": _base_answer(base, entry, rng),
            }
        )
        for entry in shard.header.entries
    )
    return Shard(shard.header.model_copy(update={"entries": entries}), shard.tensors)


def _base_answer(base: Base, entry: ShardEntry, rng: random.Random) -> tuple[int, ...]:
    answered = base.generate_ids([base.prompt_ids("A letter about")], max_new_tokens=rng.randrange(1, 9))[0]
    return rng.choice([tuple(answered) or entry.base_answer_ids, entry.base_answer_ids])
