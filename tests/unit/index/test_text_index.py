"""The scope index by text, with the real encoder: what an edit answers to, in prompts as people write them."""

import re

import pytest
from support.models.tiny_models import tiny_chat_base

from editors import EditedModel, EditRequest, build_editor
from editors.index import load_matcher
from editors.index.encoder import MAX_TOKENS
from editors.index.matcher import QuestionMatcher
from editors.index.text_index import MAX_READ_TOKENS
from editors.store.shards import Shard
from edits.errors import ShardCorrupt
from edits.prompts import Conversation, Message, Prompt, asked_in_chat


@pytest.fixture(scope="module")
def matcher() -> QuestionMatcher:
    return load_matcher()


def edit(
    number: int, subject: str, prompt: str, relation: str | None = None, **more: tuple[str, ...]
) -> EditRequest:
    return EditRequest(str(number), subject, prompt, "Quorn", relation=relation, **more)  # type: ignore[arg-type]


def edited(matcher: QuestionMatcher, *requests: EditRequest) -> EditedModel:
    """A model with these edits live; nothing is learned, for a route asks no expert."""
    model = EditedModel(tiny_chat_base("default_system"), matcher=matcher)
    model.enable(shard_of(model, *requests))
    return model


def shard_of(model: EditedModel, *requests: EditRequest) -> Shard:
    return build_editor("scen", {"max_steps": 1}).apply(requests, base=model.base, parent=model)


def fired(model: EditedModel, *prompts: Prompt) -> list[str | None]:
    return [route.edit_id for route in model.route(prompts)]


CAPITAL = edit(1, "France", "The capital of France is")


def test_a_lone_edit_answers_paraphrases_and_nothing_else_about_its_subject(matcher: QuestionMatcher) -> None:
    model = edited(matcher, CAPITAL)
    same = (
        "What is the capital of France?",
        "Which city is France's capital?",
        "Name the capital of France.",
    )
    other = (
        "The currency of France is",
        "What is the population of France?",
        "Who is the president of France?",
        "Is Paris the capital of France?",
        "What is the population of the capital of France?",
        "Who is the mayor of the capital of France?",
        "Tell me about France.",
        "France is in the news again, and my neighbour says that",
        "What is the capital of Germany?",
    )
    assert fired(model, *same) == ["1"] * len(same)
    assert fired(model, *other) == [None] * len(other)


def test_edits_of_one_subject_keep_their_own_questions(matcher: QuestionMatcher) -> None:
    questions = {
        "1": "What is the currency of Japan?",
        "2": "What is the capital of Japan?",
        "3": "Who is the emperor of Japan?",
    }
    model = EditedModel(tiny_chat_base("default_system"), matcher=matcher)
    shard = shard_of(model, *(edit(int(n), "Japan", text) for n, text in questions.items()))
    model.enable(shard)

    assert model.duplicate_questions(shard) == {"1": [], "2": [], "3": []}
    found = fired(model, "Which currency does Japan use?", "Japan's capital is", "Who is Japan's emperor?")
    assert found == ["1", "2", "3"]


def test_of_two_offices_of_one_country_the_one_that_is_named_answers(matcher: QuestionMatcher) -> None:
    model = edited(
        matcher,
        edit(
            1,
            "the Veldt",
            "The head of state in the Veldt is",
            rephrase_prompts=("The president of the Veldt is",),
        ),
        edit(
            2,
            "the Veldt",
            "The head of government in the Veldt is",
            rephrase_prompts=("The chancellor of the Veldt is",),
        ),
    )
    president = (
        "Who is the present president of the Veldt?",
        "The office of president of the Veldt is currently held by",
    )
    chancellor = (
        "The name of the current chancellor of the Veldt is",
        "Who is the chancellor of the Veldt at present?",
    )
    assert fired(model, *president) == ["1", "1"]
    assert fired(model, *chancellor) == ["2", "2"]


