"""Write consumed Kafka records down: a redelivery changes nothing, and no record goes unaccounted for."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from daemon.events.fact_event import FactEvent, fact_key, prompt_key
from daemon.ledger.store.database import Database
from daemon.ledger.store.rows import chunks, clip
from daemon.ledger.store.schema import edit_names, edit_words, edits, record_counts, records
from daemon.ledger.store.schema.columns import REASON_CHARS
from daemon.ledger.store.transitions import admit
from daemon.ledger.store.words import words_of
from daemon.ledger.values import ConsumedRecord, EditState, IntakeReport, RecordOutcome
from edits.recency import by_arrival

_Place = tuple[str, int, int, str]  # topic, partition, offset, digest
_Verdict = tuple[RecordOutcome, str | None]

EVENT_ID_REUSED = "event_id was used before with other content"


class Intake:
    """The ledger's door for the consumer."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def record(self, batch: Sequence[ConsumedRecord]) -> IntakeReport:
        """Give every record its outcome, in one transaction; accepted events become pending edits.

        A record is known by topic, partition, offset and digest, so a topic that was deleted and made again
        is read as new. An event is known by its `event_id`: the same content again is a duplicate. A time
        that the sender left to Kafka differs with each sending, so `occurred_at` is no part of the content.

        Raises:
            LedgerUnavailable: nothing was kept; the same records may be given again.
        """
        if not batch:
            return IntakeReport((), ())
        with self._database.write() as connection:
            return _Intake(connection, self._clock()).run(batch)

    def known(self, event_ids: Sequence[str]) -> dict[str, str]:
        """Those of the event ids that an edit has, with the digest of its content (`content_digest`)."""
        found: dict[str, str] = {}
        with self._database.read() as connection:
            for part in chunks(sorted(set(event_ids))):
                query = select(edits.c.event_id, edits.c.content_digest).where(edits.c.event_id.in_(part))
                found.update((row.event_id, row.content_digest) for row in connection.execute(query))
        return found

    def backlog(self) -> int:
        """How many edits wait: pending or planned."""
        waiting = [EditState.PENDING.value, EditState.PLANNED.value]
        with self._database.read() as connection:
            count = select(func.count()).select_from(edits).where(edits.c.state.in_(waiting))
            return int(connection.execute(count).scalar_one())

    def outcomes(self) -> dict[RecordOutcome, int]:
        """How many different records had each outcome, redeliveries not counted."""
        with self._database.read() as connection:
            rows = connection.execute(select(record_counts.c.outcome, record_counts.c.records))
            return {RecordOutcome(row.outcome): int(row.records) for row in rows}


