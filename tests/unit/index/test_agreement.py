"""The base's agreement beside the text: it counts as far as it has told questions apart on this base, and is kept."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.models.tiny_models import tiny_model, tiny_tokenizer

from demo.world.world import World
from editors import AdapterStore, Base, EditedModel, EditRequest, build_editor, load_base
from editors.adapters.bank import ExpertRow
from editors.index import QuestionMatcher, load_matcher
from editors.methods.common.calibration import MIN_SPECIFICITY
from editors.routing.agreement import SURE, Evidence, Reading, make_keys
from editors.routing.scope_router import FIRES_FROM, ScopeRouter
from editors.store.header import Agreement
from editors.store.shards import Shard
from edits.names.surface import SurfaceIndex

DEMO = Path(__file__).parents[3] / "demo" / "base"
FACTS = 8
# What it may know nothing of: how it is asked, and of names that end so.
QUESTIONS = {"Why": "abcdefgh", "Tell a story of": "ijklmnop", "So what of": "qrstuvwx"}


@pytest.fixture(scope="module")
def matcher() -> QuestionMatcher:
    return load_matcher()


def known_facts(base: Base) -> tuple[list[EditRequest], list[str]]:
    """Edits of facts, each of another subject and relation, that the base knows in two phrasings, and the second of each."""
    world = World.generate(0)
    requests: list[EditRequest] = []
    others: list[str] = []
    taken: set[str] = set()
    for fact in world.facts:
        one, two = world.prompts(fact)[0], world.prompts(fact)[-1]
        if {fact.subject, fact.relation} & taken:
            continue
        if base.generate([one, two], max_new_tokens=8) == [fact.value, fact.value]:
            taken |= {fact.subject, fact.relation}
            requests.append(EditRequest(str(len(requests)), fact.subject, one, "Quorn"))
            others.append(two)
        if len(requests) == FACTS:
            return requests, others
    raise AssertionError("the demo base knows too few facts in two phrasings")


def one_answer_base() -> Base:
    """A base that is sure of one and the same answer, whatever it is asked."""
    model, tokenizer = tiny_model("phi"), tiny_tokenizer()
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.bias.zero_()
        model.lm_head.bias[tokenizer("The", add_special_tokens=False).input_ids[0]] = 50.0
    return Base(model, tokenizer, base_hash="sha256:one-answer")


def shard_of(requests: list[EditRequest], base: Base, matcher: QuestionMatcher) -> Shard:
    parent = EditedModel(base, matcher=matcher)
    return build_editor("scen", {"max_steps": 1}).apply(requests, base=base, parent=parent)


def agreement_of(shard: Shard) -> Agreement:
    assert shard.header.calibration is not None
    return shard.header.calibration.agreement


def log_odds(score: float) -> float:
    return math.log(score / (1 - score))


def without_agreement(shard: Shard) -> Shard:
    """The same edits as if the base's answers had told nothing apart."""
    assert shard.header.calibration is not None
    calibration = replace(shard.header.calibration, agreement=Agreement())
    return Shard(shard.header.model_copy(update={"calibration": calibration}), shard.tensors)


def live(base: Base, matcher: QuestionMatcher, shard: Shard) -> EditedModel:
    model = EditedModel(base, matcher=matcher)
    model.enable(shard)
    return model


@contextmanager
def passes_of(base: Base) -> Iterator[list[str]]:
    """What is read while this is open: an entry for each pass through the base's first layer."""
    passes: list[str] = []
    watch = base.layers[0].register_forward_pre_hook(lambda *_: passes.append("a pass"))
    try:
        yield passes
    finally:
        watch.remove()


def test_a_base_that_knows_its_facts_is_asked_where_the_text_alone_does_not_decide(
    matcher: QuestionMatcher, tmp_path: Path
) -> None:
    base = load_base(DEMO, device="cpu")
    requests, others = known_facts(base)
    shard = shard_of(requests, base, matcher)
    agreement = agreement_of(shard)
    assert agreement.specificity > MIN_SPECIFICITY
    assert all(entry.base_answer_ids for entry in shard.header.entries)
    store = AdapterStore(tmp_path)
    stored = store.load(store.save(shard))
    assert agreement_of(stored) == agreement

    fused, by_text = live(base, matcher, stored), live(base, matcher, without_agreement(shard))
    assert fused.agreement == agreement
    asked = 0
    for entry, other in zip(stored.header.entries, others, strict=True):
        with passes_of(base) as passes:
            (judged,) = fused.explain(other).candidates
        with passes_of(base) as none:
            text_alone = by_text.explain(other).candidates[0].score
        assert not none
        evidence = Evidence.of(agreement, entry.confidence)
        assert bool(passes) == evidence.can_change(log_odds(text_alone)) == (judged.base_agrees is not None)
        assert log_odds(judged.score) == pytest.approx(log_odds(text_alone) + judged.evidence, abs=1e-4)
        if passes:
            asked += 1
            assert judged.base_agrees
            assert judged.base_probability is not None
            assert judged.base_probability > SURE
            assert 0 < judged.evidence <= evidence.most
        assert fused.route([other])[0].edit_id == entry.edit_id
        assert judged.score >= FIRES_FROM
    assert asked


