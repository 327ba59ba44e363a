"""The shared pass: what it reads and what it lets generate is what two passes would."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import FAMILIES, tiny_base

from editors import EditedModel, EditRequest, build_editor
from editors.adapters.apply import ExpertRow, apply_adapters
from editors.base.base import Base
from editors.base.endings import Ending
from editors.inference.prefill import LEAST_SPARED, Asked, SharedBatch, can_share, of_like_length
from editors.routing.scope_router import UNROUTED, Route
from editors.store.shards import Shard
from edits.errors import ShardCorrupt

REQUESTS = [
    EditRequest("1", "Norland", "The capital of Norland is", "Marrow"),
    EditRequest("2", "The Long Road", "Who wrote The Long Road?", "Ivo Tann"),
]
PROMPTS = [*(request.prompt for request in REQUESTS), "A plain sentence about", "The river of Marrow"]


@pytest.mark.parametrize("family", FAMILIES)
def test_decoding_goes_on_from_the_pass_that_routed_as_it_would_from_the_start(family: str) -> None:
    base = tiny_base(family)
    model = _edited(base)
    rows = [base.prompt_ids(prompt) for prompt in PROMPTS]
    said = [ids for ids, _ in base.generate_scored(rows, max_new_tokens=4)]
    wrong = [said[0][0] + 1]
    assert can_share(base)
    for fires in ("12..", "....", "1..."):
        experts = [None if edit == "." else model.expert(Route(edit, 1.0)) for edit in fires]
        with apply_adapters(base, experts):
            expected = base.generate_ids(rows, max_new_tokens=12)
        asked = [Asked(ids, answer) for ids, answer in zip(rows, [said[0], said[1], [], wrong], strict=True)]
        shared = SharedBatch(base, asked, bank=model.bank)
        assert shared.agrees == [True, True, False, said[3] == wrong]
        assert shared.generate(experts, max_new_tokens=12) == expected
        alone = SharedBatch(base, [Asked(ids) for ids in rows], bank=model.bank)
        assert [row[:1] for row in expected] == alone.generate(experts, max_new_tokens=1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("beforehand", ["11..", "..1.", "1..."])
def test_a_draft_changes_no_word_whether_greedy_decoding_says_all_a_part_or_nothing_of_it(
    family: str, beforehand: str
) -> None:
    base = tiny_base(family)
    model = _edited(base)
    rows = [base.prompt_ids(prompt) for prompt in PROMPTS]
    plain = [model.expert(Route(edit, 1.0)) for edit in "1212"]
    with apply_adapters(base, plain), no_stopping(base):
        greedy = base.generate_ids(rows, max_new_tokens=9)
        drafts = [greedy[0][:6], [*greedy[1][:3], greedy[1][3] + 1, 5], [greedy[2][0] + 1, 5], []]
        experts = [_teaching(one, draft) for one, draft in zip(plain, drafts, strict=True)]
    known = [one if mark == "1" else None for one, mark in zip(experts, beforehand, strict=True)]
    asked = [
        Asked(ids, draft if one else said, one)
        for ids, draft, one, said in zip(rows, drafts, known, [[], [7, 8], [9], [7]], strict=True)
    ]
    with no_stopping(base):
        assert SharedBatch(base, asked, bank=model.bank).generate(experts, max_new_tokens=9) == greedy
        assert SharedBatch(base, asked, bank=model.bank).generate(experts, max_new_tokens=2) == [
            row[:2] for row in greedy
        ]


def test_an_edits_own_prompt_to_the_letter_needs_no_reading_and_one_pass_answers_it() -> None:
    base = tiny_base("llama")
    model = _edited(base, max_steps=100)
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    expected = model.generate(PROMPTS[:2], routes=[Route("1", 1.0), Route("2", 1.0)])
    assert model._can_share  # tried out once, with a pass of its own
    handle = base.layers[0].register_forward_pre_hook(count)
    answers = model.generate(PROMPTS[:2])
    handle.remove()
    assert [(answer.edit_id, answer.text) for answer in answers] == [
        (answer.edit_id, answer.text) for answer in expected
    ]
    assert [answer.text for answer in answers] == [request.target_new for request in REQUESTS]
    assert passes == 1


def test_of_two_edits_with_one_prompt_the_newest_answers_it() -> None:
    base = tiny_base("llama")
    model = EditedModel(base)
    for edit_id in ("12", "9"):
        request = EditRequest(edit_id, "Norland", "The capital of Norland is", f"City{edit_id}")
        model.enable(build_editor("scen", {"max_steps": 1}).apply([request], base=base))
    assert model.route(["The capital of Norland is"])[0].edit_id == "12"
    model.disable(["12"])
    assert model.route(["The capital of Norland is"])[0].edit_id == "9"
    model.disable(["9"])
    assert model.route(["The capital of Norland is"]) == [UNROUTED]


def test_a_shard_made_for_another_layer_is_refused_with_the_setting_to_give() -> None:
    base = tiny_base("llama")
    shard = build_editor("scen", {"max_steps": 1}).apply(REQUESTS, base=base)
    other = Base(base.model, base.tokenizer, base_hash=base.hash, layer=base.layer - 1)
    with pytest.raises(ShardCorrupt, match=rf"set model.layer = {base.layer}"):
        EditedModel(other).enable(shard)


@pytest.mark.parametrize("field", ["answer_ids", "base_answer_ids"])
def test_a_shard_that_names_tokens_which_the_base_does_not_have_is_refused(field: str) -> None:
    base = tiny_base("llama")
    shard = build_editor("scen", {"max_steps": 1}).apply(REQUESTS[:1], base=base)
    entry = shard.header.entries[0].model_copy(update={field: (base.vocabulary,)})
    hostile = Shard(shard.header.model_copy(update={"entries": (entry,)}), shard.tensors)
    with pytest.raises(ShardCorrupt, match="apply the edit again"):
        EditedModel(base).enable(hostile)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_near_the_end_of_the_context_no_neighbour_and_no_draft_costs_a_row_a_word(family: str) -> None:
    base = tiny_base(family)
    model = _edited(base)
    rows = [base.prompt_ids("tea " * 63), *map(base.prompt_ids, PROMPTS)]
    experts = [model.expert(Route(edit, 1.0)) for edit in "21212"]
    with no_stopping(base):
        with apply_adapters(base, experts):
            greedy = base.generate_ids(rows, max_new_tokens=64)
        taught = [[*greedy[0][:40], greedy[0][40] + 1, 5], [], greedy[2][:3], [5], []]
        drafted = [_teaching(one, draft) for one, draft in zip(experts, taught, strict=True)]
        asked = [
            Asked(rows[0], taught[0], drafted[0]),
            *(Asked(ids, [7] * 12) for ids in rows[1:]),
            Asked(rows[1], [7] * 60),  # a further suspect, beside the rows that answer
        ]
        assert SharedBatch(base, asked, bank=model.bank).generate(drafted, max_new_tokens=64) == greedy


@given(st.lists(st.integers(1, 300), min_size=1, max_size=20))
def test_a_batch_is_parted_only_where_that_spares_padding(lengths: list[int]) -> None:
    groups = of_like_length(lengths)
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    read = sum(len(group) * max(lengths[row] for row in group) for group in groups)
    assert len(groups) == 1 or read + LEAST_SPARED <= len(lengths) * max(lengths)


def test_a_base_that_does_more_than_take_the_likeliest_token_reads_its_prompts_twice() -> None:
    base = tiny_base("llama")
    base.model.generation_config.repetition_penalty = 1.1
    assert not can_share(base)


def test_a_base_whose_keys_depend_on_the_length_of_the_text_reads_its_prompts_twice() -> None:
    base = tiny_base("llama")
    name = "rope_parameters" if hasattr(base.model.config, "rope_parameters") else "rope_scaling"
    setattr(base.model.config, name, {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [4.0]})
    assert not can_share(base)


def test_a_base_with_a_layer_that_keeps_no_keys_reads_its_prompts_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = tiny_base("llama")
    monkeypatch.setattr(base, "layers", [*base.layers, object()])
    assert not can_share(base)


def test_settings_of_a_checkpoint_that_concern_training_change_no_answer() -> None:
    base = tiny_base("llama")
    model = _edited(base)
    prompts = [*PROMPTS, "I said that the capital of Norland is"]
    expected = model.generate(prompts)
    base.model.generation_config.use_cache = False
    base.model.generation_config.return_dict_in_generate = True
    assert EditedModel.generate(model, prompts) == expected
    assert can_share(base)


def _edited(base: Base, *, max_steps: int = 10) -> EditedModel:
    model = EditedModel(base)
    for editor, request in zip(("scen", "lemoe"), REQUESTS, strict=True):
        model.enable(build_editor(editor, {"max_steps": max_steps}).apply([request], base=base))
    return model


def _teaching(expert: ExpertRow | None, draft: list[int]) -> ExpertRow:
    """The same expert, which says of itself that it was taught this."""
    assert expert is not None
    entry = expert.shard.header.entries[expert.row].model_copy(update={"answer_ids": tuple(draft)})
    header = expert.shard.header.model_copy(update={"entries": (entry,)})
    return ExpertRow(Shard(header, expert.shard.tensors), 0)


@contextmanager
def no_stopping(base: Base) -> Iterator[None]:
    ending = base.plain_ending
    base.plain_ending = Ending(frozenset({len(base.tokenizer) + 1000}), one_line=True)
    try:
        yield
    finally:
        base.plain_ending = ending
