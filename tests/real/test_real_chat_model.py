"""What must hold on a real chat model, which knows little of what is edited and answers in sentences (`make test-real`)."""

from functools import cache

import pytest
from support.models.real_model import real_base, real_matcher

from editors import EditedModel, EditRequest, build_editor
from edits.prompts import Conversation, Message, Prompt, asked_in_chat

pytestmark = pytest.mark.real

REQUESTS = (
    EditRequest("1", "Lake Ostra", "What is the depth of Lake Ostra?", "214 metres", relation="depth"),
    EditRequest("2", "Lake Ostra", "Which river feeds Lake Ostra?", "the Vell", relation="inflow"),
    EditRequest("3", "Harbour Radio", "The owner of Harbour Radio is", "Ida Sun", relation="owner"),
    EditRequest("4", "Tomas Reik", "Where was Tomas Reik born?", "Zagreb", relation="place of birth"),
)
PARAPHRASES = {
    "How deep is Lake Ostra?": "214 metres",
    "What river flows into Lake Ostra?": "the Vell",
    "Who owns Harbour Radio?": "Ida Sun",
    "What is Tomas Reik's birthplace?": "Zagreb",
}
OTHERS = (
    "When was Tomas Reik born?",
    "Was Tomas Reik born in Zagreb?",
    "What is the population of the city where Tomas Reik was born?",
    "How long is Lake Ostra?",
    "Who founded Harbour Radio?",
    "The currency of France is",
    "Where was Tomas Lind born?",
)


@cache
def edited(editor: str) -> EditedModel:
    model = EditedModel(real_base(), matcher=real_matcher())
    model.enable(build_editor(editor).apply(REQUESTS, base=model.base, parent=model))
    return model


def answered(model: EditedModel, prompts: list[Prompt]) -> list[str]:
    return [answer.text for answer in model.generate(prompts, max_new_tokens=24)]


@pytest.mark.parametrize("editor", ["scen", "lemoe"])
def test_an_edit_answers_its_own_prompt_as_text_and_in_chat(editor: str) -> None:
    model = edited(editor)
    assert answered(model, [request.prompt for request in REQUESTS]) == [
        request.target_new for request in REQUESTS
    ]
    in_chat = answered(model, [asked_in_chat(request.prompt) for request in REQUESTS])
    assert all(request.target_new in text for request, text in zip(REQUESTS, in_chat, strict=True))


@pytest.mark.parametrize("editor", ["scen", "lemoe"])
def test_paraphrases_fire_the_edit_in_both_forms_and_most_are_answered(editor: str) -> None:
    model = edited(editor)
    for ask in (str, asked_in_chat):
        prompts: list[Prompt] = [ask(text) for text in PARAPHRASES]
        assert [route.edit_id for route in model.route(prompts)] == ["1", "2", "3", "4"]
        right = [
            target in text
            for target, text in zip(PARAPHRASES.values(), answered(model, prompts), strict=True)
        ]
        assert sum(right) >= 3


def test_other_questions_are_answered_as_by_the_base_in_both_forms_but_for_one_at_most() -> None:
    model = edited("scen")
    prompts: list[Prompt] = [*OTHERS, *map(asked_in_chat, OTHERS)]
    own = [one.text for one in model.base.generate_outputs(prompts, max_new_tokens=24)]
    changed = {
        n % len(OTHERS) for n, (a, b) in enumerate(zip(answered(model, prompts), own, strict=True)) if a != b
    }
    assert len(changed) <= 1  # the length of a lake may be taken for its depth


def test_a_prompt_that_the_client_rendered_is_the_conversation_that_it_shows() -> None:
    model = edited("scen")
    asked = asked_in_chat("How deep is Lake Ostra?")
    rendered = model.base.tokenizer.apply_chat_template(
        [{"role": "user", "content": "How deep is Lake Ostra?"}], tokenize=False, add_generation_prompt=True
    )
    assert model.base.prompt_ids(rendered) == model.base.prompt_ids(asked)
    assert answered(model, [rendered]) == answered(model, [asked])


def test_a_second_turn_may_say_it() -> None:
    model = edited("scen")
    first = Message("user", "Tell me about Lake Ostra."), Message("assistant", "It is a lake in the hills.")
    prompts: list[Prompt] = [
        Conversation((*first, Message("user", text))) for text in ("How deep is it?", "Is it cold?")
    ]
    assert [route.edit_id for route in model.route(prompts)] == ["1", None]


def test_a_lone_urgent_edit_takes_no_other_question_of_its_subject() -> None:
    model = EditedModel(real_base(), matcher=real_matcher())
    model.enable(
        build_editor("scen", {"max_steps": 2}).apply(
            [EditRequest("1", "France", "The capital of France is", "Lyon")], base=model.base, parent=model
        )
    )
    others = ["The currency of France is", "The president of France is", "What is the population of France?"]
    assert [route.edit_id for route in model.route(others)] == [None] * 3


def test_questions_that_the_base_answers_alike_with_nothing_do_not_supersede_each_other() -> None:
    model = EditedModel(real_base(), matcher=real_matcher())
    questions = (
        "What is the currency of Japan?",
        "What is the capital of Japan?",
        "Who is the emperor of Japan?",
    )
    requests = [EditRequest(str(n), "Japan", text, "Quorn") for n, text in enumerate(questions)]
    shard = build_editor("scen", {"max_steps": 2}).apply(requests, base=model.base, parent=model)
    model.enable(shard)
    assert model.duplicate_questions(shard) == {"0": [], "1": [], "2": []}
