"""Dated facts of a timeline file as fact events: what is sent, in which order, and what is kept back for asking."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from demo.stream.records import StreamRecord, event_record

SENT = ("generic", "contextualized")
HELD_OUT = ("rephrased_1", "rephrased_2")


class BadTimeline(SystemExit):
    """The file cannot be replayed; the message names the line and what it must hold."""


@dataclass(frozen=True, slots=True)
class ValueChange:
    """From `since` on, fact number `fact` has this value."""

    fact: int
    since: datetime
    value: str

    @property
    def event_id(self) -> str:
        """The same for the same change, however often and in whatever order it is sent."""
        return f"fact-{self.fact}-{self.since.date().isoformat()}"


@dataclass(frozen=True, slots=True)
class DatedFact:
    """One subject and relation, how events ask for it, how it is asked here, and all its values, oldest first."""

    subject: str
    relation: str
    prompt: str
    rephrases: tuple[str, ...]
    held_out: tuple[str, ...]
    changes: tuple[ValueChange, ...]

    @property
    def newest(self) -> ValueChange:
        return self.changes[-1]

    def record(self, change: ValueChange) -> StreamRecord:
        """The event that tells of one of its changes."""
        return event_record(
            {
                "event_id": change.event_id,
                "subject": self.subject,
                "relation": self.relation,
                "prompt": self.prompt,
                "rephrase_prompts": list(self.rephrases),
                "target_new": change.value,
                "occurred_at": change.since.isoformat(),
            }
        )


def read_timeline(path: Path, limit: int | None = None) -> list[DatedFact]:
    """The facts of a JSON Lines file: subject, relation, prompts, timeline [[since, value], ...].

    Raises:
        BadTimeline: a line is none, or two lines are about one fact.
    """
    facts: list[DatedFact] = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip() or (limit is not None and len(facts) >= limit):
                continue
            try:
                facts.append(_fact(len(facts), json.loads(line)))
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise BadTimeline(f"{path}, line {number}: {type(error).__name__}: {error}") from error
    if len({(fact.subject, fact.relation) for fact in facts}) != len(facts):
        raise BadTimeline(f"{path}: one subject and relation stands in two lines")
    if not facts:
        raise BadTimeline(f"{path} holds no facts")
    return facts


def waves(changes: Sequence[ValueChange], count: int) -> list[list[ValueChange]]:
    """The changes in their order, in `count` parts of about equal size; of fewer changes, one each."""
    parts = min(count, len(changes))
    edges = [len(changes) * number // parts for number in range(parts + 1)]
    return [list(changes[start:end]) for start, end in pairwise(edges)]


def in_order(facts: Sequence[DatedFact]) -> list[ValueChange]:
    """All changes by date."""
    return sorted(_all(facts), key=lambda change: change.since)


def shuffled(facts: Sequence[DatedFact], *, duplicates: float, seed: int) -> list[ValueChange]:
    """All changes in random order, that share of them twice, wherever it falls."""
    generator = random.Random(seed)
    changes = list(_all(facts))
    changes += generator.sample(changes, round(duplicates * len(changes)))
    generator.shuffle(changes)
    return changes


def _all(facts: Sequence[DatedFact]) -> Iterator[ValueChange]:
    return (change for fact in facts for change in fact.changes)


def _fact(number: int, row: dict[str, Any]) -> DatedFact:
    subject, prompts = row["subject"], row["prompts"]
    sent = [prompts[name] for name in SENT if name in prompts]
    if not sent:
        raise ValueError(f"none of the prompts {', '.join(SENT)}")
    # An event's prompt must name its subject; a phrasing that does not may still be among the others.
    sent.sort(key=lambda prompt: subject.casefold() not in prompt.casefold())
    held_out = tuple(prompts[name] for name in HELD_OUT if prompts.get(name, sent[0]) not in sent)
    if not held_out:
        raise ValueError(f"none of the prompts {', '.join(HELD_OUT)}, or events bring them too")
    return DatedFact(
        subject, row["relation"], sent[0], tuple(sent[1:]), held_out, _changes(number, row["timeline"])
    )


def _changes(number: int, timeline: Sequence[Sequence[str]]) -> tuple[ValueChange, ...]:
    """Without values that held for no time, and without news that a value stays what it was."""
    dated = sorted(
        (ValueChange(number, _moment(since), value.strip()) for since, value in timeline),
        key=lambda c: c.since,
    )
    # Of two values of one day no order of arrival may decide: the one listed last is what held.
    lasting = [list(same_day)[-1] for _, same_day in groupby(dated, key=lambda c: c.since)]
    changes = tuple(next(same_value) for _, same_value in groupby(lasting, key=lambda c: c.value))
    if not changes:
        raise ValueError("its timeline is empty")
    return changes


def _moment(since: str) -> datetime:
    moment = datetime.fromisoformat(since)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
