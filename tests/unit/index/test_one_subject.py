"""Edits of one subject, with the real encoder: each answers its own question reworded, and no other about its subject."""

import json
from pathlib import Path

import pytest
from support.models.tiny_models import tiny_chat_base
from support.requirements_met import DATA

from editors import Base, EditedModel, EditRequest, build_editor, load_base
from editors.index import load_matcher
from edits.prompts import Conversation, Message

CASES = DATA.parent / "cases"
DEMO = Path(__file__).parents[3] / "demo" / "base"
# The demo's base gives both questions of a pair one answer, and is sure of it.
ANSWERED_ALIKE = (
    ("Brazil", "The capital of Brazil is"),
    ("Brazil", "The head of government of Brazil is"),
    ("France", "The capital of France is"),
    ("France", "The largest city of France is"),
)
IN_OTHER_WORDS = {
    "currency": "Which currency does {} use?",
    "capital": "{}'s capital is",
    "emperor": "Who is {}'s emperor?",
    "ceo": "Please answer in one word: who is the chief executive of {}?",
    "cost": "What is the price of {}? Thanks in advance, Tom",
    "built": "By whom was {} built?",
    "depth": "How deep is {}?",
}
OTHERS = (
    "Who is the prime minister of {}?",
    "Who is the empress of {}?",
    "Who is the crown prince of {}?",
    "Who is the shogun of {}?",
    "Who was the first emperor of {}?",
    "What is the exchange rate of {}?",
    "What is the currency code of {}?",
    "On which stock exchange is {} listed?",
    "Name a city in {}.",
    "Name three cities in {}.",
    "Which cities are in {}?",
    "What is the largest city of {}?",
    "What is the population of {}?",
    "Is Tamburg the capital of {}?",
    "Where was the emperor of {} born?",
    "Who will be {}'s next CEO?",
    "Who was the previous CEO of {}?",
    "List all CEOs of {}.",
    "Who are the executives of {}?",
    "How was {} built?",
    "Of what is {} built?",
    "When was {} built?",
    "What does shipping of {} cost?",
    "What is the discount on {}?",
    "What is the average depth of {}?",
    "How high is {}?",
)
INVENTED = (
    ("Norland", "What is the currency of Norland?"),
    ("Norland", "What is the capital of Norland?"),
    ("Norland", "Who is the emperor of Norland?"),
    ("Tam Works", "Who is the CEO of Tam Works?"),
    ("Nimbus 5", "How much does Nimbus 5 cost?"),
    ("Orra Bridge", "Who built Orra Bridge?"),
    ("Lake Ostra", "What is the depth of Lake Ostra?"),
)


def edited(facts: list[tuple[str, str]], base: Base | None = None) -> EditedModel:
    """A model with these (subject, prompt) edits live, numbered from 1."""
    model = EditedModel(base or tiny_chat_base("default_system"), matcher=load_matcher())
    requests = [EditRequest(str(n), *fact, "Quorn") for n, fact in enumerate(facts, start=1)]
    model.enable(build_editor("scen", {"max_steps": 1}).apply(requests, base=model.base, parent=model))
    return model


def from_cases(name: str) -> list[tuple[str, str]]:
    """The (subject, prompt) pairs of a file of cases, which the repository does not have."""
    path = CASES / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(event["subject"], event["prompt"]) for event in map(json.loads, lines)]


@pytest.fixture(params=["invented", "cases"])
def facts(request: pytest.FixtureRequest) -> list[tuple[str, str]]:
    """Questions about few subjects, several about some."""
    return from_cases("questions-one-subject.jsonl") if request.param == "cases" else list(INVENTED)


def assert_each_answers_its_own_question(model: EditedModel, facts: list[tuple[str, str]]) -> None:
    reworded = [
        next(form for word, form in IN_OTHER_WORDS.items() if word in prompt.lower()).format(subject)
        for subject, prompt in facts
    ]
    own = [str(n) for n in range(1, len(facts) + 1)]
    assert [route.edit_id for route in model.route([prompt for _, prompt in facts])] == own
    assert dict(zip(reworded, [route.edit_id for route in model.route(reworded)], strict=True)) == dict(
        zip(reworded, own, strict=True)
    )


def other_questions_that_fire(model: EditedModel, facts: list[tuple[str, str]]) -> dict[str, str]:
    """Of other questions about the subjects those that an edit answers, with its id."""
    others = [form.format(subject) for subject in dict.fromkeys(name for name, _ in facts) for form in OTHERS]
    routes = zip(others, model.route(others), strict=True)
    return {text: route.edit_id for text, route in routes if route.edit_id is not None}