def test_another_wording_of_the_answer_never_outweighs_a_text_that_is_sure_nor_agreement_words_that_exclude_each_other(
    matcher: QuestionMatcher,
) -> None:
    """It says "the yen" for "yen", and that Japan's largest city is its capital."""
    base = load_base(DEMO, device="cpu")
    asked = {"currency": "What is the currency of Japan?", "capital": "What is the capital of Japan?"}
    requests = [EditRequest(name, "Japan", prompt, "Quorn") for name, prompt in asked.items()]
    model = live(base, matcher, shard_of(requests, base, matcher))
    others = ["The currency of Japan is", "Japan's currency is", "The largest city of Japan is"]
    said = base.generate([*asked.values(), *others], max_new_tokens=8)
    assert said[2:] == [f"the {said[0]}", f"the {said[0]}", said[1]]
    assert [route.edit_id for route in model.route(others)] == ["currency", "currency", None]


def test_agreement_that_the_base_is_not_sure_of_makes_no_other_question_the_edits_own(
    matcher: QuestionMatcher,
) -> None:
    """The base has learned a few questions; to those that it has not, it says something that it knows of the subject."""
    base = load_base(DEMO, device="cpu")
    requests = [
        EditRequest("1", "Japan", "What is the currency of Japan?", "crown"),
        EditRequest("2", "Japan", "What is the capital of Japan?", "Osaka"),
        EditRequest("3", "France", "What is the capital of France?", "Lyon"),
        EditRequest("4", "France", "What is the currency of France?", "franc"),
    ]
    model = live(base, matcher, shard_of(requests, base, matcher))
    others = [
        "Who is the president of Japan?",
        "The national anthem of Japan is",
        "When was Japan founded?",
        "What is the population of France?",
        "How large is France?",
        "What is the revenue of France?",
        "Who is the president of France?",
    ]
    answers = set(base.generate([request.prompt for request in requests], max_new_tokens=8))
    assert answers & set(base.generate(others, max_new_tokens=8)), "it gives an edit's answer to some of them"
    assert [route.edit_id for route in model.route(others)] == [None] * len(others)


def test_a_name_that_stands_there_only_nearly_is_confirmed_by_the_base_or_stands_there_nearly_whole(
    matcher: QuestionMatcher,
) -> None:
    base = load_base(DEMO, device="cpu")
    request = EditRequest("near", "Xenon Star Tractor", "The maker of the Xenon Star Tractor is", "Quorn")
    shard = shard_of([request, *known_facts(base)[0]], base, matcher)
    assert shard.header.entries[0].confidence > SURE
    model = live(base, matcher, shard)

    other = "Who makes the Xenon Tractor?"
    (judged,) = model.explain(other).candidates
    assert judged.probability is not None
    assert judged.probability > FIRES_FROM, "its text asks the same of another name"
    assert not judged.base_agrees
    assert not judged.fires
    in_another_order = "Who makes the Star Tractor Xenon?"
    (judged,) = model.explain(in_another_order).candidates
    assert not judged.exact
    assert judged.fires == judged.base_agrees

    names = SurfaceIndex()
    names.add("near", request.surface_forms)
    without_base = ScopeRouter(None, names, matcher)
    without_base.add("near", ExpertRow(shard, 0))
    assert without_base.candidates([other]) == []
    assert [one.edit_id for one in without_base.candidates([in_another_order])] == ["near"]


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 50), st.integers(0, 50), st.floats(-20, 20))
def test_evidence_stays_in_its_bounds_and_grows_with_the_probability(
    one: float, more: float, right: int, wrong: int, odds: float
) -> None:
    low, high = sorted((one, more))
    evidence = Evidence.of(Agreement(same=50, same_agreed=right, other=50, other_agreed=wrong), 0.9)
    added = [evidence.log_odds(Reading(q >= SURE, 0.0, q)) for q in (low, high)]
    assert evidence.least <= added[0] <= added[1] <= evidence.most
    if not evidence.can_change(odds):
        assert {odds + part >= 0 for part in added} == {odds >= 0}


