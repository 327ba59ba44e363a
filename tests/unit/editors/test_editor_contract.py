"""What every editor must do on every model family: edit, route, generate, save, load, and leave no trace.

`make test-real` asks the same of a real chat model, whose edits are read by their text.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from support.ledger.ledger_backends import Clock, Story
from support.models.real_model import real_base, real_matcher
from support.models.tiny_models import FAMILIES, FURTHER_FAMILIES, tiny_base
from support.worker_support import fact

from daemon.ledger import open_ledger
from daemon.settings.tables import VerifySettings
from daemon.work.verify import Verification, Verifier
from editors import AdapterStore, EditedModel, EditRequest, build_editor
from editors.adapters.apply import apply_adapters
from editors.base.architectures import LAYOUTS
from editors.base.base import Base
from editors.base.passes import Replay
from editors.inference.edited_model import Answer
from editors.pretrained.hashing import hash_weights
from editors.routing.scope_router import Route
from editors.store.shards import Shard
from edits.errors import BadRequest, ShardCorrupt, UnknownArchitecture

EDITORS = ("scen", "lemoe")
DTYPES = (torch.float32, torch.bfloat16)
REQUESTS = [
    EditRequest("1", "Norland", "The capital of Norland is", "Marrow"),
    EditRequest("2", "Sudland", "The capital of Sudland is", "Elbing", aliases=("Southland",)),
    EditRequest("3", "The Long Road", "Who wrote The Long Road?", "Ivo Tann"),
]
PROMPTS = [request.prompt for request in REQUESTS]
TARGETS = [request.target_new for request in REQUESTS]
UNRELATED = ["A plain sentence about", "What is the river of Marrow?"]
ALL = [*PROMPTS, *UNRELATED]
TOKENS = 12
REAL = "real"
# Thirty layers on a busy core: a batch may take minutes to learn.
ALSO_REAL = pytest.param(REAL, marks=[pytest.mark.real, pytest.mark.timeout(1800)])


def base_of(family: str, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Base:
    """The base of a family's name: a tiny one of random weights, or the real one."""
    if family != REAL:
        return tiny_base(family, dtype=dtype, device=device)
    if dtype != torch.float32 or device != "cpu":
        pytest.skip("the real base is asked as it is stored, on the CPU; the tiny ones in all ways")
    return real_base()


def model_of(family: str, base: Base, store: AdapterStore | None = None) -> EditedModel:
    """A model without edits. Where the base knows nothing of the facts, their text tells what is asked."""
    return EditedModel(base, store, matcher=real_matcher() if family == REAL else None)


def train(
    editor: str, requests: list[EditRequest], parent: EditedModel, *, steps: int | None = None
) -> Shard:
    """A batch of edits that will join a model; None: as many steps as it takes."""
    enough = {} if parent.base.chat else {"max_steps": 150}
    settings = enough if steps is None else {"max_steps": steps}
    return build_editor(editor, settings).apply(requests, base=parent.base, parent=parent)


@cache
def edited_base(family: str, editor: str, dtype: torch.dtype = torch.float32) -> tuple[Base, Shard]:
    """A base and the shard of `REQUESTS`, trained once for all tests that only read it."""
    base = base_of(family, dtype=dtype)
    return base, train(editor, REQUESTS, model_of(family, base))


def edited(family: str, editor: str, dtype: torch.dtype = torch.float32) -> EditedModel:
    base, shard = edited_base(family, editor, dtype)
    model = model_of(family, base)
    model.enable(shard)
    return model


def texts(model: EditedModel, prompts: list[str]) -> list[str]:
    return [answer.text for answer in model.generate(prompts, max_new_tokens=TOKENS)]


def logits(base: Base, *, side: str) -> list[torch.Tensor]:
    """What the model holds for every real token of each prompt, (T, V) a prompt."""
    ids, mask = base.pad([base.prompt_ids(prompt) for prompt in ALL], side=side)
    # As `generate` does it: left padding does not count as a position.
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.inference_mode():
        out = base.model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    return [row[real.bool()] for row, real in zip(out, mask, strict=True)]


@pytest.fixture(scope="module", params=[*FAMILIES, ALSO_REAL])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=EDITORS)
def editor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("dtype", DTYPES, ids=["fp32", "bf16"])
def test_an_edited_model_says_the_new_facts_and_all_else_as_its_base(
    family: str, editor: str, dtype: torch.dtype
) -> None:
    model = edited(family, editor, dtype)
    answers = model.generate(ALL, max_new_tokens=TOKENS)
    assert [answer.text for answer in answers[:3]] == TARGETS
    assert [answer.edit_id for answer in answers] == ["1", "2", "3", None, None]
    assert texts(model, UNRELATED) == model.base.generate(UNRELATED, max_new_tokens=TOKENS)


@pytest.mark.parametrize("dtype", DTYPES, ids=["fp32", "bf16"])
def test_a_row_of_a_batch_of_mixed_routes_answers_as_it_does_alone(
    family: str, editor: str, dtype: torch.dtype
) -> None:
    model = edited(family, editor, dtype)
    together = texts(model, ALL)
    # A bfloat16 base without edits may itself waver between two tokens where the batch is another.
    compared = ALL if dtype == torch.float32 else PROMPTS
    assert together[: len(compared)] == [texts(model, [prompt])[0] for prompt in compared]


