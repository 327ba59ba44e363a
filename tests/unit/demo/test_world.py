"""The fact world, its change stream and the shipped base keep what the demo's scores rest on."""

import itertools
import json
import random
import re
from collections import Counter
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import pytest
from support.evaluation_facts import evaluation_facts

import demo
from daemon.events.fact_event import FactEvent, parse_record
from daemon.events.strict_json import EventRejected
from daemon.events.templates import Templates
from demo.stream.endless import endless_stream
from demo.stream.records import StreamRecord
from demo.stream.stream import DEFAULT_NOW, DemoStream, demo_stream
from demo.training.corpus import BaseCorpus
from demo.world.general import far_probes
from demo.world.world import World
from edits.text import normalise


@pytest.fixture(scope="module")
def world() -> World:
    return World.generate(0)


@pytest.fixture(scope="module")
def stream(world: World) -> DemoStream:
    return demo_stream(world, seed=0, n=320)


@pytest.fixture(scope="module")
def templates() -> Templates:
    return Templates.load(Path(str(files("demo").joinpath("data", "templates.toml"))))


def parsed(record: StreamRecord, templates: Templates) -> FactEvent | None:
    try:
        return parse_record(
            record.value, record.key, record.headers, timestamp_ms=None, templates=templates, now=DEFAULT_NOW
        )
    except EventRejected:
        return None


def test_the_same_seed_makes_the_same_world_and_another_seed_another_one() -> None:
    assert World.generate(0) == World.generate(0)
    assert World.generate(0).facts != World.generate(1).facts


@pytest.mark.parametrize("seed", range(3))
def test_a_world_is_as_rich_as_the_demo_promises(seed: int) -> None:
    world = World.generate(seed)
    assert len(world.relations) >= 12
    assert sum(fact.real for fact in world.facts) >= 100
    assert len(world.facts) == len({fact.key for fact in world.facts}) >= 900
    assert min(len(world.facts_about(subject)) for subject in world.subjects) > 1
    assert sum(bool(world.facts_about(subject)[0].aliases) for subject in world.subjects) > 100
    for relation in world.relations:
        assert len(relation.train_phrasings) >= 4
        assert len(relation.held_out_phrasings) >= 2
        for phrasings in (relation.train_phrasings, relation.held_out_phrasings):
            assert {text.endswith("?") for text in phrasings} == {True, False}
    for fact in world.facts:
        assert fact.value in world.relation(fact.relation).values
        assert 1 <= len(fact.value.split()) <= 4


@pytest.mark.parametrize("seed", range(3))
def test_no_name_of_a_subject_stands_inside_a_name_of_another_one(seed: int) -> None:
    world = World.generate(seed)
    owner = {normalise(name): fact.subject for fact in world.facts for name in fact.mentions}
    every = re.compile(r"\b(?:" + "|".join(map(re.escape, sorted(owner, key=len))) + r")\b")
    for name, subject in owner.items():
        for start in range(len(name)):
            if found := every.match(name, start):
                assert owner[found.group()] == subject, (name, found.group())


def test_held_out_phrasings_never_stand_in_training_text(world: World) -> None:
    held_out = {
        prompt for f in world.facts for name in f.mentions for prompt in world.held_out_prompts(f, name=name)
    }
    trained = {prompt for f in world.facts for name in f.mentions for prompt in world.prompts(f, name=name)}
    assert not held_out & trained
    corpus, rng = BaseCorpus.of(world), random.Random(0)
    for piece in itertools.islice(corpus.pieces(rng), 5000):
        asked = re.split(r"(?<=[.:?]) |(?:that|register,) ", piece.prompt)
        assert not held_out & {piece.prompt, *asked, *(part[:1].upper() + part[1:] for part in asked)}


def test_templates_are_the_usual_prompts(world: World, templates: Templates) -> None:
    assert len(templates) == len(world.relations)
    for relation in world.relations:
        assert templates.prompt(relation.name, "{subject}") == relation.train_phrasings[0]


def test_far_probes_name_no_subject_of_the_world(world: World) -> None:
    shipped = files("demo").joinpath("data", "far.jsonl").read_text(encoding="utf-8").splitlines()
    probes = [json.loads(line) for line in shipped]
    assert len(probes) >= 200
    assert [probe["prompt"] for probe in probes] == list(far_probes(len(probes)))
    names = [re.escape(name) for fact in world.facts for name in fact.mentions]
    named = re.compile(r"\b(?:" + "|".join(names) + r")\b", re.IGNORECASE)
    assert [probe["prompt"] for probe in probes if named.search(probe["prompt"])] == []


