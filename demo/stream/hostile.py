"""Records that nobody should send and somebody will: each must end as a dead letter, with a reason."""

import json
from datetime import datetime, timedelta
from typing import Any

from demo.stream.records import StreamRecord, moment


def hostile_records(now: datetime) -> tuple[StreamRecord, ...]:
    """One record of each kind; all but the raw ones differ from a good event in exactly one thing."""

    def good(number: int) -> dict[str, Any]:
        return {
            "event_id": f"hostile-{number}",
            "op": "assert",
            "subject": "Atlantis",
            "relation": "capital",
            "prompt": "The capital of Atlantis is",
            "target_new": "Paris",
            "occurred_at": moment(now),
            "schema_version": 1,
        }

    raw: tuple[tuple[str, bytes | None], ...] = (
        ("bytes that are no UTF-8", b'{"subject": "Atl\xff\xfe\xc3antis"}'),
        ("JSON cut off in the middle", json.dumps(good(1)).encode()[:70]),
        ("nested 50,000 deep", b"[" * 50_000 + b"]" * 50_000),
        ("not a number", json.dumps(good(3) | {"target_new": float("nan")}).encode()),
        ("a list instead of an object", b'["assert", "Atlantis", "Paris"]'),
        ("one key twice", b'{"event_id": "a", "event_id": "b"}'),
        ("an empty value", None),
        ("a page of HTML", b"<html><body>502 Bad Gateway</body></html>"),
    )
    changed: tuple[tuple[str, dict[str, Any]], ...] = (
        ("a target of 4,000 letters", {"target_new": "Paris" * 800}),
        ("an unknown schema_version", {"schema_version": 7}),
        ("a prompt that does not name its subject", {"prompt": "The capital of Lemuria is"}),
        ("an assertion without target", {"target_new": None}),
        ("a relation without template, and no prompt", {"prompt": None, "relation": "patron_saint"}),
        ("aliases that are a number", {"aliases": 42}),
        ("a field that nobody knows", {"exec": "rm -rf /"}),
        ("a year in the far future", {"occurred_at": moment(now + timedelta(days=4000))}),
        ("half a surrogate pair", {"target_new": "Pa\ud800ris"}),
        ("the character NUL", {"target_new": "Pa\x00ris"}),
    )
    spoiled = (
        (story, json.dumps(good(100 + i) | change).encode()) for i, (story, change) in enumerate(changed)
    )
    return tuple(
        StreamRecord(b"Atlantis", value, (), "dead_lettered", None, story)
        for story, value in (*raw, *spoiled)
    )
