"""Which alerts a Prometheus fires now; one that is away, slow or strange is said to be so, and delays no page for long."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

TIMEOUT_SECONDS = 2.0
MAX_ANSWER_BYTES = 1 << 20
MAX_ALERTS = 50


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that fires."""

    name: str
    severity: str
    summary: str
    since: str


@dataclass(frozen=True, slots=True)
class Alerts:
    """The alerts that fire; `problem` says why they are not known."""

    firing: Sequence[Alert] = ()
    problem: str | None = None


def firing_alerts(prometheus: str) -> Alerts:
    """Ask a Prometheus at its address; never raises."""
    url = f"{prometheus.rstrip('/')}/api/v1/alerts"
    try:
        answer = json.loads(_read(url))
        found = [_alert(one) for one in answer["data"]["alerts"] if one.get("state") == "firing"]
    except httpx.HTTPError as error:
        return Alerts(problem=f"Prometheus does not answer: {type(error).__name__}")
    except (ValueError, KeyError, TypeError, AttributeError):
        return Alerts(problem="what Prometheus answers is no list of alerts")
    return Alerts(sorted(found, key=lambda alert: (alert.severity != "critical", alert.name))[:MAX_ALERTS])


def _read(url: str) -> bytes:
    """
    Raises:
        ValueError: the answer is too long.
        httpx.HTTPError: there is none, or it is an error.
    """
    body = bytearray()
    with httpx.stream("GET", url, timeout=TIMEOUT_SECONDS, follow_redirects=False) as answer:
        answer.raise_for_status()
        for piece in answer.iter_bytes():
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                raise ValueError("too long")
    return bytes(body)


def _alert(listed: Any) -> Alert:
    labels, notes = listed["labels"], listed.get("annotations") or {}
    return Alert(
        name=str(labels["alertname"]),
        severity=str(labels.get("severity", "")),
        summary=str(notes.get("summary") or notes.get("description") or ""),
        since=str(listed.get("activeAt", ""))[:19].replace("T", " "),
    )
