"""The watching with real parts: broker, daemon, Prometheus with the shipped rules, Alertmanager, a webhook."""

import contextlib
import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import torch
from sqlalchemy import update
from support.acceptance_support import Daemon, News, Site, furnished, news
from support.ledger.ledger_backends import database_of, record
from support.waiting import eventually
from support.watching_support import Watch, every_query, tool, watched

from daemon.events.fact_event import FactEvent
from daemon.ingest.embedded_broker import EmbeddedBroker
from daemon.ingest.kafka_client import ProducerRecord
from daemon.ledger import utc_now
from daemon.ledger.publication.manifests import Origin, append, child_of
from daemon.ledger.store.database import lock_head
from daemon.ledger.store.schema import generations
from daemon.ledger.values import Edit, EditState, GenerationKind
from demo.stream.records import StreamRecord, event_record
from demo.world.general import far_probes
from editors.store.adapter_store import AdapterStore

LAG_LIMIT = 1_000  # of the shipped rule

FAR = far_probes(60, seed=0)

Scene = tuple[Site, Daemon, Watch]


@pytest.fixture(scope="module")
def scene(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A daemon that is watched from its first moment on."""
    folder = tmp_path_factory.mktemp("watched")
    probes = [json.dumps({"prompt": prompt, "kind": "far"}) for prompt in FAR]
    probes.append(json.dumps({"prompt": "Wine is made from", "answer": "grapes"}))
    (folder / "far.jsonl").write_text("\n".join(probes), encoding="utf-8")
    changes: dict[str, dict[str, Any]] = {
        "kafka": {"bootstrap_servers": broker.bootstrap_servers, "topic": "watched", "group_id": "watched"},
        "monitoring": {"on_failure": "rollback"},
        "monitoring.suites": {"far": "far.jsonl"},
        # The gate stands open: what slips through is for the checks to find.
        "verify": {"locality_floor": 0.0, "reliability_floor": 0.0, "far_ceiling": 1.0},
        "planner": {"batch_size": 16, "batch_editor": "lemoe"},
        "schedule": {
            **{"urgent_seconds": 0.5, "check_seconds": 3600.0},
            **{"housekeeping_seconds": 2.0, "lag_seconds": 0.3},
        },
    }
    with furnished(folder, changes) as site:
        target = f"{site.settings.serve.host}:{site.settings.serve.port}"
        with watched(folder, target) as watch, site.daemon() as daemon:
            eventually(lambda: site.served_generation() is not None, "the daemon serves", seconds=180)
            yield site, daemon, watch


def test_a_consumer_that_is_stopped_under_load_raises_lag_and_clears_it_when_it_goes_on(scene: Scene) -> None:
    site, daemon, watch = scene
    before = site.outcomes()
    (reported,) = news("load", 1)
    site.publish([reported.record])
    eventually(lambda: reported.event_id in site.live_events(), "the first event is live")
    eventually(lambda: watch.value("topic:upkeep_consumer_group_lag_records:sum") == 0, "no lag at first")

    consumer = daemon.roles()["consume"]
    os.kill(consumer, signal.SIGSTOP)
    try:
        site.publish([reported.record] * (LAG_LIMIT + 200))
        alert = watch.wait_reported("UpkeepConsumerLag")
    finally:
        os.kill(consumer, signal.SIGCONT)

    assert alert["labels"] == {
        **{"alertname": "UpkeepConsumerLag", "severity": "warning", "topic": site.settings.kafka.topic}
    }
    # Those that had arrived when the rule looked first.
    assert re.match(r"1\.\d+k records of topic watched are not", alert["annotations"]["description"])
    watch.wait_reported("UpkeepConsumerLag", "resolved")
    eventually(lambda: watch.value("topic:upkeep_consumer_group_lag_records:sum") == 0, "the lag is gone")
    since = {outcome: count - before.get(outcome, 0) for outcome, count in site.outcomes().items()}
    assert since == {"accepted": 1, "duplicate": LAG_LIMIT + 200, "dead_lettered": 0}


def test_every_query_of_rules_and_dashboards_finds_data_in_a_real_daemon(scene: Scene) -> None:
    site, _, watch = scene
    _live_through_everything(site)

    tool("promtool", "check", "metrics", given=site.get("/metrics"))
    # Parity is measured where a gateway is named, which no daemon on one machine has (tests/unit/gateway/test_parity.py);
    # no check has failed yet: the tests below make some fail.
    later = re.compile("upkeep_(parity|failed_check)_")
    queries = [_always_answered(query) for query in every_query() if not later.search(query)]
    # Windows need two samples, and what is recorded from them one evaluation more.
    missing = set(queries)

    def found_all() -> bool:
        missing.difference_update([query for query in missing if watch.query(query)])
        return not missing

    with contextlib.suppress(AssertionError):
        eventually(found_all, "data for every query", seconds=30)
    assert missing == set()
    assert "UpkeepGenerationHeld" in watch.firing()
    site.upkeep("release")


def test_an_edit_with_too_wide_a_scope_is_told_rolled_back_and_set_aside_and_the_cleared_stay_live(
    scene: Scene,
) -> None:
    site, _, watch = scene
    _check(site)
    assert all(result.passed for result in site.ledger.checks.latest())
    rollbacks = site.ledger.audit.rollbacks()
    cleared = news("cleared", 4, skip=50)
    site.publish([item.record for item in cleared])
    # Consumers refuse the name: an earlier release did not.
    site.ledger.intake.record([record(_far_too_wide(), 0)])
    eventually(lambda: "too-wide" in site.live_events(), "the planted edit has slipped past the gate")

    site.ledger.checks.request(None, "a test")
    alert = watch.wait_reported("UpkeepLocalityRegression", suite="far")
    assert alert["labels"] == {
        **{"alertname": "UpkeepLocalityRegression", "severity": "critical", "suite": "far"}
    }
    told = re.search(r"has failed: (\d+\.?\d*)% of its probes", alert["annotations"]["description"])
    assert told
    assert float(told[1]) < 100

    watch.wait_reported("UpkeepLocalityRegression", "resolved", suite="far")
    assert site.ledger.audit.rollbacks() == rollbacks + 1
    (blamed,) = site.ledger.audit.facts("the", EditState.QUARANTINED)
    assert blamed.event_id == "too-wide"
    assert "blame" in site.ledger.audit.history(blamed.id)[-1].detail
    _wait_live(site, cleared)
    site.wait_served()
    assert site.answers([item.prompt for item in cleared]) == [item.value for item in cleared]
    assert site.answers(FAR) == site.answers(FAR, base=True)


def test_forgotten_old_edits_raise_edit_drift_and_the_young_ones_show_that_it_is_the_old(
    scene: Scene,
) -> None:
    site, _, watch = scene
    old, young = news("old", 6, skip=60, priority="batch"), news("young", 4, skip=70)
    site.publish([item.record for item in old])
    eventually(lambda: _are_pending(site, old), "the old ones wait")
    site.upkeep("plan")
    _wait_live(site, old)
    reported = {item.event_id for item in old}
    nightly = [edit for edit in site.ledger.generations.live_edits() if edit.event_id in reported]
    _make_older(site, nightly, days=40)
    site.publish([item.record for item in young])
    _wait_live(site, young)
    _check(site)
    eventually(lambda: _retention(watch, "all") == _retention(watch, "1d") == 1, "nothing is forgotten yet")

    _forget(site, nightly)
    site.ledger.checks.request(None, "a test")
    alert = watch.wait_reported("UpkeepEditDrift")
    assert alert["labels"] == {
        **{"alertname": "UpkeepEditDrift", "severity": "critical", "suite": "retention"}
    }
    told = re.search(r"(\d+\.?\d*)% of them still answered", alert["annotations"]["description"])
    assert told
    assert float(told[1]) / 100 < site.settings.verify.retention_floor
    # Blame may have made it good before the next scrape: what the failed check saw is told all the same.
    seen = "upkeep_failed_check_retention_ratio"
    forgotten = watch.value(f'min({seen}{{age="all",form="prompt"}})')
    assert forgotten is not None
    assert forgotten < site.settings.verify.retention_floor
    assert watch.value(f'min({seen}{{age="1d",form="prompt"}})') == 1
    watch.wait_reported("UpkeepEditDrift", "resolved")
    # Blame has found that each of them fails by itself: set aside, they answer as the base does, and say why.
    assert {edit.id for edit in site.ledger.audit.facts(None, EditState.QUARANTINED)} >= {
        edit.id for edit in nightly
    }
    assert site.ledger.control.held() is None


def _are_pending(site: Site, reported: list[News]) -> bool:
    waiting = {edit.event_id for edit in site.ledger.plans.pending(None, 1_000)}
    return {item.event_id for item in reported} <= waiting


def _make_older(site: Site, edits: list[Edit], *, days: int) -> None:
    """As if the generations of these edits had been published so long ago."""
    numbers = {edit.generation for edit in edits}
    with database_of(site.ledger).write() as connection:
        connection.execute(
            update(generations)
            .where(generations.c.number <= max(number for number in numbers if number is not None))
            .values(created_at=utc_now() - timedelta(days=days))
        )


def _retention(watch: Watch, age: str) -> float | None:
    """What the newest check says."""
    return watch.value(f'age_form:upkeep_retention_ratio:min{{age="{age}",form="prompt"}}')


def _forget(site: Site, edits: list[Edit]) -> None:
    """Publish a generation in which the experts of these edits say nothing, as if later training had undone them."""
    store = AdapterStore(site.settings.store.path)
    live = site.ledger.generations.live()
    digests = {live[edit.id] for edit in edits}
    muted: dict[str, str] = {}
    for digest in digests:
        shard = store.load(digest)
        silent = {
            name: torch.zeros_like(tensor) if name in ("lemoe.w_out", "scen.b") else tensor
            for name, tensor in shard.tensors.items()
        }
        again = store.save(replace(shard, tensors=silent))
        muted |= {edit.id: again for edit in edits if live[edit.id] == digest}
    head = site.head()
    with database_of(site.ledger).write() as connection:
        lock_head(connection)
        planted = child_of(
            *(connection, head),
            shards=sorted(set(muted.values())),
            enabled=muted,
            disabled=(),
            cause="planted forgetting",
            at=utc_now(),
        )
        append(connection, planted, Origin(GenerationKind.BATCH), expected_head=head)


def _far_too_wide() -> FactEvent:
    """An event whose subject is in nearly every text, and that calls questions of all kinds its rephrases."""
    return FactEvent.model_validate(
        {
            "event_id": "too-wide",
            "op": "assert",
            "subject": "the",
            "aliases": ["a", "of", "is", "in", "what", "to"],
            "relation": "answer",
            "prompt": "What is the answer?",
            "target_new": "Nothing at all",
            "rephrase_prompts": list(far_probes(8, seed=1)),
            "priority": "urgent",
            "occurred_at": "2026-05-01T12:00:00Z",
        }
    )


def _live_through_everything(site: Site) -> None:
    """Whatever a metric tells of happens once: both lanes, a newer value, a dead letter, checks, a rollback, a hold."""
    urgent, nightly = news("urgent", 4, skip=10), news("nightly", 10, skip=20, priority="batch")
    site.publish([_with_rephrase(item) for item in urgent])
    _wait_live(site, urgent)
    newer = news("newer", 2, skip=10, version=1)
    site.publish(
        [*(item.record for item in newer), ProducerRecord(site.settings.kafka.topic, b"key", b"no event")]
    )
    _wait_live(site, newer)
    site.publish([item.record for item in nightly])
    eventually(
        lambda: site.ledger.audit.counts()[EditState.PENDING] == len(nightly), "the night's edits wait"
    )
    site.upkeep("plan")
    _wait_live(site, nightly)
    for _ in range(2):  # drift is told against an earlier check
        _check(site)
    last = next(edit for edit in site.ledger.generations.live_edits() if edit.event_id == newer[0].event_id)
    site.upkeep("rollback", "--edit", last.id, "--yes")
    site.wait_served()
    site.answers([item.prompt for item in urgent])
    site.upkeep("hold", "a test")
    site.publish([item.record for item in news("held", 1, skip=40)])
    eventually(lambda: site.ledger.audit.counts()[EditState.PLANNED] == 1, "a batch is held")


def _check(site: Site) -> None:
    """Have the daemon's worker check everything now."""
    before = {result.suite: result.at for result in site.ledger.checks.latest()}
    site.ledger.checks.request(None, "a test")
    eventually(
        lambda: any(result.at != before.get(result.suite) for result in site.ledger.checks.latest()),
        "a check is done",
    )


def _wait_live(site: Site, reported: list[News]) -> None:
    eventually(lambda: {item.event_id for item in reported} <= site.live_events(), "the edits are live")


def _with_rephrase(item: News) -> StreamRecord:
    return event_record(
        json.loads(item.record.value or b"") | {"rephrase_prompts": [f"Tell me: {item.prompt}"]}
    )


def _always_answered(query: str) -> str:
    """The query with its comparisons answering 0 or 1 instead of nothing, and with Grafana's interval filled in."""
    compared = re.sub(r" (==|>|<) (?!bool)", r" \1 bool ", query.replace("$__rate_interval", "1m"))
    return compared.replace("unless on ()", "and on ()")
