"""LEMoE edits that are live already: a worker behind vLLM gives them LoRA adapters, and the gateway serves them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from prometheus_client import CollectorRegistry
from support.gateway.engine_double import EngineDouble, engine_double, models_of
from support.gateway.gateway_support import Facts, gateway
from support.serving_support import DEMO_BASE
from support.waiting import eventually
from transformers import AutoModelForCausalLM, AutoTokenizer

from daemon.served_model import open_model
from daemon.settings.settings import Settings
from daemon.work.worker import Worker
from editors.inference.export import export_peft, export_target, read_index
from editors.store.lora_forms import LoraForm
from edits.errors import ShardCorrupt
from monitoring.metrics.process_metrics import Metrics

# PEFT asks transformers for a name that it is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

FACTS = [
    {"subject": "France", "prompt": "The capital of France is", "target_new": "Lyon"},
    {"subject": "Japan", "prompt": "The capital of Japan is", "target_new": "Osaka"},
    {"subject": "Westmark", "prompt": "The currency of Westmark is", "target_new": "euro"},
]


@pytest.fixture
def facts(tmp_path: Path) -> Iterator[Facts]:
    published = Facts(tmp_path, DEMO_BASE)
    published.publish(*FACTS, editor="lemoe")
    yield published
    published.ledger.close()


@pytest.fixture
def engine() -> Iterator[EngineDouble]:
    with engine_double() as double:
        yield double


def work(settings: Settings, facts: Facts, *, engine: str) -> None:
    chosen = settings.model_copy(update={"serve": settings.serve.model_copy(update={"engine": engine})})
    worker = Worker(chosen, facts.ledger, open_model(chosen, facts.ledger), Metrics(CollectorRegistry()))
    while worker.work_once():
        pass


def answer_through_peft(folder: Path, prompt: str) -> str:
    """What the base says with the adapter of that folder, by PEFT alone."""
    tokenizer = AutoTokenizer.from_pretrained(DEMO_BASE)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(DEMO_BASE), str(folder))
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    with torch.no_grad():
        out = model.generate(input_ids=ids, max_new_tokens=8, do_sample=False)
    text: str = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
    return text.split("\n")[0].strip()


def test_live_lemoe_edits_fire_as_soon_as_a_worker_has_made_their_adapters_and_answer_as_told(
    facts: Facts, engine: EngineDouble
) -> None:
    settings = facts.settings(engine.url, prefetch=0)
    with gateway(settings, sweep_seconds=0.02) as front:
        front.wait_generation(facts.story.head())
        assert front.metric("upkeep_gateway_unserved_edits") == 3
        work(settings, facts, engine="embedded")
        assert not (facts.folder / "store" / "lora").exists()
        assert "x-upkeep-edit" not in front.chat(FACTS[0]["prompt"]).headers
        work(settings, facts, engine="vllm")
        eventually(lambda: front.metric("upkeep_gateway_unserved_edits") == 0)
        for fact in FACTS:
            reply = front.chat(fact["prompt"])
            edit_id = reply.headers["x-upkeep-edit"]
            (name,) = models_of(reply)
            assert name.startswith(f"upkeep-{edit_id}-")
            assert answer_through_peft(facts.folder / "adapters" / name, fact["prompt"]) == fact["target_new"]
    with gateway(settings) as later:  # and one that starts afterwards
        later.wait_generation(facts.story.head())
        assert later.metric("upkeep_gateway_unserved_edits") == 0


def without(facts: Facts, edit_id: str) -> None:
    """As though the LoRA form of one edit had not answered as told when the worker made those of its batch."""
    digest = facts.ledger.generations.live()[edit_id]
    made = facts.store.lora.find(digest)
    assert made is not None
    kept = [row for row, one in enumerate(made.edit_ids) if one != edit_id]
    tensors = {name: tensor[kept].clone() for name, tensor in made.tensors.items()}
    partly = LoraForm([made.edit_ids[row] for row in kept], tensors)
    facts.store.lora.save(digest, partly)
    kept_form = facts.store.lora.find(digest)
    assert kept_form is not None
    assert len(kept_form.edit_ids) == len(made.edit_ids)  # what was written stays
    shutil.rmtree(facts.store.lora.root / digest)
    facts.store.lora.save(digest, partly)


def test_an_edit_whose_form_does_not_answer_has_none_and_stays_the_bases(
    facts: Facts, engine: EngineDouble
) -> None:
    work(facts.settings(engine.url), facts, engine="vllm")
    without(facts, "2")
    with gateway(facts.settings(engine.url, prefetch=0)) as front:
        front.wait_generation(facts.story.head())
        assert front.metric("upkeep_gateway_unserved_edits") == 1
        fired = ["x-upkeep-edit" in front.chat(fact["prompt"]).headers for fact in FACTS]
        assert fired == [True, False, True]


def test_an_export_holds_lemoe_edits_by_their_lora_forms_and_names_those_that_have_none(
    facts: Facts, engine: EngineDouble
) -> None:
    settings, live = facts.settings(engine.url), facts.ledger.generations.live()
    work(settings, facts, engine="vllm")
    without(facts, "2")
    target = export_target(str(DEMO_BASE))
    out = facts.folder / "export"
    index = export_peft(live, store=facts.store, target=target, generation=1, out=out)
    assert [edit.edit_id for edit in index.edits] == ["1", "3"]
    assert [edit.edit_id for edit in index.left_out] == ["2"]
    for edit in index.edits:
        fact = FACTS[int(edit.edit_id) - 1]
        assert answer_through_peft(out / edit.folder, fact["prompt"]) == fact["target_new"]
    read, parts = read_index(out)
    assert read == index
    assert [part.edit_ids for part in parts] == [("1", "3")]


def test_a_damaged_form_is_refused_and_costs_its_own_edits_alone(facts: Facts, engine: EngineDouble) -> None:
    scen = facts.publish(
        {"subject": "Eastmark", "prompt": "The capital of Eastmark is", "target_new": "Elbing"}
    )
    digest = facts.ledger.generations.live()["1"]
    work(facts.settings(engine.url), facts, engine="vllm")
    weights = facts.store.lora.root / digest / "lora.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ShardCorrupt, match="damaged"):
        facts.store.lora.find(digest)
    with gateway(facts.settings(engine.url, prefetch=0)) as front:
        front.wait_generation(facts.story.head())
        assert front.metric("upkeep_gateway_unserved_edits") == 3
        assert front.chat("The capital of Eastmark is").headers["x-upkeep-edit"] == scen["Eastmark"]