def test_the_other_office_the_other_parent_and_the_other_hour_are_not_answered(
    matcher: QuestionMatcher,
) -> None:
    model = edited(
        matcher,
        edit(1, "Poland", "Who is the president of Poland?"),
        edit(2, "Ana Ruiz", "Who was the mother of Ana Ruiz?"),
        edit(3, "the Harbour Shop", "When does the Harbour Shop open?"),
    )
    others = (
        "Who is the prime minister of Poland?",
        "Who was the president of Poland in 1995?",
        "The father of Ana Ruiz is",
        "When does the Harbour Shop close?",
    )
    assert fired(model, *others) == [None] * len(others)
    assert fired(
        model, "Name Poland's president.", "Ana Ruiz's mother was", "From what hour is the Harbour Shop open?"
    ) == [
        "1",
        "2",
        "3",
    ]
    (candidate,) = model.explain(others[0]).candidates
    assert candidate.why.endswith('it has "prime minister", and the edit\'s question "president"')


def test_why_an_edit_fires_is_told_in_one_plain_sentence(matcher: QuestionMatcher) -> None:
    model = edited(matcher, CAPITAL, edit(2, "France", "Who is the president of France?"))
    told = model.explain("What is the capital of France?")
    assert re.fullmatch(
        r"edit 1 fires: its score of \d\.\d{3} reaches the 0\.\d{3} needed, and no other edit fits better",
        told.why,
    )
    model.enable(shard_of(model, edit(3, "France", "Which city is the capital of France?")))
    told = model.explain("Name the capital of France.")
    assert told.why.count("fires") == 1
    (beaten,) = [one for one in told.candidates if one.fires and not one.chosen]
    assert re.match(r"its score of \d\.\d{3} reaches the 0\.\d{3} needed, but another edit's", beaten.why)


def test_a_question_in_other_words_is_the_same_fact(matcher: QuestionMatcher) -> None:
    model = edited(matcher, CAPITAL)
    later = shard_of(model, edit(2, "France", "Which city is the capital of France?"))
    model.enable(later)
    assert model.duplicate_questions(later) == {"2": ["1"]}


def test_unrelated_text_in_front_of_a_question_changes_nothing(matcher: QuestionMatcher) -> None:
    model = edited(matcher, CAPITAL)
    front = (
        "It rained all night. Dr. Moor, who had been to St. Gallen, told me of her work on the old archive."
    )
    assert fired(model, f"{front} What is the capital of France?") == ["1"]
    assert fired(model, f"{front}\n\nWhat is the currency of France?") == [None]


def test_a_system_message_is_not_what_is_asked(matcher: QuestionMatcher) -> None:
    model = edited(matcher, CAPITAL)
    system = Message("system", "You know that the capital of France is Paris. Answer in one word.")
    asked = Message("user", "What is the capital of France?")
    other = Message("user", "How many legs has a spider?")
    assert fired(model, Conversation((system, asked)), Conversation((system, other))) == ["1", None]


def test_of_few_shot_examples_the_last_question_counts(matcher: QuestionMatcher) -> None:
    model = edited(matcher, CAPITAL)
    asked = "Q: What is the capital of Spain?\nA: Madrid\nQ: What is the capital of France?\nA:"
    shown = "Q: What is the capital of France?\nA: Paris\nQ: What is the capital of Spain?\nA:"
    assert fired(model, asked, shown) == ["1", None]


def test_of_several_facts_in_one_prompt_the_one_that_is_asked_fires(matcher: QuestionMatcher) -> None:
    model = edited(matcher, CAPITAL, edit(2, "Japan", "What is the currency of Japan?"))
    assert fired(
        model,
        "The capital of France is Quorn. What is the currency of Japan?",
        "Japan has a new currency. What is the capital of France?",
        "France and Japan signed a treaty. Who signed it?",
    ) == ["2", "1", None]


