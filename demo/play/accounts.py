"""Accounts for every record that was published: what the ledger and the topics say must fit what was sent."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from daemon.ledger import Ledger
from daemon.ledger.values import Edit, EditState, RecordOutcome
from daemon.settings.tables import KafkaSettings
from demo.stream.records import StreamRecord
from demo.stream.stream import DemoStream, ExpectedAnswer
from demo.stream.topics import read_topic
from edits.text import counted

SETTLED = frozenset({EditState.LIVE, EditState.SUPERSEDED, EditState.RETRACTED, EditState.REJECTED})


@dataclass(frozen=True, slots=True)
class Accounts:
    """Where all records are; `problems` is empty if each of them is where it must be."""

    published: int
    accounted: int
    duplicates: int
    dead_lettered: int
    edits: Mapping[str, int]
    rejected: Mapping[str, str]  # prompt -> reason
    dead_letter_reasons: Mapping[str, int]
    outcomes_published: int
    problems: tuple[str, ...]


def account(stream: DemoStream, ledger: Ledger, kafka: KafkaSettings) -> Accounts:
    """Compare the ledger, the dead-letter topic and the topic of outcomes with what was published."""
    outcomes = ledger.intake.outcomes()
    edits = {edit.event_id: edit for edit in ledger.audit.facts(limit=len(stream.records))}
    settled = [
        r for r in stream.records if r.outcome == "accepted" and _is_settled(edits.get(r.event_id or ""))
    ]
    duplicates, dead = (outcomes.get(o, 0) for o in (RecordOutcome.DUPLICATE, RecordOutcome.DEAD_LETTERED))
    reasons = _dead_letters(kafka)
    shown = _described(kafka)
    states = ledger.audit.counts()
    return Accounts(
        published=len(stream.records),
        accounted=len(settled)
        + min(duplicates, stream.count("duplicate"))
        + min(dead, stream.count("dead_lettered"), sum(reasons.values())),
        duplicates=duplicates,
        dead_lettered=dead,
        edits={state.value: count for state, count in states.items() if count or state in SETTLED},
        rejected={e.prompt or "": e.reason or "" for e in edits.values() if e.state is EditState.REJECTED},
        dead_letter_reasons=reasons,
        outcomes_published=sum(shown.values()),
        problems=(
            *_wrong_outcomes(stream, outcomes),
            *_lost(stream.records, edits),
            *_wrong_facts(stream.expectations, list(edits.values())),
            *_untold(edits, shown),
            *(
                []
                if sum(reasons.values()) == dead
                else [f"{sum(reasons.values())} of {dead} dead letters arrived"]
            ),
        ),
    )


def _is_settled(edit: Edit | None) -> bool:
    return (
        edit is not None
        and edit.state in SETTLED
        and (edit.state is not EditState.REJECTED or bool(edit.reason))
    )


def _wrong_outcomes(stream: DemoStream, outcomes: Mapping[RecordOutcome, int]) -> list[str]:
    return [
        f"{counted(outcomes.get(outcome, 0), 'record', 'is', 'are')} {outcome.value}, must be {stream.count(outcome.value)}"
        for outcome in RecordOutcome
        if outcomes.get(outcome, 0) != stream.count(outcome.value)
    ]


def _lost(records: Sequence[StreamRecord], edits: Mapping[str, Edit]) -> list[str]:
    wrong = []
    for record in records:
        edit = edits.get(record.event_id or "")
        if record.outcome == "accepted" and not _is_settled(edit):
            wrong.append(f"event {record.event_id} is {edit.state.value if edit else 'not in the ledger'}")
    return wrong


def _wrong_facts(expectations: Sequence[ExpectedAnswer], edits: Sequence[Edit]) -> list[str]:
    """Facts that do not stand where their newest event says; a rejection is allowed, the scores know it."""
    states: dict[tuple[str, str | None], Counter[EditState]] = {}
    for edit in edits:
        states.setdefault((edit.subject, edit.relation), Counter())[edit.state] += 1
    wrong = []
    for fact in expectations:
        stands = states.get((fact.subject, fact.relation), Counter())
        live = 1 if fact.state == "live" and not stands[EditState.REJECTED] else 0
        if (
            stands[EditState.LIVE] > 1
            or stands[EditState.LIVE] < live
            or (fact.state == "retracted" and stands[EditState.LIVE])
        ):
            wrong.append(f"{fact.prompt!r} must be {fact.state}, but its edits are {dict(stands)}")
    return wrong


def _dead_letters(kafka: KafkaSettings) -> dict[str, int]:
    """The dead letters by reason; one that was sent twice, which is allowed, counts once."""
    origins: dict[tuple[bytes, ...], str] = {}
    for record in read_topic(kafka, kafka.dead_letters):
        headers = dict(record.headers)
        origin = tuple(headers[f"origin_{part}"] for part in ("topic", "partition", "offset"))
        origins[origin] = headers["reason_code"].decode()
    return dict(Counter(origins.values()).most_common())


def _described(kafka: KafkaSettings) -> Counter[str]:
    """How many outcomes the topic of outcomes has of each event."""
    return Counter(
        str(json.loads(record.value)["event_id"]) for record in read_topic(kafka, kafka.outcomes_topic)
    )


def _untold(edits: Mapping[str, Edit], shown: Mapping[str, int]) -> list[str]:
    silent = [event_id for event_id in edits if not shown.get(event_id)]
    return (
        [f"{counted(len(silent), 'edit', 'has', 'have')} no outcome in Kafka, such as that of {silent[0]}"]
        if silent
        else []
    )
