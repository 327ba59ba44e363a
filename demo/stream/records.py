"""Writes fact events as Kafka records: plain JSON, or in a CloudEvents 1.0 envelope."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Outcome = Literal["accepted", "duplicate", "dead_lettered"]
Form = Literal["plain", "structured", "binary"]
SOURCE = "urn:upkeep:demo"
EVENT_TYPE = "upkeep.fact.changed"


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One record to publish, what must become of it, and why, in words for a reader."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    outcome: Outcome = "accepted"
    event_id: str | None = None
    story: str = ""


def moment(at: datetime) -> str:
    """The time as an event writes it: UTC, whole milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_record(event: dict[str, Any], *, form: Form = "plain", story: str = "") -> StreamRecord:
    """The record of an event; in an envelope, id, time and source stand there instead of in the event."""
    key, event_id = event["subject"].encode(), event["event_id"]
    if form == "plain":
        return StreamRecord(key, _json(event), (), "accepted", event_id, story)
    envelope = {
        "specversion": "1.0",
        "id": event_id,
        "source": SOURCE,
        "type": EVENT_TYPE,
        "time": event["occurred_at"],
    }
    outside = ("event_id", "occurred_at", "source")
    data = {name: value for name, value in event.items() if name not in outside}
    headers: tuple[tuple[str, bytes], ...]
    if form == "structured":
        value = _json({**envelope, "datacontenttype": "application/json", "data": data})
        headers = (("content-type", b"application/cloudevents+json; charset=utf-8"),)
    else:
        value = _json(data)
        attributes = tuple((f"ce_{name}", text.encode()) for name, text in envelope.items())
        headers = (*attributes, ("content-type", b"application/json"))
    return StreamRecord(key, value, headers, "accepted", event_id, story)


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()
