"""Both papers' own modes: the baseline of every table must do what the papers say, on every family, and no more."""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from support.models.tiny_models import FAMILIES, tiny_base

from editors import AdapterStore, EditedModel, EditRequest, build_editor, load_base
from editors.adapters.apply import apply_adapters
from editors.base.base import Base
from editors.inference.edited_model import Answer
from editors.pretrained.hashing import hash_weights
from editors.routing.kv_anchor import Projection, in_order, pool
from editors.routing.neurons import activations, index_loss, scores
from editors.routing.scope_router import Route
from editors.store.shards import Shard, digest_of
from edits.errors import BadRequest

SETTINGS: dict[str, dict[str, Any]] = {
    "scen": {
        "mode": "paper",
        "learning_rate": 0.2,
        "steps": 12,
        "neuron_learning_rate": 0.3,
        "theta": 0.55,
        "cached_activations": True,
    },
    "lemoe": {"mode": "paper", "learning_rate": 0.02, "steps": 20, "route_learning_rate": 0.05},
}
# e of a prompt is then the same in training and in inference.
CLEAN = {"ignore_padding": True, "pool_prompt_only": True}
REMEDIES = ("replay", "force_own_expert", "deferral", "pool_prompt_only", "zero_output", "ignore_padding")
# Their last tokens differ: in a random model a last token says little about what stood before it.
REQUESTS = [
    EditRequest("1", "Norland", "The capital of Norland is", "Marrow"),
    EditRequest("2", "Sudland", "In Sudland they call their capital", "Elbing"),
    EditRequest("3", "The Long Road", "Who wrote The Long Road?", "Ivo Tann"),
]
LATER = [
    EditRequest("4", "Elbing", "The mayor of Elbing was", "Ana Berg"),
    EditRequest("5", "Marrow", "The river of Marrow:", "Tann"),
]
UNRELATED = ["Why do people sleep when it rains", "It is not easy to wait for money"]
TOKENS = 12
DEMO = Path(__file__).parents[3] / "demo" / "base"
OF_THE_EDITS = [
    *("The capital of France is", "What is the capital of Japan?"),
    *("What is the capital of France?", "The capital of Japan is"),
    *("It was a long day. The capital of France is", "It was a long day. What is the capital of Japan?"),
]
OF_THE_BASE = ["The currency of France is", "What is the currency of Japan?", "The capital of Spain is"]


def prompts(requests: list[EditRequest]) -> list[str]:
    return [request.prompt for request in requests]


def answered(model: EditedModel, texts: list[str], routes: list[Route] | None = None) -> list[str]:
    return [answer.text for answer in model.generate(texts, max_new_tokens=TOKENS, routes=routes)]


def train(
    editor: str, requests: list[EditRequest], base: Base, parent: EditedModel | None, **given: Any
) -> Shard:
    return build_editor(editor, SETTINGS[editor] | given).apply(requests, base=base, parent=parent)


@cache
def trained(editor: str, given: tuple[tuple[str, Any], ...]) -> tuple[Shard, Shard]:
    """Two batches on the tiny Llama, the second on top of the first."""
    base = tiny_base()
    model = EditedModel(base)
    first = train(editor, REQUESTS, base, model, **dict(given))
    model.enable(first)
    return first, train(editor, LATER, base, model, **dict(given))


def two_batches(base: Base, editor: str, **given: Any) -> tuple[EditedModel, Shard, Shard]:
    model = EditedModel(base)
    first, second = trained(editor, tuple(sorted(given.items())))
    model.enable(first)
    model.enable(second)
    return model, first, second


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("editor", ["scen", "lemoe"])
def test_a_paper_mode_edits_is_stored_and_leaves_the_base_to_the_bit(
    family: str, editor: str, tmp_path: Path
) -> None:
    base = tiny_base(family)
    weights = hash_weights(base.model)
    asked = [*prompts(REQUESTS), *UNRELATED]
    before = base.generate_outputs(asked, max_new_tokens=TOKENS)
    model = EditedModel(base)
    shard = train(editor, REQUESTS, base, model)
    model.enable(shard)
    answers = model.generate(asked, max_new_tokens=TOKENS)
    assert [answer.text for answer in answers[:3]] == [request.target_new for request in REQUESTS]
    if (
        editor == "scen"
    ):  # of a batch's edits, which one gives its name is decided by padding too: the formula's own trap
        assert [answer.edit_id for answer in answers[:3]] == ["1", "2", "3"]
    store = AdapterStore(tmp_path)
    again = EditedModel(base, store)
    again.apply_generation(enabled=dict.fromkeys("123", store.save(shard)), disabled=())
    assert again.generate(asked, max_new_tokens=TOKENS) == answers
    model.disable("123")
    assert model.generate(asked, max_new_tokens=TOKENS) == [
        Answer(prompt, answered.text, None, 0.0, answered.truncated)
        for prompt, answered in zip(asked, before, strict=True)
    ]
    assert hash_weights(base.model) == weights