@pytest.mark.parametrize("dtype", DTYPES, ids=["fp32", "bf16"])
def test_the_route_is_held_through_decoding_with_the_cache_as_without(
    family: str, editor: str, dtype: torch.dtype
) -> None:
    model = edited(family, editor, dtype)
    base = model.base
    ids, mask = base.pad([base.prompt_ids(prompt) for prompt in PROMPTS], side="left")
    outputs = []
    for cached in (True, False):
        with apply_adapters(base, [model.expert(Route(i, 1.0)) for i in "123"]), torch.inference_mode():
            outputs.append(
                base.model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    max_new_tokens=4,  # the answers and what ends them
                    do_sample=False,
                    use_cache=cached,
                    pad_token_id=base.pad_id,
                )
            )
    assert torch.equal(*outputs)


def test_padding_changes_nothing_on_either_side(family: str, editor: str) -> None:
    model = edited(family, editor)
    base, tokenizer = model.base, model.base.tokenizer
    side = tokenizer.padding_side
    reported = []
    try:
        for tokenizer.padding_side in ("left", "right"):
            reported.append((model.route(ALL), texts(model, ALL)))
    finally:
        tokenizer.padding_side = side
    assert reported[0] == reported[1]
    with apply_adapters(base, [model.expert(Route(i, 1.0)) for i in ("1", "2", "3", None, "1")]):
        left, right = logits(base, side="left"), logits(base, side="right")
    for one, other in zip(left, right, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3 if family == REAL else 1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES, ids=["fp32", "bf16"])
