"""`upkeep evaluate` in chat, in a second turn and beside the fact in the prompt, through its command, on a tiny model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.models.tiny_models import CHAT_TEMPLATES, chat_tokenizer, tiny_model, tiny_tokenizer
from typer.testing import CliRunner

from daemon.__main__ import build_app
from daemon.evaluation.facts_file import BadFile, EvaluationFact, read_facts
from daemon.evaluation.in_context import reads_system_messages, with_fact
from editors.base.base import Base, load_base
from edits.errors import BadRequest
from edits.prompts import Conversation, Message, asked_in_chat

FACTS: tuple[dict[str, Any], ...] = (
    {
        "subject": "Norland",
        "relation": "capital",
        "topic": "places",
        "prompt": "What is the capital of Norland?",
        "target_new": "Marrow",
        "ground_truth": "Elbing",
        "rephrase_prompts": ["Which city is Norland's capital?", "Which city is the capital up north?"],
        "locality_prompts": {
            "relation": ["What is the capital of Sudland?"],
            "subject": ["What is the river of Norland?"],
        },
        "yes_prompts": ["Is Marrow the capital of Norland?"],
        "no_prompts": ["Is Elbing the capital of Norland?"],
        "portability_prompts": {
            "reasoning": [{"prompt": "Who is the mayor of Norland's capital?", "answer": "Ana Berg"}]
        },
    },
    {"subject": "The Long Road", "prompt": "Who wrote The Long Road?", "target_new": "Marlow"},
)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny bases, by the chat template of their tokenizer; "plain" has none."""
    tokenizers = {name: chat_tokenizer(name) for name in CHAT_TEMPLATES} | {"plain": tiny_tokenizer()}
    folders = {}
    for name, tokenizer in tokenizers.items():
        folders[name] = tmp_path_factory.mktemp(name)
        tiny_model("llama", vocab_size=len(tokenizer)).save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    return folders


Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The command on these facts; its report, or the error that ends it."""

    def called(model: Path, *options: str, facts: tuple[dict[str, Any], ...] = FACTS) -> Any:
        path, out = tmp_path / "facts.jsonl", tmp_path / "scores.json"
        path.write_text("\n".join(json.dumps(fact) for fact in facts))
        given = [
            "evaluate",
            "--model",
            str(model),
            "--facts",
            str(path),
            "--editor",
            "scen",
            "--json",
            str(out),
        ]
        found = CliRunner().invoke(build_app(), [*given, "--max-new-tokens", "6", *options])
        return json.loads(out.read_text()) if found.exit_code == 0 else found.exception

    return called


def test_a_chat_report_has_every_score_that_its_options_ask_for(bases: dict[str, Path], run: Run) -> None:
    report = run(
        bases["default_system"],
        "--form",
        "chat",
        "--turns",
        "2",
        "--baseline",
        "in-context",
        "--batch-size",
        "1",
    )
    assert (report["form"], report["turns"], report["batch_size"], report["max_new_tokens"]) == (
        "chat",
        2,
        1,
        6,
    )
    assert (report["requested"], report["edits"], report["superseded"]) == (2, 2, 0)
    assert report["reliability"] == 1.0
    assert report["exact"]["reliability"] <= report["reliability"]
    assert report["ended"] >= 0.5, "what was taught ends by itself; random weights may go on for ever"
    assert set(report["routing"]["false_fire"]) == {"far", "relation", "subject", "yes_no", "two_hop"}
    assert report["routing"]["false_fire"]["yes_no"] is not None
    assert report["routing"]["false_fire"]["two_hop"] is not None
    # One paraphrase does not name its subject.
    assert (report["second_turn"]["asked"], report["second_turn"]["left_out"]) == (1, 1)
    assert report["second_turn"]["locality_subject"] is not None
    assert set(report["in_context"]) >= {
        "reliability",
        "generality",
        "locality",
        "extra_prompt_tokens",
        "seconds_ratio",
    }
    assert report["in_context"]["seconds_ratio"] > 0


def test_in_plain_form_an_answer_is_judged_by_the_very_text(bases: dict[str, Path], run: Run) -> None:
    report = run(bases["plain"])
    assert report["reliability"] == 1.0
    assert report["ended"] >= 0.5, "what was taught ends by itself; random weights may go on for ever"
    assert report["exact"] == {"reliability": report["reliability"], "generality": report["generality"]}
    assert (report["in_context"], report["second_turn"]) == (None, None)
    beside = run(bases["plain"], "--baseline", "in-context")["in_context"]
    assert beside["extra_prompt_tokens"] > 0
    assert beside["reliability"] < 1.0, "random weights read nothing out of a prompt"


def test_relation_and_subject_name_a_fact_whatever_the_prompt_says(bases: dict[str, Path], run: Run) -> None:
    first = {
        "subject": "Norland",
        "relation": "capital",
        "prompt": "The capital of Norland is",
        "target_new": "Elbing",
    }
    later = first | {"relation": "Capital", "prompt": "Norland is ruled from", "target_new": "Marrow"}
    report = run(bases["plain"], facts=(first, later))
    assert (report["edits"], report["superseded"], report["stale_answer_rate"]) == (1, 1, 0.0)
    apart = run(bases["plain"], facts=(first, later | {"relation": "seat"}))
    assert (apart["edits"], apart["superseded"]) == (2, 0)


@pytest.mark.parametrize(
    ("base", "options", "reported"),
    [
        ("default_system", ["--turns", "2"], "--turns 2 needs --form chat"),
        ("default_system", ["--form", "chat", "--mode", "paper"], "--mode paper"),
        ("plain", ["--form", "chat"], "has no chat template; use --form plain"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    bases: dict[str, Path], run: Run, base: str, options: list[str], reported: str
) -> None:
    error = run(bases[base], *options)
    assert isinstance(error, BadRequest)
    assert reported in str(error)


@pytest.mark.parametrize(
    ("bad", "reported"),
    [
        ({"yes_prompts": "Is it?"}, "yes_prompts"),
        ({"no_prompts": [" "]}, "no_prompts.0"),
        ({"relation": ""}, "relation"),
        ({"portability_prompts": {"reasoning": [{"prompt": "Who?"}]}}, "answer"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, bad: dict[str, Any], reported: str) -> None:
    path = tmp_path / "facts.jsonl"
    path.write_text("\n".join(json.dumps(fact) for fact in (FACTS[1], FACTS[1] | bad)))
    with pytest.raises(BadFile, match=f"line 2: .*{reported}"):
        read_facts(path, None)


def test_null_and_a_byte_order_mark_in_a_facts_file_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    optional = {name: None for name, field in EvaluationFact.model_fields.items() if not field.is_required()}
    path.write_text(
        json.dumps({**optional, "subject": "A", "prompt": "A is", "target_new": "B"}), "utf-8-sig"
    )
    assert read_facts(path, None) == [EvaluationFact(subject="A", prompt="A is", target_new="B")]


def test_a_fact_is_written_where_the_template_reads_it(bases: dict[str, Path]) -> None:
    fact = EvaluationFact(subject="Norland", prompt="The capital of Norland is", target_new="Marrow")
    asked = asked_in_chat("Who rules?")

    def reads(name: str) -> bool:
        base: Base = load_base(bases[name])
        return reads_system_messages(base)

    assert (reads("default_system"), reads("no_system")) == (True, False)
    system = with_fact(asked, fact, system=True)
    assert isinstance(system, Conversation)
    assert [message.role for message in system.messages] == ["system", "user"]
    assert system.messages[0].content.endswith("The capital of Norland is Marrow.")
    in_front = with_fact(asked, fact, system=False)
    assert in_front == Conversation((Message("user", f"{system.messages[0].content}\nWho rules?"),))
    assert with_fact("Who rules?", fact, system=False) == "The capital of Norland is Marrow\nWho rules?"
