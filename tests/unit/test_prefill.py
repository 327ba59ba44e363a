"""The shared pass: what it reads and what it lets generate is what two passes would."""

import pytest
from tiny_models import FAMILIES, tiny_base

from editors import EditedModel, EditRequest, build_editor
from editors.model import Route
from editors.prefill import SharedPass, can_share
from editors.routed import experts_at_work

REQUESTS = [
    EditRequest("1", "Norland", "The capital of Norland is", "Marrow"),
    EditRequest("2", "The Long Road", "Who wrote The Long Road?", "Ivo Tann"),
]
PROMPTS = [*(request.prompt for request in REQUESTS), "A plain sentence about", "The river of Marrow"]


@pytest.mark.parametrize("family", FAMILIES)
def test_decoding_goes_on_from_the_pass_that_routed_as_it_would_from_the_start(family: str) -> None:
    base = tiny_base(family)
    model = EditedModel(base)
    for editor, request in zip(("scen", "lemoe"), REQUESTS, strict=True):
        model.enable(build_editor(editor, {"max_steps": 10}).apply([request], base=base))
    rows = [base.prompt_ids(prompt) for prompt in PROMPTS]
    said = [ids for ids, _ in base.generate_scored(rows, max_new_tokens=4)]
    wrong = [said[0][0] + 1]
    assert can_share(base)
    for fires in ("12..", "....", "1..."):
        experts = [None if edit == "." else model.expert(Route(edit, 1.0)) for edit in fires]
        with experts_at_work(base, experts):
            expected = base.generate_ids(rows, max_new_tokens=12)
        shared = SharedPass(base, rows, [said[0], said[1], [], wrong])
        assert shared.agrees == [True, True, False, said[3] == wrong]
        assert shared.generate(experts, bank=model.bank, max_new_tokens=12) == expected
        assert [row[:1] for row in expected] == SharedPass(base, rows, [[], [], [], []]).generate(
            experts, bank=model.bank, max_new_tokens=1
        )


def test_a_base_that_does_more_than_take_the_likeliest_token_reads_its_prompts_twice() -> None:
    base = tiny_base("llama")
    base.model.generation_config.repetition_penalty = 1.1
    assert not can_share(base)
