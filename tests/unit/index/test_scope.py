"""The scope index: when an edit fires, and what it remembers of how its thresholds were found."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.models.tiny_models import tiny_base

from demo.world.world import Fact, World
from editors import AdapterStore, Base, EditedModel, EditRequest, build_editor, load_base
from editors.methods.common.calibration import calibrate
from editors.methods.common.thresholds import threshold_between

DEMO = Path(__file__).parents[3] / "demo" / "base"
SCORES = st.lists(st.floats(-0.01, 1.001), max_size=40)


@given(must_fire=SCORES, must_not=SCORES, target=st.floats(0.0, 0.5))
@example(must_fire=[5e-324], must_not=[], target=0.0)  # half of it is 0
def test_a_threshold_lets_no_more_through_than_its_target(
    must_fire: list[float], must_not: list[float], target: float
) -> None:
    threshold = threshold_between(must_fire, must_not, target_false_fire=target)

    assert 0.0 < threshold < 1.0
    fired = sum(score >= threshold for score in must_not if score < 0.999)
    assert fired <= target * len(must_not)


def test_a_threshold_stands_half_way_between_what_must_fire_and_what_must_not() -> None:
    assert threshold_between([0.9, 0.6], [0.4, -0.1], target_false_fire=0.0) == pytest.approx(0.5)
    # one in four may fire: the highest no longer counts
    assert threshold_between([0.9], [0.8, 0.1, 0.1, 0.1], target_false_fire=0.25) == pytest.approx(0.5)


def test_a_shard_says_how_its_thresholds_were_found_and_keeps_it_when_stored(tmp_path: Path) -> None:
    base = tiny_base("llama")
    requests = [
        EditRequest("1", "Norland", "The capital of Norland is", "Marrow"),
        EditRequest("2", "The Long Road", "Who wrote The Long Road?", "Ivo Tann"),
    ]
    shard = build_editor("scen", {"max_steps": 1, "target_false_fire": 0.05}).apply(requests, base=base)

    calibration = shard.header.calibration
    assert calibration is not None
    assert calibration.target_false_fire == 0.05
    assert calibration.positives == 2
    assert calibration.negatives >= 2
    assert all(0.0 < entry.threshold < 1.0 for entry in shard.header.entries)
    store = AdapterStore(tmp_path)
    assert store.load(store.save(shard)).header == shard.header


def test_a_word_of_the_name_that_the_answer_does_not_depend_on_is_required() -> None:
    base = tiny_base("llama")
    request = EditRequest("1", "The Long Road", "Who wrote The Long Road?", "Ivo Tann")

    entry = calibrate(base, [request], max_answer_tokens=4, target_false_fire=0.01, seed=0).entries[0]

    answered = base.generate(["Who wrote The Road?", "Who wrote The Long?"], max_new_tokens=4)
    usual = base.generate([request.prompt], max_new_tokens=4)[0]
    kept = {word for word, text in zip(("long", "road"), answered, strict=True) if text == usual}
    assert set(entry.required_words) == kept


@pytest.fixture(scope="module")
def knowing() -> tuple[Base, World, Fact]:
    """A base that knows its facts, its world, and a fact that it answers alike in two phrasings."""
    base, world = load_base(DEMO, device="cpu"), World.generate(0)
    for fact in world.facts:
        answered = base.generate(world.prompts(fact)[:2], max_new_tokens=8)
        if answered == [fact.value, fact.value]:
            return base, world, fact
    raise AssertionError("the demo base knows no fact in two phrasings")


def test_a_question_in_other_words_that_the_base_answers_alike_is_the_same_question(
    knowing: tuple[Base, World, Fact],
) -> None:
    base, world, fact = knowing
    one, two = world.prompts(fact)[:2]
    different = next(f for f in world.facts_about(fact.subject) if f.value != fact.value)
    model = EditedModel(base)
    model.enable(
        build_editor("scen", {"max_steps": 1}).apply([EditRequest("1", fact.subject, one, "A")], base=base)
    )

    shard = build_editor("lemoe", {"max_steps": 1}).apply(
        [
            EditRequest("2", fact.subject, two, "B"),
            EditRequest("3", fact.subject, world.prompts(different)[0], "C"),
        ],
        base=base,
    )

    assert model.duplicate_questions(shard) == {"2": ["1"], "3": []}


@pytest.mark.parametrize(
    ("relations", "found"),
    [(("birthplace", "place of birth"), []), (("birthplace", " Birthplace"), ["1"]), ((None, "x"), ["1"])],
    ids=["they differ", "they are one", "one of them is not given"],
)
def test_without_text_edits_that_name_different_relations_are_never_one_question(
    knowing: tuple[Base, World, Fact], relations: tuple[str | None, str | None], found: list[str]
) -> None:
    base, world, fact = knowing
    one, two = (
        EditRequest(str(n), fact.subject, prompt, "A", relation=relation)
        for n, (prompt, relation) in enumerate(zip(world.prompts(fact)[:2], relations, strict=True), start=1)
    )
    model, editor = EditedModel(base), build_editor("scen", {"max_steps": 1})
    model.enable(editor.apply([one], base=base, parent=model))

    assert model.duplicate_questions(editor.apply([two], base=base, parent=model)) == {"2": found}


def test_a_stored_shard_without_vectors_still_tells_questions_apart_by_their_words(
    knowing: tuple[Base, World, Fact], tmp_path: Path
) -> None:
    base, store = knowing[0], AdapterStore(tmp_path)
    requests = [
        EditRequest("1", "France", "The capital of France is", "A"),
        EditRequest("2", "France", "The largest city of France is", "B"),
        EditRequest("3", "France", "What is the capital of France?", "C"),
    ]
    shard = build_editor("scen", {"max_steps": 1}).apply(requests, base=base)
    assert shard.header.encoder_hash is None
    stored = store.load(store.save(shard.keep(["2", "3"])))
    model = EditedModel(base)
    model.enable(shard, ["1"])

    assert model.duplicate_questions(stored) == {"2": [], "3": ["1"]}