def test_every_record_of_the_stream_is_what_its_label_says(stream: DemoStream, templates: Templates) -> None:
    seen: dict[str, FactEvent] = {}
    for record in stream.records:
        event = parsed(record, templates)
        if record.outcome == "dead_lettered":
            assert event is None or seen[event.event_id] != event
        elif record.outcome == "duplicate":
            assert event is not None
            assert seen[event.event_id] == event
        else:
            assert event is not None
            assert event.event_id == record.event_id
            assert event.event_id not in seen
            seen[event.event_id] = event
    assert len(stream.records) == 320
    assert 0.04 < sum(event.priority == "urgent" for event in seen.values()) / len(seen) < 0.2
    assert {"ce_id", "content-type"} <= {name for record in stream.records for name, _ in record.headers}
    assert any(
        b'"prompt"' not in (r.value or b"") and b'"target_new"' in (r.value or b"") for r in stream.records
    )


def test_the_expectations_follow_from_the_accepted_events(
    world: World, stream: DemoStream, templates: Templates
) -> None:
    reported: dict[tuple[str, str], list[FactEvent]] = {}
    for record in stream.records:
        if record.outcome == "accepted" and (event := parsed(record, templates)) and event.relation:
            reported.setdefault((event.subject, event.relation), []).append(event)
    assert set(reported) == {(e.subject, e.relation) for e in stream.expectations}
    for expected in stream.expectations:
        events = reported[expected.subject, expected.relation]
        newest = max(events, key=lambda event: event.occurred_at)
        assert expected.state == ("live" if newest.op == "assert" else "retracted")
        truth = world.fact(expected.subject, expected.relation).value
        assert expected.value == (newest.target_new or truth)
        assert set(expected.stale) == {e.target_new for e in events if e.target_new} - {expected.value}
    courses = Counter(expected.course for expected in stream.expectations)
    assert set(courses) == {"plain", "superseded", "late", "retracted", "retracted_first", "reasserted"}
    assert sum(expected.real_news for expected in stream.expectations) >= 10


def test_scoring_prompts_are_unknown_to_the_events(stream: DemoStream, templates: Templates) -> None:
    shown: set[str] = set()
    changed = {expected.subject for expected in stream.expectations}
    for record in stream.records:
        if event := parsed(record, templates):
            shown |= {event.prompt or "", *event.rephrase_prompts, *event.locality_prompts.all()}
    for expected in stream.expectations:
        assert not shown & {*expected.held_out_prompts, *expected.relation_locality_prompts}
        assert not shown & set(expected.subject_locality_prompts)
        assert expected.subject_locality_prompts
        assert len(expected.relation_locality_prompts) == 2
        assert not any(
            f" {subject} " in text for subject in changed for text in expected.relation_locality_prompts
        )


def test_a_stream_that_the_world_cannot_fill_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="at least 300"):
        demo_stream(world, n=10)
    with pytest.raises(ValueError, match="facts that may change"):
        demo_stream(world, n=5000)


def test_the_endless_stream_is_valid_goes_on_and_moves_on_in_time(world: World, templates: Templates) -> None:
    records = list(itertools.islice(endless_stream(world, seed=3), 20_000))
    assert len(records) == 20_000
    assert records[:500] == list(itertools.islice(endless_stream(world, seed=3), 500))
    later = DEFAULT_NOW + timedelta(hours=1)
    events = [
        parse_record(r.value, r.key, r.headers, timestamp_ms=None, templates=templates, now=later)
        for r in records[:1000]
    ]
    assert {event.op for event in events} == {"assert", "retract"}
    assert events[-1].occurred_at > events[0].occurred_at
    assert len({event.event_id for event in events}) == 1000 - sum(
        r.outcome == "duplicate" for r in records[:1000]
    )


def test_facts_of_the_world_have_the_evaluators_form(world: World) -> None:
    rows = evaluation_facts(world, 50)
    assert len(rows) == 50
    for row in rows:
        fact = world.fact(row["subject"], row["relation"])
        assert row["target_new"] != row["ground_truth"] == fact.value
        assert tuple(row["rephrase_prompts"]) == world.held_out_prompts(fact)
        assert row["locality_prompts"]["relation"]
    assert len(far_probes(200)) == 200


def test_the_shipped_base_is_small_and_knows_what_its_card_says(world: World) -> None:
    from demo.training.base_model import BaseModel

    folder = Path(demo.__file__).parent / "base"
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 12_000_000
    base, rng = BaseModel.load(folder), random.Random(5)
    facts = rng.sample(world.facts, 120)
    trained = [(prompt, fact.value) for fact in facts for prompt in rng.sample(world.prompts(fact), 2)]
    held_out = [(prompt, fact.value) for fact in facts for prompt in world.held_out_prompts(fact)]
    assert base.share_right(trained) >= 0.97
    known = base.share_right(held_out)
    assert known >= 0.90
    card = (folder / "README.md").read_text(encoding="utf-8")
    reported = re.search(r"phrasings held out[^|]*\| ([0-9.]+) \|", card)
    assert reported
    assert abs(float(reported.group(1)) - known) < 0.04
