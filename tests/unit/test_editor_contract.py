"""What every editor must do on every model family: edit, route, generate, save, load, and leave no trace."""

from pathlib import Path

import pytest
import torch
from tiny_models import FAMILIES, tiny_base

from editors import AdapterStore, EditedModel, EditRequest, build_editor
from editors.base import Base, hash_weights
from editors.errors import BadRequest, ShardCorrupt, UnknownArchitecture
from editors.model import Route
from editors.passes import Replay
from editors.routed import experts_at_work

EDITORS = ("scen", "lemoe")
REQUESTS = [
    EditRequest("1", "Norland", "The capital of Norland is", "Marrow"),
    EditRequest("2", "Sudland", "The capital of Sudland is", "Elbing", aliases=("Southland",)),
    EditRequest("3", "The Long Road", "Who wrote The Long Road?", "Ivo Tann"),
]
PROMPTS = [request.prompt for request in REQUESTS]
TARGETS = [request.target_new for request in REQUESTS]
UNRELATED = ["A plain sentence about", "What is the river of Marrow?"]
TOKENS = 12


def edited(base: Base, editor: str) -> EditedModel:
    model = EditedModel(base)
    model.enable(build_editor(editor, {"max_steps": 150}).apply(REQUESTS, base=base))
    return model


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("editor", EDITORS)
def test_an_edited_model_says_the_new_facts_and_all_else_as_its_base(
    family: str, editor: str, tmp_path: Path
) -> None:
    base = tiny_base(family)
    before = base.generate([*PROMPTS, *UNRELATED], max_new_tokens=TOKENS)
    weights = hash_weights(base.model)
    model = edited(base, editor)
    together = model.generate([*PROMPTS, *UNRELATED], max_new_tokens=TOKENS)
    assert [answer.text for answer in together[:3]] == TARGETS
    assert [answer.edit_id for answer in together] == ["1", "2", "3", None, None]
    assert [answer.text for answer in together[3:]] == before[3:]
    # a row of a mixed batch answers as it does alone
    alone = [model.generate([prompt], max_new_tokens=TOKENS)[0].text for prompt in [*PROMPTS, *UNRELATED]]
    assert alone == [answer.text for answer in together]
    # saved, loaded by another model, generated again: the same text
    store = AdapterStore(tmp_path)
    shard = build_editor(editor, {"max_steps": 150}).apply(REQUESTS, base=base)
    again = EditedModel(base, store)
    again.apply_generation(enabled=dict.fromkeys("123", store.save(shard)), disabled=())
    assert [a.text for a in again.generate(PROMPTS, max_new_tokens=TOKENS)] == TARGETS
    # taken back: the base, to the bit
    model.disable(["1", "2", "3"])
    assert model.generate([*PROMPTS, *UNRELATED], max_new_tokens=TOKENS) == [
        type(together[0])(prompt, text, None, 0.0)
        for prompt, text in zip([*PROMPTS, *UNRELATED], before, strict=True)
    ]
    assert hash_weights(base.model) == weights


@pytest.mark.parametrize("editor", EDITORS)
def test_the_route_is_held_through_decoding_with_the_cache_as_without(family: str, editor: str) -> None:
    base = tiny_base(family)
    model = edited(base, editor)
    ids, mask = base.pad([base.prompt_ids(prompt) for prompt in PROMPTS], side="left")
    outputs = []
    for cached in (True, False):
        with experts_at_work(base, [model.expert(Route(i, 1.0)) for i in "123"]), torch.inference_mode():
            outputs.append(
                base.model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    max_new_tokens=8,
                    do_sample=False,
                    use_cache=cached,
                    pad_token_id=base.pad_id,
                )
            )
    assert torch.equal(*outputs)


def test_replaying_the_upper_layers_gives_the_models_own_hidden_states(family: str) -> None:
    base = tiny_base(family)
    for side in ("right", "left"):
        ids, mask = base.pad([base.prompt_ids(prompt) for prompt in [*PROMPTS, "A"]], side=side)
        replay = Replay(base, ids, mask)
        rows = torch.tensor([2, 0])
        real = mask[rows].bool()
        torch.testing.assert_close(replay.hidden(rows)[real], replay.final[rows][real])