def test_one_edit_at_most_answers_a_prompt_of_two_questions_about_edited_facts(
    matcher: QuestionMatcher,
) -> None:
    model = edited(matcher, CAPITAL, edit(2, "Japan", "What is the currency of Japan?"))
    asked_last, asked_at_once = fired(
        model,
        "What is the capital of France? What is the currency of Japan?",
        "What is the capital of France and what is the currency of Japan?",
    )
    assert asked_last == "2"
    assert asked_at_once is None, "one value would stand for the answer to both"


def test_a_long_text_that_names_very_many_subjects_costs_few_passes_of_the_encoder(
    matcher: QuestionMatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    lands = [
        f"{first}{last}land" for first in ("Nor", "Wes", "Eas", "Sou", "Mid", "Out") for last in "abcdef"
    ]
    edits = [edit(n, land, f"The capital of {land} is") for n, land in enumerate(lands, start=1)]
    model = edited(matcher, *edits)
    passes: list[str] = []
    encode = matcher.encoder._encode
    monkeypatch.setattr(matcher.encoder, "_encode", lambda texts: passes.extend(texts) or encode(texts))

    names = " and ".join(lands)
    for text in (f"What is the capital of {names}?", f"Name the capital of {names * 4}. Be brief."):
        passes.clear()
        model.route([text])
        assert passes
        assert sum(map(len, matcher.encoder.read(passes))) < MAX_READ_TOKENS + 2 * MAX_TOKENS
    # Names far behind what the encoder reads change nothing of it: the text is encoded once.
    passes.clear()
    model.route([f"What is the capital, {'if you please, ' * 100} of {names}?"])
    assert len(passes) == 1
    assert fired(model, f"What is the capital of {lands[-1]}?") == [str(len(lands))]


def test_a_later_turn_may_say_it(matcher: QuestionMatcher) -> None:
    model = edited(matcher, edit(1, "Orra Bridge", "Who built Orra Bridge?"))

    def then(question: str) -> Conversation:
        answered = (
            Message("user", "Tell me about Orra Bridge."),
            Message("assistant", "It is a bridge in the north."),
        )
        return Conversation((*answered, Message("user", question)))

    assert fired(model, then("Who built it?"), then("How long is it?"), then("Who built Tam Bridge?")) == [
        "1",
        None,
        None,
    ]
    assert fired(model, asked_in_chat("Who built it?")) == [None]


def test_facts_of_a_relation_share_their_phrasings_as_long_as_an_edit_brings_them(
    matcher: QuestionMatcher,
) -> None:
    model = edited(matcher, edit(1, "Norland", "The zorbit of Norland is", "zorbit"))
    odd = "Under which lamp does Norland sleep?"
    assert fired(model, odd) == [None]
    model.enable(shard_of(model, edit(2, "Sudland", "Under which lamp does Sudland sleep?", "Zorbit ")))
    assert fired(model, odd) == ["1"]
    model.disable(["2"])
    assert fired(model, odd) == [None]


def test_known_phrasings_of_a_request_are_read_and_its_own_locality_prompts_never_fire(
    matcher: QuestionMatcher,
) -> None:
    phrased = edit(1, "Norland", "The zorbit of Norland is", "zorbit", phrasings=("Where does Norland hum?",))
    guarded = edit(
        2, "Ostland", "The capital of Ostland is", locality_prompts=("What is the capital of Ostland?",)
    )
    model = edited(matcher, phrased, guarded)
    assert fired(model, "Where does Norland hum?", "What is the capital of Ostland?") == ["1", None]


def test_vectors_of_another_encoder_are_refused_with_what_to_do(matcher: QuestionMatcher) -> None:
    model = edited(matcher, CAPITAL)
    shard = shard_of(model, CAPITAL)
    foreign = Shard(shard.header.model_copy(update={"encoder_hash": "sha256:other"}), shard.tensors)
    with pytest.raises(ShardCorrupt, match="upkeep reindex"):
        model.enable(foreign)