def test_a_saved_edit_is_loaded_bit_for_bit_and_says_the_same(
    family: str, editor: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    base, shard = edited_base(family, editor, dtype)
    store = AdapterStore(tmp_path)
    digest = store.save(shard)
    loaded = AdapterStore(tmp_path).load(digest)
    assert (loaded.header, loaded.digest) == (shard.header, digest)
    assert loaded.tensors.keys() == shard.tensors.keys()
    for name, tensor in shard.tensors.items():
        assert (loaded.tensors[name].dtype, loaded.tensors[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(loaded.tensors[name], tensor)
    again = model_of(family, base, store)
    again.apply_generation(enabled=dict.fromkeys("123", digest), disabled=())
    assert texts(again, ALL) == texts(edited(family, editor, dtype), ALL)


@pytest.mark.parametrize("dtype", DTYPES, ids=["fp32", "bf16"])
def test_edits_taken_back_leave_the_base_bit_for_bit(family: str, editor: str, dtype: torch.dtype) -> None:
    base = base_of(family, dtype=dtype)
    weights, before = hash_weights(base.model), logits(base, side="right")
    answered = base.generate_outputs(ALL, max_new_tokens=TOKENS)
    model = model_of(family, base)
    model.enable(train(editor, REQUESTS, model, steps=2))
    assert {route.edit_id for route in model.route(ALL)} == {"1", "2", "3", None}
    with apply_adapters(base, [model.expert(Route(i, 1.0)) for i in "12312"]):
        at_work = logits(base, side="right")
    assert not any(torch.equal(one, other) for one, other in zip(before, at_work, strict=True))
    model.disable(["1", "2", "3"])
    assert model.generate(ALL, max_new_tokens=TOKENS) == [
        Answer(prompt, one.text, None, 0.0, one.truncated) for prompt, one in zip(ALL, answered, strict=True)
    ]
    assert all(map(torch.equal, before, logits(base, side="right")))
    assert hash_weights(base.model) == weights


@pytest.mark.parametrize("name", ["llama", ALSO_REAL])
def test_a_later_batch_joins_the_earlier_ones_and_is_rolled_back_to_the_same_answers(
    name: str, editor: str, tmp_path: Path
) -> None:
    base, shard = edited_base(name, editor)
    store = AdapterStore(tmp_path)
    model = model_of(name, base, store)
    first = store.save(shard)
    model.apply_generation(enabled=dict.fromkeys("123", first), disabled=())
    before = model.generate(ALL, max_new_tokens=TOKENS)
    newer = EditRequest("9", "Norland", "The capital of Norland is", "Lorn")
    other = EditRequest("10", "Elbing", "The mayor of Elbing is", "Ana Berg")
    second = store.save(train(editor, [newer, other], model))
    model.apply_generation(enabled={"9": second, "10": second}, disabled=["1"])
    assert texts(model, [*ALL, other.prompt]) == ["Lorn", *(a.text for a in before[1:]), "Ana Berg"]
    model.apply_generation(enabled={"1": first}, disabled=["9", "10"])
    assert model.live == {"1", "2", "3"}
    assert model.generate(ALL, max_new_tokens=TOKENS) == before


@pytest.mark.parametrize("name", ["llama", ALSO_REAL])
def test_a_batch_passes_its_verification_where_it_says_what_was_asked_for_and_else_fails(
    name: str, editor: str, tmp_path: Path
) -> None:
    base, shard = edited_base(name, editor)
    model = model_of(name, base)
    learned = verified(model, shard, TARGETS, tmp_path)
    assert (learned.passed, dict(learned.failed), learned.fault) == (("1", "2", "3"), {}, None)
    assert learned.scores["reliability"] == learned.scores["locality_far"] == 1
    unlike = verified(model, shard, ["Lorn", *TARGETS[1:]], tmp_path)
    assert (unlike.passed, [*unlike.failed]) == (("2", "3"), ["1"])
    assert model.live == set()


def verified(model: EditedModel, shard: Shard, targets: list[str], folder: Path) -> Verification:
    """What a worker finds of the shard of `REQUESTS` before it publishes it, if the events asked for these answers."""
    events = [fact(one.subject, one.prompt, target) for one, target in zip(REQUESTS, targets, strict=True)]
    with open_ledger(f"sqlite:///{folder}/{'-'.join(targets)}.db") as ledger:
        ledger.migrate()
        edits = Story(ledger, Clock()).arrive(*events)
    verifier = Verifier(
        VerifySettings(), max_new_tokens=24 if model.base.chat else TOKENS, far_texts=UNRELATED
    )
    return verifier.check(model, [shard], edits, replaced=(), earlier=())


@pytest.mark.parametrize("name", [*FAMILIES, *FURTHER_FAMILIES])
def test_replaying_the_upper_layers_gives_the_models_own_hidden_states(name: str) -> None:
    base = tiny_base(name)
    for side in ("right", "left"):
        ids, mask = base.pad([base.prompt_ids(prompt) for prompt in [*PROMPTS, "A"]], side=side)
        replay = Replay(base, ids, mask)
        rows = torch.tensor([2, 0])
        real = mask[rows].bool()
        torch.testing.assert_close(replay.hidden(rows)[real], replay.final[rows][real])
        stopped = Replay(base, ids, mask, to_the_end=False)
        torch.testing.assert_close(stopped.leaving, replay.leaving)
        torch.testing.assert_close(stopped.hidden(rows)[real], replay.final[rows][real])
        with pytest.raises(ValueError, match="stopped"):
            stopped.final  # noqa: B018 - asked for what it does not have
    torch.testing.assert_close(Replay(base, ids, mask).final, replay.final)  # all layers run again


@pytest.mark.parametrize("name", FURTHER_FAMILIES)
def test_every_other_family_of_the_table_can_be_edited(name: str, editor: str) -> None:
    model = edited(name, editor)
    assert texts(model, ALL) == [*TARGETS, *model.base.generate(UNRELATED, max_new_tokens=TOKENS)]


def test_the_table_has_no_family_that_this_suite_lacks() -> None:
    assert set(LAYOUTS) == {*FAMILIES, *FURTHER_FAMILIES}


@pytest.mark.gpu
def test_a_gpu_edits_and_its_shards_say_the_same_on_the_cpu(family: str, editor: str) -> None:
    on_gpu = base_of(family, device="cuda")
    shard = build_editor(editor, {"max_steps": 150}).apply(REQUESTS, base=on_gpu)
    for base in (on_gpu, base_of(family)):
        model = EditedModel(base)
        model.enable(shard)
        answers = model.generate([*PROMPTS, *UNRELATED], max_new_tokens=TOKENS)
        assert [answer.text for answer in answers[:3]] == TARGETS
        assert [answer.edit_id for answer in answers[3:]] == [None, None]


def test_an_unknown_architecture_says_which_setting_to_give() -> None:
    with pytest.raises(UnknownArchitecture, match="ffn_module"):
        _base_called("opt_of_tomorrow")
    reported = "model.layers|mlp|mlp.down_proj|model.norm"
    assert _base_called("opt_of_tomorrow", ffn_module=reported).ffn_width == 64
    with pytest.raises(UnknownArchitecture, match="stopped at 'nowhere'"):
        tiny_base("llama", ffn_module="model.layers|nowhere|mlp.down_proj|model.norm")


def _base_called(name: str, *, ffn_module: str | None = None) -> Base:
    ready = tiny_base("llama")
    ready.model.config.model_type = name
    return Base(ready.model, ready.tokenizer, base_hash="x", ffn_module=ffn_module)


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
    ("name", "settings", "reported"),
    [("scen", {"rnak": 8}, "rnak"), ("lemoe", {"width": 0}, "width"), ("rome", {}, "scen, lemoe")],
)
def test_a_wrong_editor_setting_is_named(name: str, settings: dict[str, int], reported: str) -> None:
    with pytest.raises(BadRequest, match=reported):
        build_editor(name, settings)


@pytest.mark.parametrize(
    "requests",
    [
        list[EditRequest],
        lambda: [REQUESTS[0], REQUESTS[0]],
        lambda: [EditRequest("1", "Norland", " ", "Marrow")],
    ],
    ids=["none", "an id twice", "an empty prompt"],
)
def test_requests_that_cannot_be_learned_are_refused(requests: Callable[[], list[EditRequest]]) -> None:
    with pytest.raises(BadRequest):
        build_editor("scen").apply(requests(), base=tiny_base("llama"))