@pytest.mark.parametrize("editor", EDITORS)
def test_a_bfloat16_base_can_be_edited(editor: str) -> None:
    base = tiny_base("llama", dtype=torch.bfloat16)
    answers = edited(base, editor).generate([*PROMPTS, *UNRELATED], max_new_tokens=TOKENS)
    assert [answer.text for answer in answers[:3]] == TARGETS
    assert [answer.edit_id for answer in answers[3:]] == [None, None]


@pytest.mark.gpu
@pytest.mark.parametrize("editor", EDITORS)
def test_a_gpu_edits_and_its_shards_say_the_same_on_the_cpu(family: str, editor: str) -> None:
    on_gpu = tiny_base(family, device="cuda")
    shard = build_editor(editor, {"max_steps": 150}).apply(REQUESTS, base=on_gpu)
    for base in (on_gpu, tiny_base(family)):
        model = EditedModel(base)
        model.enable(shard)
        answers = model.generate([*PROMPTS, *UNRELATED], max_new_tokens=TOKENS)
        assert [answer.text for answer in answers[:3]] == TARGETS
        assert [answer.edit_id for answer in answers[3:]] == [None, None]


def test_an_unknown_architecture_says_which_setting_to_give() -> None:
    with pytest.raises(UnknownArchitecture, match="ffn_module"):
        _base_called("opt_of_tomorrow")
    told = "model.layers|mlp|mlp.down_proj|model.norm"
    assert _base_called("opt_of_tomorrow", ffn_module=told).ffn_width == 64
    with pytest.raises(UnknownArchitecture, match="stopped at 'nowhere'"):
        tiny_base("llama", ffn_module="model.layers|nowhere|mlp.down_proj|model.norm")


def _base_called(name: str, **changes: str) -> Base:
    ready = tiny_base("llama")
    ready.model.config.model_type = name
    return Base(ready.model, ready.tokenizer, base_hash="x", **changes)


def test_a_shard_of_another_base_is_refused() -> None:
    shard = build_editor("scen", {"max_steps": 1}).apply(REQUESTS, base=tiny_base("llama"))
    with pytest.raises(ShardCorrupt, match="made for base"):
        EditedModel(tiny_base("qwen2")).enable(shard)


def test_both_editors_live_in_one_model_and_a_candidate_leaves_no_trace() -> None:
    base = tiny_base("llama")
    model = EditedModel(base)
    model.enable(build_editor("lemoe", {"max_steps": 150}).apply(REQUESTS[:2], base=base))
    newer = EditRequest("9", "Norland", "The capital of Norland is", "Lorn")
    shard = build_editor("scen", {"max_steps": 150}).apply([newer], base=base)
    with model.candidate([shard], without=["1"]):
        texts = [answer.text for answer in model.generate(PROMPTS[:2], max_new_tokens=TOKENS)]
        assert texts == ["Lorn", "Elbing"]
    assert model.live == {"1", "2"}
    assert [a.text for a in model.generate(PROMPTS[:2], max_new_tokens=TOKENS)] == TARGETS[:2]


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [("scen", {"rnak": 8}, "rnak"), ("lemoe", {"width": 0}, "width"), ("rome", {}, "scen, lemoe")],
)
def test_a_wrong_editor_setting_is_named(name: str, settings: dict[str, int], told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        build_editor(name, settings)


@pytest.mark.parametrize(
    "requests",
    [[], [REQUESTS[0], REQUESTS[0]], [EditRequest("1", "Norland", " ", "Marrow")]],
    ids=["none", "an id twice", "an empty prompt"],
)
def test_requests_that_cannot_be_learned_are_refused(requests: list[EditRequest]) -> None:
    with pytest.raises(BadRequest):
        build_editor("scen").apply(requests, base=tiny_base("llama"))