def test_the_losses_of_stage_2_are_the_papers() -> None:
    s_pos, s_neg = torch.tensor(0.8), torch.tensor([0.3, 0.5])
    activation = math.exp(-0.8)
    negative = (math.exp(0.3) + math.exp(0.5)) / 2 + 0.7
    pair = (math.exp(0.3) + math.exp(0.5)) / 2 - 0.8 + 0.3
    assert index_loss(s_pos, s_neg).item() == pytest.approx(activation + negative + pair)
    assert index_loss(s_pos, s_neg[:0]).item() == pytest.approx(activation)


def test_stage_2_runs_the_model_over_all_history_in_each_step_and_cached_learns_the_same() -> None:
    base = tiny_base()
    facts = [*REQUESTS, *LATER]
    rows_read: list[int] = []
    count = base.model.register_forward_pre_hook(
        lambda _, __, kwargs: rows_read.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    neurons = {}
    passes = {}
    for cached in (False, True):
        rows_read.clear()
        shard = train("scen", facts, base, None, steps=1, cached_activations=cached)
        neurons[cached], passes[cached] = shard.tensors["neuron.w"], sum(rows_read)
    count.remove()
    torch.testing.assert_close(neurons[True], neurons[False])
    # one step of stage 1 and one reading for each of the 5 facts; then fact i and all before it, in 20 steps and to begin
    assert passes[True] == 5 + 5
    assert passes[False] == passes[True] + 21 * (1 + 2 + 3 + 4 + 5)


def test_a_neuron_fires_only_over_theta_and_the_highest_speaks() -> None:
    base = tiny_base()
    model, first, _ = two_batches(base, "scen", steps=1)
    h = activations(base, [base.prompt_ids(REQUESTS[1].prompt)])
    own = scores(first.tensors["neuron.w"], h)[0]
    route = model.route([REQUESTS[1].prompt])[0]
    assert route.edit_id == "2"
    assert route.score == pytest.approx(own.max().item())
    deaf = EditedModel(base)
    deaf.enable(train("scen", REQUESTS, base, None, steps=1, theta=0.999))
    assert deaf.route(prompts(REQUESTS)) == [Route(None, 0.0)] * 3
    # taken back: its neuron is gone, its batch-mates' are not
    model.disable(["2"])
    assert model.route([REQUESTS[1].prompt])[0].edit_id != "2"
    assert model.route([REQUESTS[0].prompt])[0].edit_id == "1"


def test_a_later_lemoe_batch_leaves_earlier_experts_and_keys_alone() -> None:
    base = tiny_base()
    model = EditedModel(base)
    first = train("lemoe", REQUESTS, base, model)
    before = first.payload
    model.enable(first)
    oracle = [Route(request.edit_id, 1.0) for request in REQUESTS]
    texts = answered(model, prompts(REQUESTS), oracle)
    second = train("lemoe", LATER, base, model)
    model.enable(second)
    assert (first.payload, second.header.sequence) == (before, 1)
    assert answered(model, prompts(REQUESTS), oracle) == texts


def moved(first: Shard, second: Shard, base: Base) -> float:
    """How far v of the first batch's prompts went when the second was trained."""
    device = torch.device("cpu")
    e = pool(base, [base.prompt_ids(prompt) for prompt in prompts(REQUESTS)], ignore_padding=True)
    v, after = Projection.of(first, device)(e), Projection.of(second, device)(e)
    return float((after - v).norm() / v.norm())


def test_the_one_projection_moves_old_routes_and_the_remedies_hold_them() -> None:
    base = tiny_base()
    literal, first, second = two_batches(base, "lemoe")
    assert moved(first, second, base) > 0.1
    own, _, _ = two_batches(base, "lemoe", own_projection=True)
    alone = EditedModel(base)
    alone.enable(trained("lemoe", (("own_projection", True),))[0])
    e = pool(base, [base.prompt_ids(prompt) for prompt in prompts(REQUESTS)], ignore_padding=True)
    assert torch.equal(old_logits(own, e), old_logits(alone, e))
    assert not torch.equal(old_logits(literal, e), old_logits(alone, e))
    replayed, _, _ = two_batches(base, "lemoe", replay=True, force_own_expert=True, **CLEAN)
    batches = [
        {"1": 0, "2": 0, "3": 0, "4": 1, "5": 1}[route.edit_id or ""] for route in all_routes(replayed)
    ]
    assert batches == [0, 0, 0, 1, 1]
    assert answered(replayed, prompts(REQUESTS + LATER)) == [r.target_new for r in REQUESTS + LATER]
    assert answered(literal, prompts(REQUESTS + LATER)) != [r.target_new for r in REQUESTS + LATER]


def old_logits(model: EditedModel, e: torch.Tensor) -> torch.Tensor:
    """What the first batch's key says to e, with the projection that the model reads it with."""
    batches = in_order(model.experts("kv_anchor"))
    own = batches[0].shard.header.settings["own_projection"]
    projection = Projection.of(batches[0 if own else -1].shard, e.device)
    return projection(e) @ batches[0].shard.tensors["kv.key"]


def all_routes(model: EditedModel) -> list[Route]:
    return model.route(prompts(REQUESTS + LATER))


def test_a_batch_is_forced_through_its_own_expert_with_its_whole_weight() -> None:
    base = tiny_base()
    forced, _, _ = two_batches(base, "lemoe", force_own_expert=True)
    oracle = [Route(request.edit_id, 1.0) for request in LATER]
    assert answered(forced, prompts(LATER), oracle) == [request.target_new for request in LATER]
    assert {route.gate for route in all_routes(forced)} == {1.0}
    literal, _, _ = two_batches(base, "lemoe")
    assert all(route.gate == route.score < 1.0 for route in all_routes(literal))


def test_with_deferral_unrelated_text_goes_to_the_base() -> None:
    base = tiny_base()
    for deferral in (False, True):
        given = {"replay": True, "force_own_expert": True, "deferral": deferral}
        model, _, _ = two_batches(base, "lemoe", **given, **CLEAN)
        assert [route.edit_id is None for route in model.route(UNRELATED)] == [deferral, deferral]
        assert None not in [route.edit_id for route in all_routes(model)]


def test_padding_and_targets_stay_out_of_e_only_with_their_switches() -> None:
    base = tiny_base()
    beside = "A plain sentence about the weather, and another plain sentence about the weather of Marrow."
    rows = [base.prompt_ids(prompt) for prompt in prompts(REQUESTS)]
    for off, on in ((False, True), (True, False)):
        model, first, _ = two_batches(base, "lemoe", steps=3, ignore_padding=on, pool_prompt_only=on)
        alone = model.route([REQUESTS[0].prompt])[0].score
        padded = model.route([REQUESTS[0].prompt, beside])[0].score
        assert (padded == pytest.approx(alone, abs=1e-6)) is on
        plain = pool(base, rows, ignore_padding=True)
        assert torch.equal(first.tensors["kv.e"], plain) is on, off


def test_an_expert_that_starts_at_zero_does_not_double_the_ffn() -> None:
    base = tiny_base()
    ids, mask = base.pad([base.prompt_ids(REQUESTS[0].prompt)], side="right")
    for zero in (False, True):
        model = EditedModel(base)
        shard = train("lemoe", REQUESTS, base, None, steps=1, learning_rate=1e-9, zero_output=zero)
        model.enable(shard)
        with torch.no_grad():
            plain = base.model(input_ids=ids, attention_mask=mask).logits
            with apply_adapters(base, [model.expert(Route("1", 1.0))]):
                edited = base.model(input_ids=ids, attention_mask=mask).logits
        assert torch.allclose(plain, edited, atol=1e-5) is zero


def test_with_all_remedies_lemoe_answers_both_batches_and_nothing_else() -> None:
    base = tiny_base()
    model, _, _ = two_batches(base, "lemoe", **dict.fromkeys(REMEDIES, True))
    assert answered(model, prompts(REQUESTS + LATER)) == [r.target_new for r in REQUESTS + LATER]
    assert answered(model, UNRELATED) == base.generate(UNRELATED, max_new_tokens=TOKENS)


def test_a_lemoe_expert_of_the_paper_stays_while_any_of_its_batch_is_live() -> None:
    base = tiny_base()
    model = EditedModel(base)
    model.enable(train("lemoe", REQUESTS, base, model))
    model.disable(["1"])
    assert model.route([REQUESTS[0].prompt])[0].edit_id in {"2", "3"}
    model.disable(["2", "3"])
    assert model.route(prompts(REQUESTS)) == [Route(None, 0.0)] * 3


def test_batches_of_one_model_must_share_their_router() -> None:
    base = tiny_base()
    model = EditedModel(base)
    model.enable(train("lemoe", REQUESTS, base, model, steps=1))
    with pytest.raises(BadRequest, match=r"editors\.lemoe\.key_width"):
        train("lemoe", LATER, base, model, steps=1, key_width=8)


def test_paper_and_default_edits_live_in_one_model_and_the_scope_index_is_asked_first() -> None:
    base = tiny_base()
    model = EditedModel(base)
    model.enable(train("lemoe", REQUESTS, base, model))
    newer = EditRequest("9", "Norland", "The capital of Norland is", "Lorn")
    model.disable(["1"])
    model.enable(build_editor("scen", {"max_steps": 150}).apply([newer], base=base))
    assert answered(model, prompts(REQUESTS)) == ["Lorn", "Elbing", "Ivo Tann"]


def test_low_rank_experts_can_be_routed_by_neurons_that_never_reread_history() -> None:
    base = tiny_base()
    settings: dict[str, int | float | str] = {
        "routing": "neuron",
        "max_steps": 1,
        "neuron_learning_rate": 0.3,
        "neuron_steps": 60,
    }
    model = EditedModel(base)
    model.enable(build_editor("scen", settings).apply(REQUESTS, base=base, parent=model))
    read: list[str] = []
    tokens = base.tokenizer.decode
    watch = base.model.register_forward_pre_hook(
        lambda _, __, kwargs: read.extend(tokens(row) for row in kwargs["input_ids"]), with_kwargs=True
    )
    second = build_editor("scen", settings).apply(LATER, base=base, parent=model)
    watch.remove()
    assert not [text for text in read if "Norland" in text]
    model.enable(second)
    assert [route.edit_id for route in all_routes(model)] == list("12345")
    assert [route.edit_id for route in model.route(UNRELATED)] == [None, None]


@pytest.mark.parametrize("editor", ["scen", "lemoe"])
@pytest.mark.parametrize("written_as", [1, 2, 3])
def test_a_shard_of_an_earlier_format_keeps_its_digest_its_routes_and_its_answers(
    tmp_path: Path, written_as: int, editor: str
) -> None:
    base, shard = taught(editor)
    written, weights = as_written(shard, written_as)
    digest = digest_of(written, [weights])
    folder = tmp_path / "shards" / digest
    folder.mkdir(parents=True)
    (folder / "shard.json").write_bytes(written)
    (folder / "shard.safetensors").write_bytes(weights)
    store = AdapterStore(tmp_path)
    loaded = store.load(digest)
    assert (loaded.header.routing, loaded.payload, loaded.digest) == ("scope", (written, weights), digest)

    wanted = [("Lyon", "1"), ("Osaka", "2")] * 3 + [(text, None) for text in base.generate(OF_THE_BASE)]
    for kept in (digest, store.save(shard)):
        assert said(base, store, kept, OF_THE_EDITS + OF_THE_BASE) == wanted


@cache
def taught(editor: str) -> tuple[Base, Shard]:
    """A base and edits that the base's own answers route, as all were before the index read text."""
    base = load_base(DEMO, device="cpu")
    requests = [
        EditRequest("1", "France", "The capital of France is", "Lyon"),
        EditRequest("2", "Japan", "What is the capital of Japan?", "Osaka"),
    ]
    return base, build_editor(editor, {"max_steps": 150}).apply(requests, base=base)


def said(base: Base, store: AdapterStore, digest: str, asked: list[str]) -> list[tuple[str, str | None]]:
    """What a server that follows a generation with this shard answers, and by which edit."""
    model = EditedModel(base, store)
    model.apply_generation(enabled=dict.fromkeys("12", digest), disabled=())
    return [(answer.text, answer.edit_id) for answer in model.generate(asked, max_new_tokens=TOKENS)]


def as_written(shard: Shard, written_as: int) -> tuple[bytes, bytes]:
    """A shard's two files as the release of that format wrote them."""
    header, weights = shard.payload
    old = json.loads(header)
    old["format"] = written_as
    del old["encoder_hash"], old["questions"], old["calibration"]["agreement"]
    if written_as == 1:
        for later in ("routing", "sequence", "calibration"):
            del old[later]
    for entry in old["entries"]:
        del entry["relation"], entry["odds"]
        if written_as < 3:
            del entry["prompt_sha256"], entry["answer_ids"]
        if written_as == 1:
            del entry["near_name"], entry["firm_words"]
    return json.dumps(old, sort_keys=True, ensure_ascii=False).encode(), weights


@pytest.mark.parametrize(
    ("settings", "reported"),
    [
        ({"mode": "papre"}, "default, paper"),
        ({"mode": "paper", "rank": 4}, "rank"),
        ({"replay": True}, "replay"),
    ],
)
def test_a_mode_knows_its_own_settings_alone(settings: dict[str, Any], reported: str) -> None:
    with pytest.raises(BadRequest, match=reported):
        build_editor("scen", settings)
