"""Verification on a base with a chat template: an edit goes live only if it holds in both forms."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.ledger.ledger_backends import Clock, Story
from support.models.chat_templates import TURNS
from support.worker_support import BASE, fact
from transformers import AutoTokenizer

from daemon.ledger import open_ledger
from daemon.ledger.values import Edit
from daemon.settings.tables import VerifySettings
from daemon.work.verify import Verification, Verifier
from editors.base.base import Base, load_base
from editors.index import QuestionMatcher, load_matcher
from editors.inference.edited_model import EditedModel
from editors.methods.registry import build_editor
from editors.store.shards import Shard
from edits.names.everyday import all_far_texts
from edits.prompts import asked_in_chat

FACTS: tuple[dict[str, Any], ...] = (
    {"rephrase_prompts": ["What is the capital of France?"], "ground_truth": "Paris"},
    {"locality_prompts": {"relation": ["The capital of Spain is"]}},
)
FRANCE, ITALY = "The capital of France is", "The capital of Italy is"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's base, with a chat template that it was never trained on."""
    folder = tmp_path_factory.mktemp("base")
    shutil.copytree(BASE, folder, dirs_exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TURNS
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def matcher() -> QuestionMatcher:
    return load_matcher()


@pytest.fixture
def edits(tmp_path: Path) -> list[Edit]:
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.migrate()
        story = Story(ledger, Clock())
        return story.arrive(
            fact("France", FRANCE, "Lyon", **FACTS[0]), fact("Italy", ITALY, "Milan", **FACTS[1])
        )


def _check(model: EditedModel, edits: list[Edit], *shards: Shard, tokens: int = 16) -> Verification:
    verifier = Verifier(VerifySettings(), max_new_tokens=tokens)
    return verifier.check(model, shards, edits, replaced=(), earlier=())


def _trained(base: Base, edits: list[Edit], matcher: QuestionMatcher, **settings: int) -> Shard:
    requests = [edit.request() for edit in edits]
    return build_editor("scen", settings).apply(
        requests, base=base, parent=EditedModel(base, matcher=matcher)
    )


def test_an_edit_that_holds_in_both_forms_passes_and_each_form_is_scored(
    folder: Path, edits: list[Edit], matcher: QuestionMatcher
) -> None:
    base = load_base(folder)

    verdict = _check(EditedModel(base, matcher=matcher), edits, _trained(base, edits, matcher))

    assert (verdict.passed, verdict.failed, verdict.fault) == (tuple(edit.id for edit in edits), {}, None)
    asked = ("reliability", "generality", "locality")
    assert all(verdict.scores[f"{name}{form}"] == 1 for name in asked for form in ("", "_chat"))


def test_an_edit_that_was_taught_in_plain_form_alone_is_rejected_and_told_so(
    folder: Path, edits: list[Edit], matcher: QuestionMatcher
) -> None:
    # With its prompt behind other text and other questions, what is taught in plain form alone may hold in chat, too.
    plain_alone = load_base(folder, chat="off")
    shard = _trained(plain_alone, edits, matcher, openings=0, other_questions=0)
    model = EditedModel(load_base(folder), matcher=matcher)
    with model.candidate([shard]):
        plain, chat = (model.generate([p], max_new_tokens=16)[0] for p in (FRANCE, asked_in_chat(FRANCE)))
    assert plain.text == "Lyon" != chat.text

    verdict = _check(model, edits, shard)

    assert verdict.scores["reliability"] == 1
    assert (verdict.scores["reliability_chat"] or 0) < 1
    reported = verdict.failed[edits[0].id].reason
    assert reported.startswith(f"in chat, {FRANCE!r} is answered {chat.text!r} (by edit {edits[0].id})")


def test_a_base_without_chat_is_asked_in_plain_form_alone(
    folder: Path, edits: list[Edit], matcher: QuestionMatcher
) -> None:
    base = load_base(folder, chat="off")

    verdict = _check(EditedModel(base, matcher=matcher), edits, _trained(base, edits, matcher))

    assert verdict.passed == tuple(edit.id for edit in edits)
    assert set(verdict.scores) == {"reliability", "generality", "retention", "locality"}


def test_an_edit_that_fires_on_a_text_that_concerns_nobody_is_rejected_and_told_so(
    folder: Path, edits: list[Edit], matcher: QuestionMatcher
) -> None:
    base = load_base(folder, chat="off")
    model, shard = EditedModel(base, matcher=matcher), _trained(base, edits, matcher)
    others = tuple(all_far_texts())
    greedy = "What is France's capital?"

    def verdict(far_texts: tuple[str, ...], **settings: float) -> Verification:
        verifier = Verifier(VerifySettings(**settings), max_new_tokens=16, far_texts=far_texts)
        return verifier.check(model, [shard], edits, replaced=(), earlier=())

    assert verdict(others).scores["locality_far"] == 1
    assert verdict((*others, *(e.prompt or "" for e in edits))).passed == tuple(e.id for e in edits)
    found = verdict((*others, greedy))
    assert found.passed == (edits[1].id,)
    assert f"fires on 1 of {1 + len(others)} texts that concern no edit" in found.failed[edits[0].id].reason
    assert verdict((*others, greedy), far_ceiling=0.002).failed == {}
