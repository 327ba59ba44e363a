"""Fact events: what is read, what is refused and why, and that the documents tell the truth."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.events.fact_event import (
    EventRejected,
    FactEvent,
    event_json_schema,
    fact_key,
    parse_record,
    prompt_key,
)
from daemon.events.templates import BadTemplates, Templates
from edits.names.naming import NamingFault

DOCS = Path(__file__).parents[3] / "docs"
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
TEMPLATES = Templates({"Capital": "The capital of {subject} is"})
STRUCTURED = (("content-type", b"application/cloudevents+json; charset=utf-8"),)
BINARY = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"ce-7"),
    ("ce_time", b"2026-04-30T10:00:00Z"),
    ("ce_source", b"/wiki"),
)


def plain(**changes: Any) -> dict[str, Any]:
    return {
        "event_id": "e-1",
        "subject": "France",
        "relation": "capital",
        "target_new": "Lyon",
        "occurred_at": "2026-05-01T10:00:00Z",
    } | changes


def parse(content: Any, headers: Any = (), *, timestamp_ms: int | None = None) -> FactEvent:
    value = content if isinstance(content, bytes | None) else json.dumps(content).encode()
    return parse_record(value, b"France", headers, timestamp_ms=timestamp_ms, templates=TEMPLATES, now=NOW)


def refusal(content: Any, headers: Any = ()) -> str:
    with pytest.raises(EventRejected) as caught:
        parse(content, headers)
    assert str(caught.value)
    return caught.value.reason_code


def test_an_event_without_prompt_gets_its_relations_template() -> None:
    assert parse(plain()).prompt == "The capital of France is"
    assert parse(plain(op="retract", relation="mayor", target_new=None)).prompt is None


def test_names_and_targets_lose_their_surrounding_space_and_prompts_keep_it() -> None:
    event = parse(plain(subject=" France ", target_new="Lyon\n", prompt="  The capital of France is "))
    assert (event.subject, event.target_new, event.prompt) == (
        "France",
        "Lyon",
        "  The capital of France is ",
    )


def test_a_plain_list_of_locality_prompts_means_the_same_relation() -> None:
    locality = parse(plain(locality_prompts=["The capital of Spain is"])).locality_prompts
    assert locality.relation == ("The capital of Spain is",)
    kinds = {"far": ["a"], "relation": ["b"], "subject": ["c"]}
    assert parse(plain(locality_prompts=kinds)).locality_prompts.all() == ("a", "b", "c")


def test_occurred_at_is_utc_and_comes_from_the_record_where_it_is_absent() -> None:
    assert parse(plain(occurred_at="2026-05-01T10:00:00")).occurred_at == datetime(2026, 5, 1, 10, tzinfo=UTC)
    assert parse(plain(occurred_at="2026-05-01T12:00:00+02:00")).occurred_at.hour == 10
    assert parse(plain(occurred_at=None), timestamp_ms=1_000).occurred_at == datetime.fromtimestamp(1, UTC)
    assert refusal(plain(occurred_at=None)) == "missing_field"


def test_every_fault_has_its_reason() -> None:
    ahead = (NOW + timedelta(hours=25)).isoformat()
    faults: list[tuple[str, Any]] = [
        ("empty_value", None),
        ("empty_value", b""),
        ("bad_utf8", b'{"a": "\xff"}'),
        ("not_json", b"{"),
        ("not_json", b"1" * 5_000),
        ("not_finite", b'{"a": -Infinity}'),
        ("not_finite", b'{"a": 1e999}'),
        ("duplicate_key", b'{"a": {"b": 1, "b": 1}}'),
        ("too_deep", b"[" * 100_000),
        ("too_deep", json.dumps(plain(aliases=json.loads("[" * 20 + "]" * 20)))),
        ("too_large", b" " * ((1 << 20) + 1)),
        ("wrong_type", []),
        ("wrong_type", plain(subject=1)),
        ("wrong_type", plain(aliases="France")),
        ("wrong_type", plain(occurred_at=1_700_000_000)),
        ("missing_field", {name: value for name, value in plain().items() if name != "event_id"}),
        ("missing_field", plain(target_new=None)),
        ("missing_field", plain(relation=None)),
        ("unknown_field", plain(targetnew="Lyon")),
        ("bad_value", plain(op="delete")),
        ("bad_value", plain(priority="high")),
        ("bad_time", plain(occurred_at="yesterday")),
        ("bad_time", plain(occurred_at="0001-01-01T00:00:00+14:00")),
        ("in_the_future", plain(occurred_at=ahead)),
        ("too_long", plain(target_new="x" * 513)),
        ("too_many", plain(aliases=["x"] * 33)),
        ("empty_text", plain(prompt=" ")),
        ("empty_text", plain(subject=" ")),
        ("line_break", plain(target_new="Lyon\nParis")),
        ("bad_text", plain(target_new="Ly\0on")),
        ("bad_text", plain(target_new="Ly\ud800on")),
        ("bad_text", {"\udfff": 1}),
        ("prompt_without_subject", plain(prompt="The capital is")),
        ("no_template", plain(relation="mayor")),
        ("unknown_schema_version", plain(schema_version=2)),
        ("unknown_schema_version", plain(schema_version=True)),
    ]
    for code, content in faults:
        given_content = content.encode() if isinstance(content, str) else content
        assert refusal(given_content) == code, content


def test_a_byte_order_mark_and_null_for_what_may_be_absent_say_nothing() -> None:
    assert parse(b"\xef\xbb\xbf" + json.dumps(plain()).encode()) == parse(plain())
    optional = {name for name, field in FactEvent.model_fields.items() if not field.is_required()}
    validator = jsonschema.Draft202012Validator(event_json_schema())
    for name in optional - {"target_new"}:
        content = (
            plain(prompt="The capital of France is", **{name: None})
            if name != "prompt"
            else plain(prompt=None)
        )
        without = {key: value for key, value in content.items() if value is not None}
        assert parse(content) == parse(without), name
        validator.validate(content)
    halves = plain(locality_prompts={"far": None, "subject": ["Where is France?"]})
    assert parse(halves).locality_prompts.all() == ("Where is France?",)
    validator.validate(halves)
    assert refusal(plain(subject=None)) == "wrong_type"


def test_a_name_that_names_nothing_is_refused_with_the_reason_and_can_be_taken_back() -> None:
    for changes in (
        {"subject": "is", "prompt": "is"},
        {"subject": "the", "prompt": "The capital of the is"},
        {"subject": "の", "prompt": "の"},
        {"aliases": ["French Republic", "of"], "prompt": "The capital of France is"},
    ):
        assert refusal(plain(**changes)) == "names_nothing"
        assert parse(plain(**changes, op="retract", target_new=None))
    with pytest.raises(EventRejected, match=r"'is' stands in .* everyday texts"):
        parse(plain(subject="is", prompt="is"))
    earlier = plain(subject="Fran", prompt="The capital of France is", op="retract", target_new=None)
    assert parse(earlier).subject == "Fran"


def test_the_subject_may_stand_in_the_prompt_by_an_alias_in_any_case_and_spacing() -> None:
    event = parse(plain(subject="United  Kingdom", aliases=["ＵＫ"], prompt="The capital of the uk is"))
    assert event.prompt == "The capital of the uk is"


def test_a_structured_cloudevent_fills_what_its_data_lacks() -> None:
    data = plain(event_id=None, occurred_at=None)
    envelope = {"specversion": "1.0", "id": "ce-7", "type": "any", "source": "/wiki", "data": data}
    for headers in (STRUCTURED, ()):
        event = parse(envelope | {"time": "2026-04-30T10:00:00Z"}, headers)
        assert (event.event_id, event.source) == ("ce-7", "/wiki")
        assert event.occurred_at == datetime(2026, 4, 30, 10, tzinfo=UTC)
    assert parse(envelope | {"data": plain(source="me")}).source == "me"
    assert parse(envelope | {"data": plain()}).event_id == "e-1"


def test_a_binary_cloudevent_fills_what_its_data_lacks() -> None:
    event = parse(plain(event_id=None, occurred_at=None), (*BINARY, ("content-type", b"application/json")))
    assert (event.event_id, event.source) == ("ce-7", "/wiki")
    assert event.occurred_at == datetime(2026, 4, 30, 10, tzinfo=UTC)


def test_every_faulty_envelope_has_its_reason() -> None:
    envelope = {"specversion": "1.0", "id": "1", "data": plain()}
    for code, content, headers in [
        ("unknown_specversion", envelope | {"specversion": "0.3"}, ()),
        ("unknown_specversion", {"data": plain()}, STRUCTURED),
        ("unknown_specversion", plain(), BINARY[1:]),
        ("cloudevent_without_id", envelope | {"id": ""}, ()),
        ("cloudevent_without_id", plain(), BINARY[:1]),
        ("cloudevent_data_base64", envelope | {"data_base64": "e30="}, ()),
        ("cloudevent_without_data", {"specversion": "1.0", "id": "1"}, ()),
        ("wrong_type", envelope | {"data": "{}"}, ()),
        ("bad_time", {"specversion": "1.0", "id": "1", "time": "x", "data": plain(occurred_at=None)}, ()),
        ("unsupported_content_type", envelope | {"datacontenttype": "text/xml"}, ()),
        ("unsupported_content_type", plain(), (*BINARY, ("content-type", b"application/avro"))),
        ("unsupported_content_type", [], (("content-type", b"application/cloudevents-batch+json"),)),
        ("bad_utf8", plain(), (*BINARY, ("ce_subject", b"\xff"))),
    ]:
        assert refusal(content, headers) == code, (content, headers)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = [*FactEvent.model_fields, "specversion", "id", "data", "time", "x"]
fields = st.fixed_dictionaries({}, optional=dict.fromkeys(names, json_values))
header_names = (
    st.sampled_from(["content-type", "ce_specversion", "ce_id", "ce_time", "CE_Source"]) | st.text()
)
headers = st.lists(st.tuples(header_names, st.none() | st.binary() | st.just(b"1.0")), max_size=4)
# Not `json.dumps(..., allow_nan=False)`: what no JSON writer should write is what we want to read.
values = st.none() | st.binary() | fields.map(lambda some: json.dumps(plain() | some).encode())


@settings(max_examples=300, deadline=None)
@given(values, st.none() | st.binary(), headers, st.none() | st.integers(min_value=-(2**63), max_value=2**63))
def test_no_bytes_raise_anything_but_a_rejection(
    value: bytes | None, key: bytes | None, some_headers: list[Any], timestamp_ms: int | None
) -> None:
    try:
        event = parse_record(
            value, key, some_headers, timestamp_ms=timestamp_ms, templates=TEMPLATES, now=NOW
        )
    except EventRejected as error:
        reported = (error.reason_code, str(error))
    else:
        reported = ("accepted", "")
        assert FactEvent.model_validate_json(event.model_dump_json()) == event
        assert len(fact_key(event)) <= 200
    assert re.fullmatch(r"[a-z][a-z0-9_]*", reported[0])
    assert len(reported[1]) <= 500


def test_keys_do_not_depend_on_case_width_and_spacing_and_stay_short() -> None:
    one = parse(plain(subject="ＦＲＡＮＣＥ", relation="Capital"))
    assert fact_key(one) == fact_key(parse(plain(subject="france", prompt="the capital of  france is")))
    assert fact_key(one) != fact_key(
        parse(plain(subject="france capital", relation="x", prompt="France capital"))
    )
    assert prompt_key("Who is  HE?") == "who is he?" != prompt_key("who is he")
    assert len(prompt_key("x" * 2_000)) <= 200
    assert prompt_key("x" * 2_000) != prompt_key("x" * 2_001)


def test_the_schema_in_the_docs_is_current() -> None:
    stored = json.loads((DOCS / "fact-event.schema.json").read_text(encoding="utf-8"))
    assert stored == event_json_schema(), (
        "run: python -m daemon.events.fact_event > docs/fact-event.schema.json"
    )


def test_the_schema_agrees_with_the_reader() -> None:
    validator = jsonschema.Draft202012Validator(event_json_schema())
    for content in [
        plain(),
        plain(op="retract", target_new=None),
        plain(locality_prompts=["a"], schema_version="1.0"),
    ]:
        parse(content)
        validator.validate(content)
    for content in [
        plain(op="delete"),
        plain(target_new=None),
        plain(relation=None),
        plain(x=1),
        plain(schema_version=2),
    ]:
        refusal(content)
        assert not validator.is_valid(content), content


def documented() -> str:
    return (DOCS / "events.md").read_text(encoding="utf-8")


def test_every_example_in_the_docs_is_read() -> None:
    examples = re.findall(r"```json(?: (binary))?\n(.*?)```", documented(), re.DOTALL)
    assert len(examples) >= 5
    for binary, text in examples:
        parse_record(
            text.encode(), None, BINARY if binary else (), timestamp_ms=1, templates=TEMPLATES, now=NOW
        )


def test_every_reason_code_in_the_code_is_explained_in_the_docs() -> None:
    daemon = DOCS.parent / "daemon"
    source = "".join(file.read_text() for file in (daemon / "events").glob("*.py"))
    raised = set(re.findall(r'(?:EventRejected|PydanticCustomError)\(\s*"([a-z0-9_]+)"', source))
    mapped = set(re.findall(r'^    "\w+": "([a-z_]+)",$', source.partition("_CODES = {")[2], re.MULTILINE))
    naming = set(get_args(get_type_hints(NamingFault)["code"]))
    listed = set(
        re.findall(r"^\| `([a-z0-9_]+)` \|", documented().partition("## What was refused")[2], re.MULTILINE)
    )
    assert listed - {"reason_code"} == raised | mapped | naming | {"wrong_type", "event_id_reused"}


def test_templates_are_read_from_toml_and_json(tmp_path: Path) -> None:
    toml, as_json = tmp_path / "t.toml", tmp_path / "t.json"
    toml.write_text('capital = "The capital of {subject} is"\n"head of state" = "{subject} is led by"')
    as_json.write_text('{"capital": "The capital of {subject} is"}')
    assert Templates.load(toml).prompt("Head of  State", "France") == "France is led by"
    assert Templates.load(as_json).prompt("capital", "{x}") == "The capital of {x} is"
    assert Templates.load(None).prompt("capital", "France") is None


def test_a_relation_may_have_several_phrasings_and_the_first_is_its_prompt(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text('capital = ["The capital of {subject} is", "What is the capital of {subject}?"]')
    templates = Templates.load(path)
    assert templates.prompt("Capital", "France") == "The capital of France is"
    asked = ("The capital of France is", "What is the capital of France?")
    assert templates.phrasings("CAPITAL", "France") == asked
    assert templates.phrasings("mayor", "France") == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('capital = "The capital is"', "{subject}"),
        ("capital = []", "lists 0 phrasings"),
        (
            f"capital = {json.dumps([f'{n} of {{subject}}' for n in range(33)])}",
            "lists 33 phrasings; it has 1 to 32",
        ),
        ('capital = ["{subject} is", 3]', "must be a text"),
        ('capital = ["{subject} is", ["{subject}"]]', "must be a text"),
        ('capital = ["{subject} is", "The capital is"]', "{subject}"),
        ('capital = ["{subject} is", "{subject}  Is"]', "keep one"),
        (f"capital = {json.dumps('{subject}' + 'x' * 1024)}", "at most 1024 characters"),
        ("capital = 3", "must be a text"),
        ("capital", "not TOML"),
        ('capital = "{subject} is"\nCapital = "{subject} is"', "differ only in case"),
        ('capital = "{subject} and {subject}"', "once"),
    ],
)
def test_a_bad_templates_file_is_refused_with_its_fault(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "templates.toml"
    path.write_text(text)
    with pytest.raises(BadTemplates, match=re.escape(complaint)):
        Templates.load(path)
    with pytest.raises(BadTemplates, match="cannot be read"):
        Templates.load(tmp_path / "absent.toml")
