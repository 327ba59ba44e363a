"""In a short number type a row is rounded by its company: what no edit fires on is the base's, and no batch loses by it."""

import json
from pathlib import Path

import pytest
import torch
from support.ledger.ledger_backends import Clock, Story
from support.worker_support import BASE, fact

from daemon.ledger import open_ledger
from daemon.settings.tables import VerifySettings
from daemon.work.verify import Expectation, Verifier
from editors import EditedModel, build_editor, load_base
from editors.index import QuestionMatcher, load_matcher
from editors.inference.edited_model import Answer

TEXTS = (
    "I read a long book about {s} last year, and my favourite chapter was",
    "My grandmother often told stories about {s} and",
    "A student wrote an essay on {s}. The teacher said that",
    "In the museum there is a large hall about {s}, where visitors can",
    "The weather was cold when we talked about {s} and",
    "Somebody painted {s} on the wall, because",
    "If you like {s}, you may also like",
    "Three reasons why people care about {s}: first,",
)
CAPITAL = "The capital of {s} is"


@pytest.fixture(scope="module")
def matcher() -> QuestionMatcher:
    return load_matcher()


def test_what_no_edit_fires_on_is_the_bases_bit_for_bit_and_no_floor_is_missed(
    tmp_path: Path, matcher: QuestionMatcher
) -> None:
    base = load_base(BASE, device="cpu", dtype="bfloat16")
    assert base.dtype == torch.bfloat16
    subjects = {"Japan": "Osaka", "France": "Lyon"}
    facts = [
        fact(
            subject,
            CAPITAL.format(s=subject),
            target,
            locality_prompts={"subject": [text.format(s=subject) for text in TEXTS]},
        )
        for subject, target in subjects.items()
    ]
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.migrate()
        edits = Story(ledger, Clock()).arrive(*facts)
    model = EditedModel(base, matcher=matcher)
    shard = build_editor("scen").apply([edit.request() for edit in edits], base=base, parent=model)
    verdict = Verifier(VerifySettings(), max_new_tokens=16).check(
        model, [shard], edits, replaced=(), earlier=()
    )
    assert (verdict.passed, verdict.fault) == (tuple(edit.id for edit in edits), None)
    assert verdict.scores["locality"] == 1

    # Another answer counts where an edit gave it; where none did, it is rounding.
    asked = Expectation("x", "x", "the base's", untouched=True)
    assert asked.is_right(Answer("x", "rounded otherwise", None, 0.0))
    assert not asked.is_right(Answer("x", "an edit's", edits[0].id, 1.0))

    model.enable(shard)
    prompts = [text.format(s=s) for text in (*TEXTS, CAPITAL) for s in (*subjects, "Spain", "my aunt")]
    answers, unedited = model.generate(prompts), base.generate(prompts)
    fired = [answer.edit_id is not None for answer in answers]
    assert sum(fired) == len(subjects)
    differing = [
        (answer.text, before)
        for answer, before, edited in zip(answers, unedited, fired, strict=True)
        if answer.text != before and not edited
    ]
    assert differing == [], json.dumps(differing)
