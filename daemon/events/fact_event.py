"""The fact event: what a Kafka record must say so that Upkeep changes a fact, and how one is read.

`python -m daemon.events.fact_event` prints the JSON Schema that stands in docs/fact-event.schema.json.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from daemon.events.cloudevents import Header, unwrap
from daemon.events.strict_json import EventRejected, read_json, without_nulls
from daemon.events.templates import Templates
from edits.names.naming import NO_SUBJECT, NamingFault, names_subject, naming_fault
from edits.rules import (
    MAX_ALIASES,
    MAX_ID_CHARS,
    MAX_LOCALITY_PROMPTS,
    MAX_NAME_CHARS,
    MAX_PROMPT_CHARS,
    MAX_RELATION_CHARS,
    MAX_REPHRASES,
    why_not_one_line,
    why_not_storable,
)
from edits.text import normalise, printable

__all__ = [
    "MAX_FUTURE_DAYS",
    "MAX_VALUE_BYTES",
    "EventRejected",
    "FactEvent",
    "LocalityPrompts",
    "event_json_schema",
    "fact_key",
    "fact_key_of",
    "parse_record",
    "prompt_key",
]

MAX_VALUE_BYTES = 1 << 20
# Room for a local time sent as UTC. Until its time has come, an event outranks its corrections.
MAX_FUTURE_DAYS = 1
MAX_KEY_CHARS = 200

_SEPARATOR = "\x1f"  # counts as white space, so no normalised text holds it


def _storable(text: str) -> str:
    if (reason := why_not_storable(text)) is not None:
        raise PydanticCustomError("bad_text", "{reason}", {"reason": reason})
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("empty_text", "must not be blank")
    return text


def _one_line(text: str) -> str:
    if (reason := why_not_one_line(text)) is not None:
        raise PydanticCustomError("line_break", "{reason}", {"reason": reason})
    return text


def _moment(value: object) -> datetime:
    """An ISO 8601 text or a datetime, as aware UTC; without an offset it is UTC already."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip().upper())
        except ValueError:
            raise PydanticCustomError(
                "bad_time", 'must be an ISO 8601 time like "2026-05-01T12:00:00Z"'
            ) from None
    if not isinstance(value, datetime):
        raise PydanticCustomError("wrong_type", 'must be a text like "2026-05-01T12:00:00Z"')
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (OverflowError, ValueError):
        raise PydanticCustomError("bad_time", "lies outside the years 1 to 9999") from None


def _known_version(value: object) -> int:
    if value in ("1", "1.0") or (value == 1 and type(value) is int):
        return 1
    raise PydanticCustomError("unknown_schema_version", "unknown schema_version: this Upkeep reads version 1")


def _locality(value: object) -> object:
    if isinstance(value, dict):
        return without_nulls(value)
    return {"relation": value} if isinstance(value, list | tuple) else value


def _text(limit: int, *, strip: bool) -> Any:
    return StringConstraints(min_length=1, max_length=limit, strip_whitespace=strip)


EventId = Annotated[
    str, _text(MAX_ID_CHARS, strip=False), AfterValidator(_not_blank), AfterValidator(_storable)
]
Name = Annotated[str, _text(MAX_NAME_CHARS, strip=True), AfterValidator(_storable)]
Relation = Annotated[str, _text(MAX_RELATION_CHARS, strip=True), AfterValidator(_storable)]
Target = Annotated[
    str, _text(MAX_NAME_CHARS, strip=True), AfterValidator(_storable), AfterValidator(_one_line)
]
Prompt = Annotated[
    str, _text(MAX_PROMPT_CHARS, strip=False), AfterValidator(_not_blank), AfterValidator(_storable)
]
Moment = Annotated[
    datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})
]


