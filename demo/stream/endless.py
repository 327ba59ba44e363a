"""An endless stream of changes over time: for `upkeep demo --stream` and for load."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from demo.stream.records import SOURCE, StreamRecord, moment
from demo.stream.stream import DEFAULT_NOW
from demo.world.world import Fact, World


def endless_stream(
    world: World, seed: int = 0, *, start: datetime = DEFAULT_NOW, seconds_between: float = 1.0
) -> Iterator[StreamRecord]:
    """Changes for ever, in order of arrival: mostly news, some of it late, some retractions and repetitions.

    Time passes from `start` on by `seconds_between` events on average. Over 20,000 a second.
    """
    rng = random.Random(f"endless {seed}")
    prepared = [_Prepared.of(world, fact) for fact in world.facts]
    at, number, last = start, 0, None
    while True:
        at += timedelta(seconds=rng.expovariate(1.0) * seconds_between)
        chance = rng.random()
        if last is not None and chance < 0.01:
            yield replace(last, outcome="duplicate", story="the same record once more")
            continue
        number += 1
        fact = prepared[int(rng.random() * len(prepared))]
        late = timedelta(seconds=rng.random() * 3600) if chance < 0.05 else timedelta()
        value = None if chance > 0.98 else fact.values[int(rng.random() * len(fact.values))]
        last = fact.record(f"endless-{seed}-{number}", value, moment(at - late), urgent=rng.random() < 0.1)
        yield last


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A fact whose events are written by joining texts: no JSON encoder in the loop."""

    key: bytes
    assertion: str
    retraction: str
    values: tuple[str, ...]

    @classmethod
    def of(cls, world: World, fact: Fact) -> "_Prepared":
        named = {"subject": fact.subject, "relation": fact.relation, "schema_version": 1, "source": SOURCE}
        written = {
            "prompt": world.prompt(fact),
            "ground_truth": fact.value,
            "aliases": list(fact.aliases),
            "rephrase_prompts": [world.prompt(fact, 2)],
        }
        return cls(
            fact.subject.encode(),
            json.dumps({"op": "assert", **named, **written}, ensure_ascii=False)[:-1],
            json.dumps({"op": "retract", **named}, ensure_ascii=False)[:-1],
            tuple(json.dumps(value, ensure_ascii=False) for value in world.other_values(fact)),
        )

    def record(self, event_id: str, value: str | None, occurred_at: str, *, urgent: bool) -> StreamRecord:
        """One event; `value` is already JSON, None means a retraction."""
        fields = self.retraction if value is None else f'{self.assertion}, "target_new": {value}'
        priority = "urgent" if urgent else "batch"
        text = (
            f'{fields}, "event_id": "{event_id}", "occurred_at": "{occurred_at}", "priority": "{priority}"}}'
        )
        return StreamRecord(self.key, text.encode(), (), "accepted", event_id)
