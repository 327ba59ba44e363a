"""Checks, rollback and blame by a worker on the demo's base: what is wrong comes out, what is right stays in."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from prometheus_client import CollectorRegistry
from support.ledger.ledger_backends import Clock, Story
from support.ledger.ledger_invariants import check_invariants
from typer.testing import CliRunner

from daemon.__main__ import build_app
from daemon.events.fact_event import FactEvent
from daemon.ledger import Ledger
from daemon.ledger.values import Act, Edit
from daemon.served_model import open_model
from daemon.settings.settings import Settings
from daemon.work.worker import Worker
from editors.adapters.apply import apply_adapters
from editors.inference.likelihood import next_token_kls, text_changes
from editors.methods.registry import build_editor
from editors.pretrained.hashing import hash_folder
from editors.store.adapter_store import AdapterStore
from editors.store.shards import Shard
from monitoring.metrics.process_metrics import Metrics

DEMO = Path(__file__).parents[3] / "demo"
FRANCE, JAPAN = "The capital of France is", "The capital of Japan is"


@pytest.fixture
def url(tmp_path: Path, migrated_sqlite: Path) -> str:
    (tmp_path / "ledger.db").write_bytes(migrated_sqlite.read_bytes())
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def story(ledger: Ledger, clock: Clock) -> Story:
    return Story(ledger, clock, base_hash=hash_folder(DEMO / "base"))


def fact(subject: str, prompt: str, target: str, **changes: object) -> FactEvent:
    return FactEvent.model_validate(
        {
            "event_id": f"{subject} {target}",
            "subject": subject,
            "prompt": prompt,
            "target_new": target,
            "occurred_at": "2026-01-01T00:00:00Z",
            **changes,
        }
    )


class Shop:
    """A worker with a far suite of the demo's own probes, in slices as short as can be."""

    def __init__(self, story: Story, folder: Path) -> None:
        self.story = story
        lines = (DEMO / "data" / "far.jsonl").read_text().splitlines()
        (folder / "far.jsonl").write_text("\n".join(lines[:100]))
        self.settings = Settings.model_validate(
            {
                "model": {"path": str(DEMO / "base"), "max_new_tokens": 8},
                "store": {"path": str(folder / "store")},
                "monitoring": {
                    "suites": {"far": str(folder / "far.jsonl")},
                    "on_failure": "rollback",
                    "slice_seconds": 0.001,
                },
            }
        )
        self.model = open_model(self.settings, story.ledger)
        self.worker = Worker(self.settings, story.ledger, self.model, Metrics(CollectorRegistry()))

    def work(self) -> None:
        while self.worker.work_once():
            pass

    def check(self) -> None:
        self.story.ledger.checks.request(None, "test")
        self.work()

    def slip_past_the_gate(self, shard: Shard, edits: list[Edit]) -> None:
        """Publish what no verification has seen."""
        digest = AdapterStore(self.settings.store.path).save(shard)
        batch = self.story.claim()
        self.story.publish(batch, live={edit.id: digest for edit in edits})


@pytest.fixture
def shop(story: Story, tmp_path: Path) -> Shop:
    return Shop(story, tmp_path)


def test_an_expert_with_far_too_wide_a_scope_is_found_out_and_the_rest_of_its_batch_lives(
    shop: Shop,
) -> None:
    (early,) = shop.story.plan_urgently(fact("Spain", "The capital of Spain is", "Seville"))
    shop.work()
    shop.check()
    passed = {result.suite: result for result in shop.story.ledger.checks.latest()}
    assert all(result.passed for result in passed.values())
    assert passed["far"].scores["kl_mean"] == 0.0

    late = shop.story.plan_urgently(fact("France", FRANCE, "Lyon"), fact("Japan", JAPAN, "Osaka"))
    trained = build_editor("scen").apply([edit.request() for edit in late], base=shop.model.edited.base)
    wide = trained.header.entries[0].model_copy(
        update={"surface_forms": ("France", "the", "of"), "threshold": 0.0}
    )
    header = trained.header.model_copy(update={"entries": (wide, trained.header.entries[1])})
    loud = trained.tensors["scen.b"].clone()
    loud[0] *= 30  # and what it says drowns everything else
    shop.slip_past_the_gate(Shard(header, {**trained.tensors, "scen.b": loud}), late)
    shop.check()

    states = [shop.story.state(edit) for edit in (early, *late)]
    assert states == ["live", "quarantined", "live"]
    failed = next(r for r in shop.story.ledger.checks.results(50) if r.suite == "far" and not r.passed)
    scores = failed.scores
    assert scores["false_fire"] is not None
    assert scores["false_fire"] > 0.2
    assert scores["kl_mean"] is not None
    assert scores["kl_mean"] > 0.0
    assert all(result.passed for result in shop.story.ledger.checks.latest())
    shop.model.refresh()
    answers = shop.model.generate([FRANCE, JAPAN], max_new_tokens=8)
    assert [answer.edit_id for answer in answers] == [None, late[1].id]
    check_invariants(shop.story.ledger)


