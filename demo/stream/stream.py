"""The demo's change stream: what is published to Kafka, and what must become of every fact."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

from demo.stream.hostile import hostile_records
from demo.stream.records import SOURCE, Form, StreamRecord, event_record, moment
from demo.world.general import far_probes
from demo.world.selection import Selection, select
from demo.world.world import Fact, World

MIN_RECORDS = 300
DEFAULT_NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)

Course = Literal["plain", "superseded", "late", "retracted", "retracted_first", "reasserted"]
# Each course as its events in the order of arrival: what is done, and its place in the order of occurrence.
COURSES: dict[Course, tuple[tuple[Literal["assert", "retract"], int], ...]] = {
    "plain": (("assert", 0),),
    "superseded": (("assert", 0), ("assert", 1)),
    "late": (("assert", 1), ("assert", 0)),
    "retracted": (("assert", 0), ("retract", 1)),
    "retracted_first": (("retract", 1), ("assert", 0)),
    "reasserted": (("assert", 0), ("retract", 1), ("assert", 2)),
}
# How many of 100 changed facts take each course; all others are changed once.
COURSE_SHARES: dict[Course, int] = {
    "superseded": 9,
    "late": 6,
    "retracted": 4,
    "retracted_first": 3,
    "reasserted": 2,
}
STORIES: dict[Course, tuple[str, ...]] = {
    "plain": ("a changed fact",),
    "superseded": ("a fact that will change again", "the same fact changes again"),
    "late": ("a changed fact", "older news of the same fact, arriving late"),
    "retracted": ("a fact that will be taken back", "the fact is taken back"),
    "retracted_first": (
        "a retraction that overtook its assertion",
        "an assertion that is already taken back",
    ),
    "reasserted": ("a fact that will be taken back", "the fact is taken back", "and is asserted anew"),
}


@dataclass(frozen=True, slots=True)
class ExpectedAnswer:
    """How one changed fact must stand when the whole stream has been applied, and the prompts to score it by.

    `value` is the answer that must be generated: the newest one, or the base's where the fact was retracted.
    `stale` are older or retracted values, which must not be generated. All prompts but `prompt` are unknown
    to the stream's events; the locality prompts concern nothing that any event changes.
    """

    subject: str
    relation: str
    prompt: str
    state: Literal["live", "retracted"]
    value: str
    ground_truth: str
    stale: tuple[str, ...]
    course: Course
    real_news: bool
    held_out_prompts: tuple[str, ...]
    relation_locality_prompts: tuple[str, ...]
    subject_locality_prompts: tuple[str, ...]


@dataclass(frozen=True)
class DemoStream:
    """The records in order of arrival, what each changed fact must be at the end, and unrelated probes."""

    records: tuple[StreamRecord, ...]
    expectations: tuple[ExpectedAnswer, ...]
    far_prompts: tuple[str, ...]

    def count(self, outcome: str) -> int:
        """How many records must end as `accepted`, `duplicate` or `dead_lettered`."""
        return sum(record.outcome == outcome for record in self.records)


@dataclass(frozen=True, slots=True)
class _Change:
    """One fact's events in order of arrival, and what they must lead to."""

    records: tuple[StreamRecord, ...]
    expectation: ExpectedAnswer


def demo_stream(world: World, seed: int = 0, n: int = 320, *, now: datetime = DEFAULT_NOW) -> DemoStream:
    """Exactly `n` records; the same for the same world, seed, n and now. Nothing occurs after `now`.

    Raises:
        ValueError: fewer than 300 records, or more than the world has facts for.
    """
    if n < MIN_RECORDS:
        raise ValueError(f"the demo's stream has at least {MIN_RECORDS} records, not {n}")
    rng = random.Random(f"stream {seed}")
    hostile, duplicates = hostile_records(now), n // 25
    events = n - len(hostile) - duplicates - 1  # 1: an event_id that is used again
    courses = _courses(events, rng)
    selection = select(world, rng, len(courses))
    writer = _Writer(world, selection, rng, seed, now)
    changes = [writer.change(fact, course) for fact, course in zip(selection.changed, courses, strict=True)]
    records = _interleaved([change.records for change in changes] + [(bad,) for bad in hostile], rng)
    records = _with_repetitions(records, duplicates, rng)
    return DemoStream(tuple(records), tuple(change.expectation for change in changes), far_probes(200, seed))