class _Intake:
    """One transaction's worth of records."""

    def __init__(self, connection: Connection, at: datetime) -> None:
        self._connection = connection
        self._at = at
        self._verdicts: dict[_Place, _Verdict] = {}
        self._contents: dict[str, str] = {}  # event id -> content digest
        self._new_records: list[dict[str, Any]] = []
        self._new_edits: list[tuple[FactEvent, dict[str, Any]]] = []

    def run(self, batch: Sequence[ConsumedRecord]) -> IntakeReport:
        # Two consumers take turns here, or both could find the same event_id unused.
        self._connection.execute(select(record_counts).order_by(record_counts.c.outcome).with_for_update())
        self._load_known_records(batch)
        self._load_known_events(record.event.event_id for record in batch if record.event is not None)
        redelivered = 0
        verdicts: list[_Verdict] = []
        for record in batch:
            place = (record.topic, record.partition, record.offset, record.digest)
            verdict = self._verdicts.get(place)
            if verdict is None:
                verdict = self._verdicts[place] = self._judge(record)
                self._new_records.append(self._record_row(record, verdict))
            else:
                redelivered += 1
            verdicts.append(verdict)
        self._write()
        return IntakeReport(
            outcomes=tuple(outcome for outcome, _ in verdicts),
            reasons=tuple(reason for _, reason in verdicts),
            redelivered=redelivered,
        )

    def _load_known_records(self, batch: Sequence[ConsumedRecord]) -> None:
        offsets: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
        for record in batch:
            offsets[record.topic, record.partition].add(record.offset)
        for (topic, partition), wanted in offsets.items():
            for part in chunks(sorted(wanted)):
                rows = self._connection.execute(
                    select(records.c.offset, records.c.digest, records.c.outcome, records.c.reason).where(
                        records.c.topic == topic,
                        records.c.partition == partition,
                        records.c.offset.between(
                            part[0], part[-1]
                        ),  # bounds the index scan, whatever the plan
                        records.c.offset.in_(part),
                    )
                )
                for offset, digest, outcome, reason in rows:
                    self._verdicts[topic, partition, offset, digest] = (RecordOutcome(outcome), reason)

    def _load_known_events(self, event_ids: Iterable[str]) -> None:
        for part in chunks(sorted(set(event_ids))):
            rows = self._connection.execute(
                select(edits.c.event_id, edits.c.content_digest).where(edits.c.event_id.in_(part))
            )
            self._contents.update((row.event_id, row.content_digest) for row in rows)

    def _judge(self, record: ConsumedRecord) -> _Verdict:
        event = record.event
        if event is None:
            reason = record.rejection or "the record holds no fact event"
            return RecordOutcome.DEAD_LETTERED, clip(reason, REASON_CHARS)
        payload = event.model_dump(mode="json")
        digest = content_digest(payload)
        known = self._contents.get(event.event_id)
        if known is None:
            self._contents[event.event_id] = digest
            self._new_edits.append((event, _edit_row(record, event, payload, digest)))
            return RecordOutcome.ACCEPTED, None
        if known == digest:
            return RecordOutcome.DUPLICATE, None
        return RecordOutcome.DEAD_LETTERED, EVENT_ID_REUSED

    def _record_row(self, record: ConsumedRecord, verdict: _Verdict) -> dict[str, Any]:
        outcome, reason = verdict
        return {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "digest": record.digest,
            "event_id": record.event.event_id if record.event is not None else None,
            "outcome": outcome.value,
            "reason": reason,
            "at": self._at,
        }

    def _write(self) -> None:
        if self._new_records:
            self._connection.execute(insert(records), self._new_records)
        for outcome, count in Counter(row["outcome"] for row in self._new_records).items():
            self._connection.execute(
                update(record_counts)
                .where(record_counts.c.outcome == outcome)
                .values(records=record_counts.c.records + count)
            )
        if self._new_edits:
            self._write_edits()

    def _write_edits(self) -> None:
        inserted = self._connection.execute(
            insert(edits).returning(edits.c.id, edits.c.event_id), [row for _, row in self._new_edits]
        )
        ids = {event_id: edit_id for edit_id, event_id in inserted}
        admit(self._connection, by_arrival(ids.values()), cause="event accepted", at=self._at)
        self._connection.execute(
            insert(edit_names),
            [
                {"name_key": key, "edit_id": ids[event.event_id]}
                for event, _ in self._new_edits
                for key in sorted({name_key(name) for name in (event.subject, *event.aliases)})
            ],
        )
        self._connection.execute(
            insert(edit_words),
            [
                {"word": word, "edit_id": ids[event.event_id]}
                for event, _ in self._new_edits
                for word in words_of(
                    (event.subject, *event.aliases, event.target_new, event.prompt, event.relation)
                )
            ],
        )


def name_key(name: str) -> str:
    """The form in which subjects and aliases are looked up: as prompts are compared."""
    return prompt_key(name)


def content_digest(payload: dict[str, Any]) -> str:
    """What tells an event that was sent again from another one of the same id; `payload` is its JSON."""
    content = {name: value for name, value in payload.items() if name != "occurred_at"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _edit_row(
    record: ConsumedRecord, event: FactEvent, payload: dict[str, Any], digest: str
) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "content_digest": digest,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "op": event.op,
        "state": EditState.PENDING.value,
        "lane": event.priority,
        "subject": event.subject,
        "relation": event.relation,
        "prompt": event.prompt,
        "target_new": event.target_new,
        "occurred_at": event.occurred_at,
        "fact_key": fact_key(event),
        "prompt_key": prompt_key(event.prompt) if event.prompt is not None else None,
        "event": payload,
        "attempts": 0,
    }