@pytest.mark.parametrize("asked", [False, True], ids=["by the text alone", "beside a base that knows facts"])
def test_each_edit_answers_its_own_question_and_none_another_about_its_subject(
    facts: list[tuple[str, str]], asked: bool
) -> None:
    model = edited(facts, load_base(DEMO, device="cpu") if asked else None)
    assert_each_answers_its_own_question(model, facts)
    fired = other_questions_that_fire(model, facts)
    # A base that learned few questions is as sure of an edit's answer to one of them: "euro".
    assert fired.keys() <= ({"Which cities are in France?"} if asked else set())


def test_a_conversation_that_went_on_to_somebody_else_asks_no_edit() -> None:
    model = edited(list(INVENTED))

    def then(*texts: str) -> Conversation:
        return Conversation(tuple(Message("user", text) for text in texts))

    about = "Tell me about Orra Bridge."
    same = [then(about, "Who built it?"), then(about, "Who built it, please? Be brief.")]
    other = [
        then(about, "What about the Tam Tower? Who built it?"),
        then(about, "And about Tam Tower.", "Who built it?"),
        then("Tell me about Tam Works.", "And Globex? Who is its CEO?"),
        then("Tell me about Norland.", "Which currency do they use in Ostland?"),
    ]
    assert [route.edit_id for route in model.route([*same, *other])] == ["6", "6", *[None] * len(other)]


@pytest.mark.parametrize("source", ["general", "cases"])
@pytest.mark.parametrize("at_once", [True, False], ids=["one batch", "urgent, one by one"])
@pytest.mark.parametrize("reads_text", [True, False], ids=["with an encoder", "without"])
def test_questions_that_the_base_answers_alike_stay_edits_of_their_own(
    source: str, at_once: bool, reads_text: bool
) -> None:
    facts = from_cases("same-base-answer.jsonl") if source == "cases" else list(ANSWERED_ALIKE)
    # Without an encoder only their relations tell all of them apart.
    requests = [
        EditRequest(str(n), *fact, "Quorn", relation=None if reads_text else f"relation {n}")
        for n, fact in enumerate(facts, start=1)
    ]
    model = EditedModel(load_base(DEMO, device="cpu"), matcher=load_matcher() if reads_text else None)
    editor = build_editor("scen", {"max_steps": 1})
    duplicates: dict[str, list[str]] = {}
    for batch in [requests] if at_once else [[request] for request in requests]:
        shard = editor.apply(batch, base=model.base, parent=model)
        model.enable(shard)
        duplicates |= model.duplicate_questions(shard)
    assert duplicates == {request.edit_id: [] for request in requests}
    routes = model.route([request.prompt for request in requests])
    assert [route.edit_id for route in routes] == [request.edit_id for request in requests]


@pytest.mark.parametrize("subject", ["Brazil", "Italy", "Japan", "Spain"])
@pytest.mark.parametrize("prompt", ["The capital of {} is", "What is the capital of {}?"])
def test_a_lone_edit_takes_no_yes_no_question_to_which_the_base_gives_its_answer(
    subject: str, prompt: str
) -> None:
    model = edited([(subject, prompt.format(subject))], load_base(DEMO, device="cpu"))
    asked = [f"Is {city} the capital of {subject}?" for city in ("Tamburg", "Lyon", "Osaka", "Springfield")]
    assert [route.edit_id for route in model.route(asked)] == [None] * len(asked)


@pytest.mark.parametrize("source", ["general", "cases"])
def test_a_lone_urgent_edit_takes_no_other_question_of_its_subject_on_a_base_that_knows_it(
    source: str,
) -> None:
    lone = (
        from_cases("urgent-single.jsonl") if source == "cases" else [("France", "The capital of France is")]
    )
    model = edited(lone, load_base(DEMO, device="cpu"))
    others = [form.format("France") for form in OTHERS]
    others += ["The currency of France is", "The president of France is", "The largest city of France is"]
    fired = [text for text, route in zip(others, model.route(others), strict=True) if route.edit_id]
    assert fired == []
    assert model.route("Which city is the capital of France?")[0].edit_id == "1"


def test_a_model_says_once_where_its_edits_are_found_by_their_own_words_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    base, matcher, editor = (
        load_base(DEMO, device="cpu"),
        load_matcher(),
        build_editor("scen", {"max_steps": 1}),
    )
    requests = [EditRequest(str(n), *fact, "Quorn") for n, fact in enumerate(INVENTED, start=1)]
    reading = EditedModel(base, matcher=matcher)
    with_text, more = (editor.apply([one], base=base, parent=reading) for one in requests[:2])
    without_text = editor.apply([requests[2]], base=base)
    reading.enable(with_text)
    assert not caplog.records, "all is as it should be"
    reading.enable(without_text)
    blind = EditedModel(base)
    blind.enable(with_text)
    blind.enable(more)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "parent=model" in told[0]
    assert "matcher=load_matcher()" in told[1]