def test_an_urgent_batch_waits_for_one_slice_of_a_check_at_most(shop: Shop) -> None:
    shop.story.ledger.checks.request(None, "test")
    assert shop.worker.work_once()
    assert shop.story.ledger.checks.latest() == []
    edits = shop.story.plan_urgently(fact("France", FRANCE, "Lyon"))
    assert shop.worker.work_once()
    assert shop.story.state(edits[0]) == "live"
    assert shop.story.ledger.checks.latest() == []
    shop.work()
    assert {result.generation for result in shop.story.ledger.checks.latest()} == {0}


def test_a_check_by_hand_prints_its_scores_and_writes_its_page(
    shop: Shop, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, _ = shop.story.plan_urgently(
        fact("France", FRANCE, "Lyon"), fact("Japan", JAPAN, "Osaka"), editor="lemoe"
    )
    shop.work()
    (tmp_path / "upkeep.toml").write_text(
        f'[model]\npath = "{DEMO / "base"}"\n[ledger]\nurl = "{url}"\n[store]\npath = "store"\n'
        '[monitoring.suites]\nfar = "far.jsonl"\n'
    )
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(build_app(), ["check", "--full", "--report", "out", "--json"])
    reported = json.loads(run.stdout)
    assert (run.exit_code, reported["passed"], reported["outcome"]) == (0, True, "passed")
    assert {check["suite"]: check["probes"] for check in reported["checks"]} == {
        "far": 100,
        "text": 40,
        "retention": 2,
    }
    assert reported["checks"][-1]["scores"]["routing_consistency"] == 1.0
    assert not reported["without_far"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Retention by age" in page
    assert CliRunner().invoke(build_app(), ["check", "--suite", "nows"]).exit_code == 1
    shop.story.ledger.reversals.undo_fact(edit.id, Act("test", "test"))
    missing = CliRunner().invoke(build_app(), ["check", "--suite", "far", "--report", "upkeep.toml"])
    assert "cannot be written" in str(missing.exception)


def test_what_edits_do_to_probabilities_is_what_one_row_at_a_time_would_show(shop: Shop) -> None:
    edits = [fact("France", FRANCE, "Lyon"), fact("Japan", JAPAN, "Osaka", event_id="j")]
    asked = shop.story.arrive(*edits)
    base, model = shop.model.edited.base, shop.model.edited
    model.enable(build_editor("scen").apply([edit.request() for edit in asked], base=base))
    prompts = [FRANCE, "A plain sentence about the weather", JAPAN]
    kls = next_token_kls(model, prompts)
    assert kls[1] == 0.0
    assert min(kls[0], kls[2]) > 1.0
    assert [next_token_kls(model, [prompt])[0] for prompt in prompts] == pytest.approx(kls, abs=1e-3)

    texts = ["It rained.", FRANCE]
    unmoved, moved = text_changes(model, texts)
    assert (unmoved.nats, unmoved.tokens) == (0.0, len(base.prompt_ids(texts[0])) - 1)
    ids = base.prompt_ids(FRANCE)
    expert = model.expert(model.route([FRANCE])[0])
    assert expert is not None
    nats = []
    for at_work in (None, expert):
        with torch.no_grad(), apply_adapters(base, [at_work]):
            logp = base.model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        nats.append(-sum(float(logp[place, token]) for place, token in enumerate(ids[1:])))
    assert moved.nats == pytest.approx(nats[1] - nats[0], abs=1e-3)
    assert moved.nats != 0.0


def test_a_model_can_go_back_and_forth_between_generations_at_the_cost_of_what_they_changed(
    shop: Shop,
) -> None:
    for number, place in enumerate(("France", "Japan", "Spain")):
        shop.story.plan_urgently(fact(place, f"The capital of {place} is", f"Town{number}"))
        shop.work()
    ledger = shop.story.ledger
    ledger.generations.rollback_to(2, cause="test")
    shop.model.refresh()
    for number in itertools.chain(range(5), reversed(range(5)), (3, 0, 4)):
        with shop.model.at(number):
            assert shop.model.edited.live == ledger.generations.live_at(number).keys()
    assert shop.model.edited.live == ledger.generations.live().keys()
    assert json.dumps(sorted(shop.model.edited.live)) == '["1", "2"]'


def test_a_check_asked_for_after_a_generation_was_published_checks_that_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.story.plan_urgently(fact("Spain", "The capital of Spain is", "Seville"))
    shop.work()
    ledger = shop.story.ledger
    claim = ledger.batches.claim

    def meanwhile(*args: Any, **kwargs: Any) -> Any:
        """Another worker publishes and asks for a check, after this one has looked at the head."""
        monkeypatch.setattr(ledger.batches, "claim", claim)
        ledger.generations.rollback_to(0, cause="test")
        ledger.checks.request(None, "test")
        return claim(*args, **kwargs)

    monkeypatch.setattr(ledger.batches, "claim", meanwhile)
    shop.work()
    assert {check.generation for check in ledger.checks.latest()} == {shop.story.head()}
