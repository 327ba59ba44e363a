"""CloudEvents 1.0: take a fact event out of its envelope, structured or binary."""

from collections.abc import Mapping, Sequence
from typing import Any

from daemon.events.strict_json import EventRejected
from edits.text import printable

Header = tuple[str, bytes | None]

SPECVERSION = "1.0"
STRUCTURED = "application/cloudevents"

# What the envelope says where the event itself does not.
_FILLED_FROM_ENVELOPE = {"event_id": "id", "occurred_at": "time", "source": "source"}


def unwrap(content: Any, headers: Sequence[Header]) -> dict[str, Any]:
    """The event's own fields, completed from the envelope if there is one; a fresh dict.

    Structured mode: the content type says so, or the object has a `specversion`. Binary mode: `ce_` headers.
    Else the content is the plain event.

    Raises:
        EventRejected: the content is no object, or its envelope is no CloudEvents 1.0 with JSON data.
    """
    content_type = _content_type(headers)
    if content_type.startswith(STRUCTURED) and content_type != STRUCTURED + "+json":
        raise EventRejected(
            "unsupported_content_type",
            f"content-type {printable(content_type, 80)!r}: one event per record, as {STRUCTURED}+json",
        )
    if not isinstance(content, dict):
        raise EventRejected("wrong_type", f"the value is a JSON {_kind(content)}; it must be an object")
    attributes = _binary_attributes(headers)
    if content_type.startswith(STRUCTURED) or (not attributes and "specversion" in content):
        return _completed(_structured_data(content), content)
    if attributes:
        _require_json(content_type, "content-type")
        return _completed(content, attributes)
    return dict(content)


def _structured_data(envelope: Mapping[str, Any]) -> Mapping[str, Any]:
    if "data_base64" in envelope:
        raise EventRejected(
            "cloudevent_data_base64", "data_base64 is not read: put the event into data, as JSON"
        )
    data_type = envelope.get("datacontenttype")
    if data_type is not None and not isinstance(data_type, str):
        raise EventRejected("wrong_type", "datacontenttype must be a text")
    _require_json(_media_type(data_type or ""), "datacontenttype")
    if envelope.get("data") is None:
        raise EventRejected("cloudevent_without_data", "the CloudEvent has no data")
    data = envelope["data"]
    if not isinstance(data, dict):
        raise EventRejected(
            "wrong_type", f"the CloudEvent's data is a JSON {_kind(data)}; it must be an object"
        )
    return data


def _completed(data: Mapping[str, Any], attributes: Mapping[str, Any]) -> dict[str, Any]:
    version = attributes.get("specversion")
    if version != SPECVERSION:
        found = "no specversion" if version is None else f"specversion {printable(str(version), 40)!r}"
        raise EventRejected(
            "unknown_specversion", f'the CloudEvent has {found}; Upkeep reads "{SPECVERSION}"'
        )
    if not isinstance(attributes.get("id"), str) or not attributes["id"]:
        raise EventRejected("cloudevent_without_id", "the CloudEvent has no id, or one that is no text")
    fields = dict(data)
    for field, attribute in _FILLED_FROM_ENVELOPE.items():
        if fields.get(field) is None and attributes.get(attribute) is not None:
            fields[field] = attributes[attribute]
    return fields


def _binary_attributes(headers: Sequence[Header]) -> dict[str, str]:
    attributes = {}
    for name, value in headers:
        if name.lower().startswith("ce_"):
            try:
                attributes[name.lower().removeprefix("ce_")] = (value or b"").decode("utf-8")
            except UnicodeDecodeError:
                raise EventRejected("bad_utf8", f"the header {printable(name, 60)!r} is not UTF-8") from None
    return attributes


def _content_type(headers: Sequence[Header]) -> str:
    for name, value in headers:
        if name.lower() == "content-type":
            return _media_type((value or b"").decode("utf-8", "replace"))
    return ""


def _media_type(text: str) -> str:
    return text.partition(";")[0].strip().lower()


def _require_json(media_type: str, name: str) -> None:
    if media_type and not (media_type in ("application/json", "text/json") or media_type.endswith("+json")):
        raise EventRejected(
            "unsupported_content_type", f"{name} {printable(media_type, 80)!r}: only JSON is read"
        )


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}[
        type(value)
    ]
