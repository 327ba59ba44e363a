"""Events that once went wrong, from the topic's bytes to the model's answer, on the demo's base."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.ledger.ledger_backends import Clock, Story
from support.worker_support import BASE, Shop

from daemon.events.fact_event import FactEvent, parse_record
from daemon.events.templates import Templates
from daemon.ledger import open_ledger
from daemon.ledger.values import Edit
from editors.pretrained.hashing import hash_folder

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ALIKE = ("The capital of {} is", "The largest city of {} is", "The head of government of {} is")
TARGETS = ("Elbing", "Zanzibar", "Ada Example")
# Names without a Latin word, and texts in other words that name them.
NAMES = {
    "!?!": ("The singer of !?! is", "Who sings in !?! today?"),
    "Club 🦊": ("The captain of Club 🦊 is", "Club 🦊 is led by"),
    "វៀងជ័យ": ("អភិបាលវៀងជ័យគឺ", "តើអភិបាលវៀងជ័យឈ្មោះអ្វី"),
    "名古屋": ("現在の名古屋市長は", "名古屋の市長は誰ですか"),
    "السودان": ("العاصمة الحالية للسودان هي", "ما عاصمة السودان؟"),
    "İzmit": ("İZMİT belediye başkanı", "izmit'in başkanı"),
    "ὙΔΡΑ": ("Ο δήμαρχος Ύδρα", "Δήμαρχος ΥΔΡΑ"),
}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        ledger.migrate()
        yield Shop(Story(ledger, Clock(), base_hash=hash_folder(BASE)), tmp_path)


def event(number: int, **fields: Any) -> FactEvent:
    value = {
        "event_id": f"e{number}",
        "priority": "urgent",
        "occurred_at": f"2026-01-{number + 1:02}T00:00:00Z",
    }
    data = json.dumps({**value, **fields}, ensure_ascii=False).encode("utf-8-sig")
    return parse_record(data, None, (), timestamp_ms=None, templates=Templates(), now=NOW)


def one_by_one(shop: Shop, events: list[FactEvent]) -> list[Edit]:
    edits = []
    for one in events:
        edits += shop.story.plan_urgently(one)
        shop.work()
    return edits


@pytest.mark.parametrize("relations", [(None, None, None), ("capital", "largest city", "government")])
def test_facts_of_one_subject_that_the_base_answers_alike_do_not_end_each_other(
    shop: Shop, relations: tuple[str | None, ...]
) -> None:
    asked = [prompt.format("Spain") for prompt in ALIKE]
    assert len({shop.ask(prompt) for prompt in asked}) == 1, "the base gives one answer to all of them"
    facts = zip(asked, TARGETS, relations, strict=True)
    edits = one_by_one(
        shop,
        [
            event(n, subject="Spain", prompt=prompt, target_new=target, relation=relation, aliases=None)
            for n, (prompt, target, relation) in enumerate(facts)
        ],
    )
    assert shop.states(edits) == ["live"] * len(edits)
    assert [shop.ask(prompt) for prompt in asked] == [*TARGETS]


def test_a_lone_urgent_edit_answers_no_other_question_of_its_subject(shop: Shop) -> None:
    others = ["The currency of Italy is", "The head of state of Italy is", "Italy's largest city is"]
    before = [shop.ask(prompt) for prompt in others]
    edits = one_by_one(shop, [event(0, subject="Italy", prompt=ALIKE[0].format("Italy"), target_new="Turin")])
    assert shop.states(edits) == ["live"]
    assert [shop.ask(prompt) for prompt in others] == before


def test_a_name_in_any_script_is_found_in_other_words(shop: Shop) -> None:
    facts = [
        event(n, subject=name, prompt=prompt, target_new="Lyon", rephrase_prompts=[other], relation=f"r{n}")
        for n, (name, (prompt, other)) in enumerate(NAMES.items())
    ]
    edits = shop.story.plan_urgently(*facts)
    shop.work()
    assert shop.states(edits) == ["live"] * len(edits)
    routes = shop.served().edited.route([other for _, other in NAMES.values()])
    assert [route.edit_id for route in routes] == [edit.id for edit in edits]
