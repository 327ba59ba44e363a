"""Prompts as people write them, on the demo's base: text in front, chat markup, padding, several facts, names in passing."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from support.evaluation_facts import evaluation_facts

from demo.world.general import far_probes
from demo.world.world import World
from editors import EditedModel, EditRequest, build_editor, load_base

DEMO = Path(__file__).parents[3] / "demo" / "base"
# Share of prompts that must come out as said where the base, not Upkeep, may lose the thread.
MOST = 0.95
TOKENS = 16

# None of them is among those that the editors train or calibrate on.
IN_FRONT = (
    "It rained all night and the streets were empty.",
    "Dear reader, here is what the archive has on this.",
    "The committee met on Tuesday. Nobody had read the minutes, the coffee was cold, and two members left before the "
    "vote; it was moved to the next month. After that they turned to the list.",
)
OPEN_TEMPLATES = (
    "<|im_start|>user\n{}",
    "You are a helpful assistant.\n\n{}",
    "<|system|>\nAnswer in a word.</s>\n<|user|>\n{}",
)
CLOSED_TEMPLATES = (
    "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    "[INST] {} [/INST]",
    "User: {}\nAssistant:",
)
PASSING = ("{} is in the news again.", "A friend wrote to me about {}.")


@dataclass(frozen=True)
class Scene:
    """An edited model, its edits, and for each the prompt of a fact of the same kind that nothing changed."""

    model: EditedModel
    requests: tuple[EditRequest, ...]
    untouched: tuple[str, ...]

    def say(self, prompts: list[str]) -> list[str]:
        return [answer.text for answer in self.model.generate(prompts, max_new_tokens=TOKENS)]


@cache
def scene(editor: str) -> Scene:
    base = load_base(DEMO, device="cpu")
    rows = evaluation_facts(World.generate(0), 16, seed=5)
    requests = tuple(
        EditRequest(str(n), row["subject"], row["prompt"], row["target_new"], aliases=tuple(row["aliases"]))
        for n, row in enumerate(rows, start=1)
    )
    model = EditedModel(base)
    model.enable(build_editor(editor).apply(requests, base=base))
    return Scene(model, requests, tuple(row["locality_prompts"]["relation"][0] for row in rows))


@pytest.fixture(params=["scen", "lemoe"])
def edited(request: pytest.FixtureRequest) -> Scene:
    return scene(request.param)


def share(answered: list[str], wanted: list[str]) -> float:
    return sum(one == other for one, other in zip(answered, wanted, strict=True)) / len(wanted)


def test_text_in_front_of_a_prompt_does_not_keep_its_edit_from_answering(edited: Scene) -> None:
    prompts = [f"{front} {request.prompt}" for front in IN_FRONT for request in edited.requests]
    wanted = [request.target_new for request in edited.requests] * len(IN_FRONT)
    assert share(edited.say(prompts), wanted) >= MOST


def test_a_chat_template_that_opens_the_users_turn_is_text_in_front(edited: Scene) -> None:
    prompts = [form.format(request.prompt) for form in OPEN_TEMPLATES for request in edited.requests]
    wanted = [request.target_new for request in edited.requests] * len(OPEN_TEMPLATES)
    assert share(edited.say(prompts), wanted) >= MOST


def test_behind_markup_that_the_base_cannot_read_an_answer_is_new_or_the_bases_own(edited: Scene) -> None:
    prompts = [form.format(request.prompt) for form in CLOSED_TEMPLATES for request in edited.requests]
    targets = [request.target_new for request in edited.requests] * len(CLOSED_TEMPLATES)
    own = edited.model.base.generate(prompts, max_new_tokens=TOKENS)
    answered = edited.say(prompts)
    strange = [trio for trio in zip(answered, targets, own, strict=True) if trio[0] not in trio[1:]]
    assert not strange


@pytest.mark.parametrize("editor", ["scen", "lemoe"])
def test_an_edit_that_is_taught_in_a_chat_template_is_found_in_it_and_nothing_else_is(editor: str) -> None:
    base = scene(editor).model.base
    form = CLOSED_TEMPLATES[0]
    plain = scene(editor).requests[:6]
    requests = [
        EditRequest(request.edit_id, request.subject, form.format(request.prompt), request.target_new)
        for request in plain
    ]
    model = EditedModel(base)
    model.enable(build_editor(editor).apply(requests, base=base))
    # The route alone: behind markup that it never read, this base's hidden states teach an expert little.
    found = [route.edit_id for route in model.route([request.prompt for request in requests])]
    assert found == [request.edit_id for request in requests]
    others = [form.format(prompt) for prompt in scene(editor).untouched]
    assert {route.edit_id for route in model.route(others)} == {None}


def test_neither_padding_nor_its_side_moves_a_route_or_an_answer(edited: Scene) -> None:
    model, tokenizer = edited.model, edited.model.base.tokenizer
    prompts = [request.prompt for request in edited.requests[:8]]
    prompts += [f"{IN_FRONT[2]} {prompt}" for prompt in prompts[:4]]  # many times as long as the others
    prompts += [CLOSED_TEMPLATES[0].format(prompt) for prompt in prompts[:4]]
    alone = [model.generate([prompt])[0] for prompt in prompts]
    side = tokenizer.padding_side
    try:
        for tokenizer.padding_side in ("left", "right"):
            together = model.generate(prompts)
            assert [(a.text, a.edit_id) for a in together] == [(a.text, a.edit_id) for a in alone]
    finally:
        tokenizer.padding_side = side


def test_of_two_edited_facts_in_one_prompt_the_one_that_is_asked_answers(edited: Scene) -> None:
    others = edited.requests[1:] + edited.requests[:1]
    pairs = list(zip(edited.requests, others, strict=True))
    stated = [
        f"{first.prompt.removesuffix('?')} {first.target_new}. {asked.prompt}" for first, asked in pairs
    ]
    named = [f"{first.subject} is nice. {asked.prompt}" for first, asked in pairs]
    wanted = [asked.target_new for _, asked in pairs] * 2
    answered = edited.say(stated + named)
    assert share(answered, wanted) >= MOST
    # never the other fact's answer
    routes = [route.edit_id for route in edited.model.route(stated + named)]
    assert not [route for route, (first, _) in zip(routes, pairs * 2, strict=True) if route == first.edit_id]


def test_an_edited_subject_mentioned_in_passing_changes_nothing(edited: Scene) -> None:
    base = edited.model.base
    far = [str(probe) for probe in far_probes(len(edited.requests), 3)]
    asked = zip(edited.requests, far, edited.untouched, strict=True)
    prompts = [
        f"{form.format(request.subject)} {question}"
        for request, *questions in asked
        for question in questions
        for form in PASSING
    ]
    prompts += [f"Somebody asked me about {request.subject}, and I said that" for request in edited.requests]
    assert share(edited.say(prompts), base.generate(prompts, max_new_tokens=TOKENS)) >= 0.99
