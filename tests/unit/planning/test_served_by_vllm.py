"""A deployment behind vLLM: LEMoE's plan, SCEN's experts, and all of them fire through the gateway."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from support.gateway.engine_double import engine_double, models_of
from support.gateway.gateway_support import Facts, gateway
from support.ledger.ledger_backends import event
from support.serving_support import DEMO_BASE

from daemon.ledger.values import Edit, Lane
from daemon.planning.cycle import draft_cycle
from daemon.planning.scheduler import jobs_of
from daemon.planning.servable import log_engine
from daemon.served_model import open_model
from daemon.settings.complaints import BadSettings
from daemon.settings.settings import Settings, load_settings
from daemon.work.worker import Worker
from editors.store.adapter_store import AdapterStore
from monitoring.metrics.process_metrics import Metrics

PLANNER = {"embedding": "tfidf", "batch_size": 3, "min_lemoe_cluster": 2, "order": "farthest"}


def behind(facts: Facts, engine: str, url: str = "http://127.0.0.1:1") -> Settings:
    """The settings of every role."""
    given = facts.settings(url, prefetch=0).model_dump(exclude_defaults=True)
    return Settings.model_validate({**given, "planner": PLANNER, "serve": {"engine": engine}})


def arrive(facts: Facts) -> list[Edit]:
    """Eight facts of two kinds for the nightly lane."""
    capitals = [event(f"c{n}", f"Land{name}") for n, name in enumerate(("ov", "ir", "ax", "um"))]
    rivers = [
        event(f"r{n}", name, "Danzig", relation="mouth", prompt=f"The river {name} flows into the sea at")
        for n, name in enumerate(("Ostra", "Wend", "Silva", "Tarn"))
    ]
    return facts.story.arrive(*capitals, *rivers)


def work(settings: Settings, facts: Facts) -> None:
    worker = Worker(settings, facts.ledger, open_model(settings, facts.ledger), Metrics(CollectorRegistry()))
    while worker.work_once():
        pass


def test_a_nightly_batch_ends_as_scen_experts_in_the_order_of_lemoes_plan_and_fires_through_the_gateway(
    tmp_path: Path,
) -> None:
    facts = Facts(tmp_path, DEMO_BASE)
    edits = arrive(facts)
    embedded = draft_cycle(facts.ledger, behind(facts, "embedded"), lanes=(Lane.URGENT, Lane.BATCH))
    assert embedded is not None
    planned = [batch.edit_ids for batch in embedded.plan.batches]
    assert "lemoe" in {batch.editor for batch in embedded.plan.batches}
    assert planned != sorted(planned)  # an order of its own
    with engine_double() as engine:
        settings = behind(facts, "vllm", engine.url)
        (nightly,) = [job for job in jobs_of(settings, facts.ledger) if job.name == "nightly_plan"]
        nightly.work()
        work(settings, facts)
        generations = facts.ledger.generations.since(0)
        assert [sorted(one.enabled) for one in generations] == [sorted(ids) for ids in planned]
        store = AdapterStore(tmp_path / "store")
        shards = [store.load(digest) for one in generations for digest in one.enabled.values()]
        assert {shard.header.editor for shard in shards} == {"scen"}
        with gateway(settings) as front:
            front.wait_generation(facts.story.head())
            assert front.metric("upkeep_gateway_unserved_edits") == 0
            for edit in edits:
                reply = front.chat(str(edit.prompt))
                assert reply.headers["x-upkeep-edit"] == edit.id
                assert models_of(reply)[0].startswith(f"upkeep-{edit.id}-")
    facts.ledger.close()


def test_the_plan_says_for_whom_a_batch_was_planned_and_a_batch_from_before_is_trained_as_scen(
    tmp_path: Path,
) -> None:
    facts = Facts(tmp_path, DEMO_BASE)
    settings = behind(facts, "vllm")
    arrive(facts)
    drafted = draft_cycle(facts.ledger, settings, lanes=(Lane.BATCH,))
    assert drafted is not None
    assert {batch.editor for batch in drafted.plan.batches} == {"scen"}
    assert [batch for batch in drafted.plan.batches if "planned for lemoe, served by vllm" in batch.reason]
    (edit,) = facts.story.plan_urgently(event("before", "Westmark"), editor="lemoe")
    work(settings, facts)
    shard = facts.store.load(facts.ledger.generations.live()[edit.id])
    assert shard.header.editor == "scen"
    facts.ledger.close()


def test_the_roles_say_at_start_what_becomes_of_lemoe() -> None:
    with capture_logs() as logs:
        log_engine("embedded")
        log_engine("vllm")
    (line,) = logs
    assert "trained as SCEN experts" in line["consequence"]


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ('[index]\nencoder = ""', "index.encoder"),
        ('[editors.scen]\nmode = "paper"', "editors.scen.mode"),
        ('[editors.scen]\nrouting = "neuron"', "editors.scen.routing"),
    ],
)
def test_what_vllm_cannot_serve_is_refused_by_name(tmp_path: Path, table: str, named: str) -> None:
    path = tmp_path / "upkeep.toml"
    path.write_text(table + "\n")
    load_settings(path)
    path.write_text(f'{table}\n[serve]\nengine = "vllm"\n')
    with pytest.raises(BadSettings, match=named):
        load_settings(path)