class LocalityPrompts(BaseModel):
    """Prompts whose answer must stay the base's: unrelated, same relation, same subject."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    far: tuple[Prompt, ...] = Field(
        default=(), max_length=MAX_LOCALITY_PROMPTS, description="Unrelated text and questions."
    )
    relation: tuple[Prompt, ...] = Field(
        default=(), max_length=MAX_LOCALITY_PROMPTS, description="Same relation, other subject."
    )
    subject: tuple[Prompt, ...] = Field(
        default=(), max_length=MAX_LOCALITY_PROMPTS, description="Same subject, other relation."
    )

    def all(self) -> tuple[str, ...]:
        """The prompts of all three kinds."""
        return (*self.far, *self.relation, *self.subject)


class FactEvent(BaseModel):
    """One change of one fact, as a record of the topic `fact-updates` states it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_id: EventId = Field(description="Unique; the same id with the same content is a duplicate.")
    op: Literal["assert", "retract"] = Field(
        default="assert", description="assert: from now on this is so. retract: take this fact's edit back."
    )
    subject: Name = Field(description="What the fact is about; also the record's key.")
    aliases: tuple[Name, ...] = Field(
        default=(), max_length=MAX_ALIASES, description="Other names of the subject."
    )
    relation: Relation | None = Field(
        default=None, description="Which fact about the subject; subject and relation name one fact."
    )
    prompt: Prompt | None = Field(
        default=None,
        description="The text to complete; names the subject or an alias. Absent: the relation's template.",
    )
    target_new: Target | None = Field(
        default=None, description="What the model shall answer, on one line; an assertion needs it."
    )
    ground_truth: Name | None = Field(default=None, description="What the model answered so far.")
    rephrase_prompts: tuple[Prompt, ...] = Field(
        default=(), max_length=MAX_REPHRASES, description="Other phrasings of the prompt, to train with."
    )
    locality_prompts: Annotated[LocalityPrompts, BeforeValidator(_locality)] = Field(
        default=LocalityPrompts(),
        description="Prompts whose answer must not change; a plain list means `relation`.",
    )
    priority: Literal["urgent", "batch"] = Field(
        default="batch", description="urgent: edit at once. batch: wait for the nightly cycle."
    )
    occurred_at: Moment = Field(
        description="When the fact changed; the newest wins, whatever arrives last. Without an offset: UTC. "
        "Absent: the CloudEvent's time, else the record's timestamp."
    )
    source: Name | None = Field(default=None, description="Who says so; kept for the audit trail.")
    schema_version: Annotated[
        Literal[1], BeforeValidator(_known_version), WithJsonSchema({"enum": [1, "1", "1.0"]})
    ] = Field(default=1, description="The version of this form.")

    @model_validator(mode="after")
    def _says_what_to_do(self) -> Self:
        if self.op == "assert" and self.target_new is None:
            raise PydanticCustomError("missing_field", "an assertion needs target_new")
        if self.prompt is None and self.relation is None:
            raise PydanticCustomError("missing_field", "needs a prompt, or a relation that has a template")
        return self


def parse_record(
    value: bytes | None,
    key: bytes | None,
    headers: Sequence[Header],
    *,
    timestamp_ms: int | None,
    templates: Templates,
    now: datetime,
    max_value_bytes: int = MAX_VALUE_BYTES,
) -> FactEvent:
    """The fact event that a Kafka record carries, plain or in a CloudEvents 1.0 envelope.

    Raises:
        EventRejected: and nothing else, whatever the bytes are.
    """
    if not value:
        named = f" (key {printable(key.decode('utf-8', 'replace'), 60)!r})" if key else ""
        raise EventRejected(
            "empty_value",
            f'the record{named} has no value; to take a fact back, send an event with op "retract"',
        )
    fields = unwrap(read_json(value, max_bytes=max_value_bytes), headers)
    if fields.get("occurred_at") is None:
        fields.pop("occurred_at", None)
        if (moment := _from_timestamp(timestamp_ms)) is not None:
            fields["occurred_at"] = moment
    fields = _without_null(fields)
    _fill_prompt(fields, templates)
    try:
        event = FactEvent.model_validate(fields)
    except ValidationError as error:
        raise _rejection(error) from None
    if event.op == "assert" and event.prompt is None:
        raise EventRejected(
            "no_template",
            f"no prompt, and no template for the relation {printable(str(event.relation), 60)!r}",
        )
    _require_names(event)
    if event.occurred_at - now > timedelta(days=MAX_FUTURE_DAYS):
        raise EventRejected("in_the_future", f"occurred_at is more than {MAX_FUTURE_DAYS * 24} hours ahead")
    return event


def fact_key(event: FactEvent) -> str:
    """What makes two events speak of one fact: subject and relation; without a relation, the prompt."""
    return fact_key_of(event.subject, event.relation, event.prompt)


def fact_key_of(subject: str, relation: str | None, prompt: str | None) -> str:
    """`fact_key` of what is no event, such as a line of a facts file."""
    if relation is not None:
        return _bounded(normalise(subject) + _SEPARATOR + normalise(relation))
    return _bounded(_SEPARATOR + normalise(prompt or ""))


