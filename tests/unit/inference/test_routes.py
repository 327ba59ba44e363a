"""Which edit a prompt goes through, and which shards a model takes."""

import pytest
from support.models.tiny_models import tiny_base

from editors import EditedModel, EditRequest, build_editor
from editors.base.base import Base
from editors.routing.scope_router import UNROUTED, Route
from editors.store.shards import Shard
from edits.errors import ShardCorrupt

REQUESTS = [
    EditRequest("1", "Norland", "The capital of Norland is", "Marrow"),
    EditRequest("2", "The Long Road", "Who wrote The Long Road?", "Ivo Tann"),
]
PROMPTS = [*(request.prompt for request in REQUESTS), "A plain sentence about", "The river of Marrow"]


def test_an_edits_own_prompt_to_the_letter_is_routed_without_a_look_at_the_base() -> None:
    base = tiny_base("llama")
    model = _edited(base, max_steps=100)
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    handle = base.layers[0].register_forward_pre_hook(count)
    routes = model.route(PROMPTS[:2])
    handle.remove()
    assert passes == 0
    assert routes == [Route("1", 1.0), Route("2", 1.0)]
    answers = model.generate(PROMPTS[:2])
    assert [(answer.edit_id, answer.text) for answer in answers] == [
        (request.edit_id, request.target_new) for request in REQUESTS
    ]


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


def test_settings_of_a_checkpoint_that_concern_training_change_no_answer() -> None:
    base = tiny_base("llama")
    model = _edited(base)
    prompts = [*PROMPTS, "I said that the capital of Norland is"]
    expected = model.generate(prompts)
    base.model.generation_config.use_cache = False
    base.model.generation_config.return_dict_in_generate = True
    assert EditedModel.generate(model, prompts) == expected


def _edited(base: Base, *, max_steps: int = 10) -> EditedModel:
    model = EditedModel(base)
    for editor, request in zip(("scen", "lemoe"), REQUESTS, strict=True):
        model.enable(build_editor(editor, {"max_steps": max_steps}).apply([request], base=base))
    return model