def _courses(events: int, rng: random.Random) -> list[Course]:
    """Courses with exactly `events` events in all; the first ones are plain: true news is told once."""
    per_hundred = 100 + sum((len(COURSES[name]) - 1) * share for name, share in COURSE_SHARES.items())
    facts = events * 100 // per_hundred
    courses: list[Course] = [
        name for name, share in COURSE_SHARES.items() for _ in range(max(1, facts * share // 100))
    ]
    rng.shuffle(courses)
    plain: list[Course] = ["plain"] * (events - sum(len(COURSES[name]) for name in courses))
    return plain + courses


def _interleaved(sequences: Sequence[Sequence[StreamRecord]], rng: random.Random) -> list[StreamRecord]:
    """All records mixed, each sequence in its own order."""
    turns = [turn for turn, sequence in enumerate(sequences) for _ in sequence]
    rng.shuffle(turns)
    sources = [iter(sequence) for sequence in sequences]
    return [next(sources[turn]) for turn in turns]


def _with_repetitions(records: list[StreamRecord], count: int, rng: random.Random) -> list[StreamRecord]:
    """`count` records sent twice and one event_id used for something else, all behind their originals."""
    originals = rng.sample([i for i, record in enumerate(records) if record.outcome == "accepted"], count + 1)
    behind: dict[int, StreamRecord] = {}
    for number, original in enumerate(originals):
        record = records[original]
        if number == count:
            value = (record.value or b"").replace(b'"target_new": "', b'"target_new": "not ')
            value = value.replace(b'"op": "retract"', b'"op": "retract", "source": "urn:somebody:else"')
            again = replace(record, value=value, outcome="dead_lettered", story="an event_id used again")
        else:
            again = replace(record, outcome="duplicate", story="the same record once more")
        free = [i for i in range(original, len(records)) if i not in behind]
        behind[rng.choice(free)] = again
    result = []
    for i, record in enumerate(records):
        result.append(record)
        if i in behind:
            result.append(behind[i])
    return result


@dataclass(frozen=True)
class _Writer:
    """Writes the events of one stream."""

    world: World
    selection: Selection
    rng: random.Random
    seed: int
    now: datetime

    def change(self, fact: Fact, course: Course) -> _Change:
        """The fact's events along this course, with new values that all differ."""
        rng, steps = self.rng, COURSES[course]
        news = {(c.subject, c.relation): c for c in self.world.true_changes}.get(fact.key)
        news = None if news is None or _noon(news.day) > self.now else news
        values = rng.sample(self.world.other_values(fact), len(steps))
        begun, pause = (
            self.now - timedelta(hours=rng.uniform(24, 200)),
            timedelta(minutes=rng.uniform(30, 300)),
        )
        times = [begun + pause * order for _, order in steps]
        if news is not None:
            values, times = [news.value], [_noon(news.day)]
        prompt_words = rng.randrange(3)
        records = tuple(
            self._record(fact, op, value, at, prompt_words, STORIES[course][i])
            for i, ((op, _), value, at) in enumerate(zip(steps, values, times, strict=True))
        )
        newest = max(range(len(steps)), key=lambda i: steps[i][1])
        asserted = [value for (op, _), value in zip(steps, values, strict=True) if op == "assert"]
        live = steps[newest][0] == "assert"
        value = values[newest] if live else fact.value
        return _Change(
            records,
            ExpectedAnswer(
                subject=fact.subject,
                relation=fact.relation,
                prompt=self.world.prompt(fact, prompt_words),
                state="live" if live else "retracted",
                value=value,
                ground_truth=fact.value,
                stale=tuple(old for old in asserted if old != value),
                course=course,
                real_news=news is not None,
                held_out_prompts=self.world.held_out_prompts(fact),
                relation_locality_prompts=self.selection.relation_prompts(fact, rng, 2, for_scoring=True),
                subject_locality_prompts=self.selection.subject_prompts(fact, rng, 2, for_scoring=True),
            ),
        )

    def _record(self, fact: Fact, op: str, value: str, at: datetime, words: int, story: str) -> StreamRecord:
        rng = self.rng
        event: dict[str, Any] = {
            "event_id": f"demo-{self.seed}-{rng.getrandbits(64):016x}",
            "op": op,
            "subject": fact.subject,
            "relation": fact.relation,
            "occurred_at": moment(at),
            "source": SOURCE,
            "schema_version": 1,
        }
        if op == "assert":
            event |= self._assertion(fact, value, words)
        event["priority"] = "urgent" if rng.random() < 0.1 else "batch"
        form: Form = rng.choices(("plain", "structured", "binary"), (8, 1, 1))[0]
        return event_record(event, form=form, story=story)

    def _assertion(self, fact: Fact, value: str, words: int) -> dict[str, Any]:
        """What only an assertion says; now and then the prompt is left to the relation's template."""
        rng, selection = self.rng, self.selection
        others = [text for text in self.world.prompts(fact) if text != self.world.prompt(fact, words)]
        body: dict[str, Any] = {
            "prompt": self.world.prompt(fact, words),
            "target_new": value,
            "ground_truth": fact.value,
            "aliases": list(fact.aliases),
            "rephrase_prompts": rng.sample(others, rng.randint(1, 2)),
            "locality_prompts": {
                "far": [],
                "relation": list(selection.relation_prompts(fact, rng, 2, for_scoring=False)),
                "subject": list(selection.subject_prompts(fact, rng, 1, for_scoring=False)),
            },
        }
        usual = self.world.relation(fact.relation).train_phrasings[0].replace("{subject}", fact.subject)
        if words == 0 and usual == body["prompt"] and rng.random() < 0.15:
            del body["prompt"]
        return body


def _noon(day: date) -> datetime:
    return datetime.combine(day, time(12), tzinfo=UTC)