def prompt_key(text: str) -> str:
    """The form in which prompts are compared: case and spacing do not count, punctuation does."""
    return _bounded(normalise(text))


def event_json_schema() -> dict[str, Any]:
    """The JSON Schema of a plain event, as its producer writes it."""
    schema = FactEvent.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["required"] = ["event_id", "subject"]  # occurred_at is filled from the record where it is absent
    locality = schema["properties"]["locality_prompts"]
    as_list = schema["$defs"]["LocalityPrompts"]["properties"]["relation"] | {
        "description": "Same as `relation`."
    }
    schema["properties"]["locality_prompts"] = {
        "anyOf": [{"$ref": locality.pop("$ref")}, as_list],
        **locality,
    }
    for properties, kept in (
        (schema["properties"], ("event_id", "subject")),
        (schema["$defs"]["LocalityPrompts"]["properties"], ()),
    ):
        properties |= {
            name: _nullable(described) for name, described in properties.items() if name not in kept
        }
    given = {"not": {"type": "null"}}
    schema["anyOf"] = [{"required": [name], "properties": {name: given}} for name in ("prompt", "relation")]
    schema["if"] = {"required": ["op"], "properties": {"op": {"const": "retract"}}}
    schema["else"] = {"required": ["target_new"], "properties": {"target_new": given}}
    return schema


def _nullable(described: dict[str, Any]) -> dict[str, Any]:
    """A property that may also be null, which means that it is absent."""
    about = {key: value for key, value in described.items() if key in ("title", "description", "default")}
    rest = {key: value for key, value in described.items() if key not in about}
    kinds = rest["anyOf"] if rest.keys() == {"anyOf"} else [rest]
    return {"anyOf": [*(kind for kind in kinds if kind != {"type": "null"}), {"type": "null"}], **about}


def _require_names(event: FactEvent) -> None:
    """Refuse what the index would find in any text, or in none. Events that are in the ledger are past this.

    Raises:
        EventRejected: a name names nothing, or the prompt names no subject.
    """
    names, prompt = (event.subject, *event.aliases), event.prompt or ""
    fault = naming_fault(prompt, names) if event.op == "assert" else _retraction_fault(prompt, names)
    if fault is not None:
        raise EventRejected(fault.code, fault.reason)


def _retraction_fault(prompt: str, names: Sequence[str]) -> NamingFault | None:
    """What an earlier release accepted can be taken back."""
    accepted = any(normalise(name) in normalise(prompt) for name in names)
    return None if not prompt or accepted or names_subject(prompt, names) else NO_SUBJECT


def _bounded(key: str) -> str:
    if len(key) <= MAX_KEY_CHARS:
        return key
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _from_timestamp(timestamp_ms: int | None) -> datetime | None:
    if timestamp_ms is None or timestamp_ms < 0:  # Kafka writes -1 for "none"
        return None
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _fill_prompt(fields: dict[str, Any], templates: Templates) -> None:
    subject, relation = fields.get("subject"), fields.get("relation")
    if fields.get("prompt") is None and isinstance(subject, str) and isinstance(relation, str):
        fields["prompt"] = templates.prompt(relation, subject.strip())


def _without_null(fields: dict[str, Any]) -> dict[str, Any]:
    """What may be absent may be null."""
    optional = {name for name, field in FactEvent.model_fields.items() if not field.is_required()}
    return {name: value for name, value in fields.items() if value is not None or name not in optional}


_CODES = {
    "missing": "missing_field",
    "extra_forbidden": "unknown_field",
    "too_long": "too_many",
    "string_too_long": "too_long",
    "string_too_short": "empty_text",
    "literal_error": "bad_value",
    "string_unicode": "bad_text",
}


def _rejection(error: ValidationError) -> EventRejected:
    """The first faults in words; the code is the first one's."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    reasons = "; ".join(_in_words(fault) for fault in faults[:3])
    more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
    return EventRejected(_code(faults[0]), reasons + more)


def _code(fault: ErrorDetails) -> str:
    kind = fault["type"]
    return _CODES.get(kind, "wrong_type" if kind.endswith("_type") else kind)


def _in_words(fault: ErrorDetails) -> str:
    where = printable(".".join(str(part) for part in fault["loc"]), 80)
    return f"{where}: {fault['msg']}" if where else str(fault["msg"])


if __name__ == "__main__":
    print(json.dumps(event_json_schema(), indent=2, ensure_ascii=False))