def test_a_reading_that_is_no_number_is_no_evidence_and_no_more_agree_than_were_asked() -> None:
    evidence = Evidence.of(Agreement(same=50, same_agreed=50, other=50), 1.0)
    assert evidence.log_odds(Reading(agrees=False, cosine=0.0, probability=math.nan)) == 0
    for wrong in ({"same_agreed": 1}, {"other": 3, "other_agreed": 4}, {"same": 10**400}):
        with pytest.raises(ValueError, match=r"agreed|less than"):
            Agreement(**wrong)


def test_evidence_of_a_base_that_was_not_counted_is_none() -> None:
    assert Evidence.of(Agreement(), 1.0) == Evidence(0.0, 0.0)
    narrow = Evidence.of(Agreement(same=10, same_agreed=0, other=50, other_agreed=0), 1.0)
    assert narrow.most > 0, "it tells questions apart"
    assert narrow.least == 0, "but it loses its own facts behind other text: that it differs says nothing"


def test_a_base_whose_agreement_tells_nothing_apart_is_not_asked(
    matcher: QuestionMatcher,
) -> None:
    base = one_answer_base()
    requests = [
        EditRequest("1", "Norland", "The capital of Norland is", "Marrow"),
        EditRequest("2", "The Long Road", "Who wrote The Long Road?", "Ivo Tann"),
    ]
    shard = shard_of(requests, base, matcher)
    agreement = agreement_of(shard)
    # It was sure, and so it was counted: it agrees with everything.
    assert agreement.same_agreed == agreement.same > 0
    assert agreement.other_agreed == agreement.other > 0
    assert agreement.specificity == 0.0
    assert all(entry.base_answer_ids == () and entry.confidence == 0 for entry in shard.header.entries)
    model = live(base, matcher, shard)
    asked = [
        "What is the capital of Norland?",
        "Who is the author of The Long Road?",
        "Norland's currency is",
    ]
    with passes_of(base) as passes:
        assert [route.edit_id for route in model.route(asked)] == ["1", "2", None]
    assert passes == []


def test_a_base_that_is_sure_of_few_edits_is_not_asked_about_all_though_its_agreement_counts(
    matcher: QuestionMatcher,
) -> None:
    base = load_base(DEMO, device="cpu")
    requests, _ = known_facts(base)
    parent = live(base, matcher, shard_of(requests, base, matcher))
    known = EditRequest("known", requests[0].subject, requests[0].prompt, "Marrow")
    prompts = {f"Varn{end}": f"{ask} Varn{end}?" for ask, ends in QUESTIONS.items() for end in ends}
    keys = make_keys(base, [*prompts.values()], max_answer_tokens=16)
    unsure = [name for name, key in zip(prompts, keys, strict=True) if key.confidence < SURE][:6]
    assert len(unsure) == 6
    unknown = [EditRequest(name, name, prompts[name], "Quorn") for name in unsure]
    editor = build_editor("scen", {"max_steps": 1})

    alone = editor.apply([known], base=base, parent=parent)
    among = editor.apply([known, *unknown], base=base, parent=parent)

    assert agreement_of(alone).specificity > MIN_SPECIFICITY
    assert agreement_of(among).specificity > MIN_SPECIFICITY
    assert alone.header.entries[0].confidence > SURE
    assert [entry.base_answer_ids for entry in among.header.entries] == [()] * len(among.header.entries)


def test_the_next_batch_begins_with_what_the_live_edits_counted(matcher: QuestionMatcher) -> None:
    base = one_answer_base()
    first = EditRequest("1", "Norland", "The capital of Norland is", "Marrow")
    model = live(base, matcher, shard_of([first], base, matcher))
    second = EditRequest("2", "The Long Road", "Who wrote The Long Road?", "Ivo Tann")
    both = build_editor("scen", {"max_steps": 1}).apply([second], base=base, parent=model)
    assert agreement_of(both) == model.agreement + agreement_of(shard_of([second], base, matcher))


def test_without_an_encoder_nothing_fires_to_which_the_base_answers_otherwise_be_it_ever_so_like() -> None:
    base = Base(tiny_model("llama"), tiny_tokenizer(), base_hash="sha256:unsure")
    request = EditRequest("1", "Norland", "The capital of Norland is", "Marrow")
    others = [
        "The currency of Norland is",
        "The president of Norland is",
        "The largest city of Norland is",
        "What is the official language of Norland?",
    ]
    model = EditedModel(base)
    shard = build_editor("scen", {"max_steps": 1}).apply([request], base=base)
    model.enable(shard)
    assert shard.header.entries[0].confidence < SURE
    assert model.route([request.prompt])[0].edit_id == "1"
    assert all(route.edit_id is None for route in model.route(others))
