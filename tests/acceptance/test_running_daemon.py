"""One daemon under way: asked over HTTP and by command, its worker killed, its broker taken away, stopped and started."""

import json
import os
import signal
import time

from prometheus_client.parser import text_string_to_metric_families
from support.acceptance_support import Daemon, Site, news
from support.waiting import eventually

from daemon.ingest.embedded_broker import EmbeddedBroker
from daemon.ledger.values import EditState, HistoryEntry

METRICS = {
    "upkeep_fact_events",  # the parser takes the _total off
    "upkeep_edits",
    "upkeep_edit_batch_duration_seconds",
    "upkeep_consumer_lag_records",
    "upkeep_locality_ratio",
    "upkeep_retention_ratio",
    "upkeep_regression_last_success_timestamp_seconds",
    "upkeep_generation_info",
}

SILENT_SECONDS = 4  # more than the consumer's session may last

Running = tuple[Site, Daemon]


def test_an_edited_fact_is_answered_over_http_and_every_command_tells_of_it(running: Running) -> None:
    site, _ = running
    (reported,) = news("asked", 1)
    site.publish([reported.record])
    _wait_live(site, [reported.event_id])

    (answer,) = site.post("/v1/generate", {"prompts": [reported.prompt]})["answers"]
    assert answer["text"] == reported.value
    completion = site.post("/v1/completions", {"prompt": reported.prompt, "model": "base", "max_tokens": 16})
    assert completion["choices"][0]["text"] == f" {reported.value}"
    assert json.loads(site.get("/healthz")) == {"status": "alive"}
    assert json.loads(site.get("/readyz"))["status"] == "ready"

    (fact,) = site.upkeep("facts", "--subject", reported.subject)["facts"]
    assert (fact["state"], fact["event_id"], fact["edit_id"]) == (
        "live",
        reported.event_id,
        answer["edit_id"],
    )
    assert [step["to"] for step in fact["history"]] == ["pending", "planned", "applying", "live"]
    status = site.upkeep("status")
    assert status["generation"]["number"] == site.head()
    assert status["edits"]["live"] >= 1
    asked = site.upkeep("ask", reported.prompt)
    assert asked["edited"] == reported.value != asked["base"]
    assert site.upkeep("check")["passed"]

    families = {family.name: family for family in text_string_to_metric_families(site.get("/metrics"))}
    assert families.keys() >= METRICS
    assert {"scen", "none"} >= {
        s.labels["editor"] for s in families["upkeep_edit_batch_duration_seconds"].samples
    }
    accepted = [
        s.value for s in families["upkeep_fact_events"].samples if s.labels.get("outcome") == "accepted"
    ]
    assert accepted == [site.outcomes()["accepted"]]


def test_the_batch_lane_waits_for_its_plan_and_apply_works_it_off(running: Running) -> None:
    site, _ = running
    reported = news("batched", 3, skip=10, priority="batch")
    site.publish([item.record for item in reported])
    eventually(lambda: site.ledger.audit.counts()[EditState.PENDING] == 3, "three edits are pending")

    dry = site.upkeep("plan", "--dry-run")
    assert not dry["stored"]
    assert sorted(i for batch in dry["plan"]["batches"] for i in batch["edit_ids"]) == sorted(
        edit.id for edit in site.ledger.plans.pending(None, 10)
    )
    site.upkeep("apply")

    _wait_live(site, [item.event_id for item in reported])
    assert site.answers([item.prompt for item in reported]) == [item.value for item in reported]


def test_a_rollback_gives_exactly_the_answers_of_before(running: Running) -> None:
    site, _ = running
    first, second = news("kept", 2, skip=20), news("undone", 2, skip=22)
    prompts = [item.prompt for item in first + second]
    site.publish([item.record for item in first])
    _wait_live(site, [item.event_id for item in first])
    before, generation = site.answers(prompts), site.head()
    site.publish([item.record for item in second])
    _wait_live(site, [item.event_id for item in second])
    assert site.answers(prompts) == [item.value for item in first + second]

    one = next(edit for edit in site.ledger.generations.live_edits() if edit.event_id == second[0].event_id)
    site.upkeep("rollback", "--edit", one.id, "--yes")
    site.wait_served()
    assert site.answers(prompts) == [*before[:3], second[1].value]

    site.upkeep("rollback", "--to-generation", str(generation), "--cause", "a test", "--yes")
    site.wait_served()
    assert site.answers(prompts) == before
    site.upkeep("rollback", "--to-generation", "0", "--yes")
    site.wait_served()
    assert site.answers(prompts) == site.answers(prompts, base=True)


def test_a_worker_killed_in_a_batch_is_replaced_and_the_batch_goes_live_once(running: Running) -> None:
    site, daemon = running
    reported = news("taken-over", 8, skip=30)
    site.publish([item.record for item in reported])
    eventually(lambda: site.ledger.audit.counts()[EditState.APPLYING] > 0, "a batch is worked on")
    killed = daemon.roles()["worker"]
    os.kill(killed, signal.SIGKILL)

    _wait_live(site, [item.event_id for item in reported])
    assert site.answers([item.prompt for item in reported]) == [item.value for item in reported]
    assert daemon.roles()["worker"] != killed
    (ended,) = (line for line in daemon.logged("role ended") if line["died"] == "worker")
    assert ended["how"] == "killed by SIGKILL"
    for edit in site.ledger.audit.facts(None, EditState.LIVE, 100, 0):
        assert [e.to_state for e in site.ledger.audit.history(edit.id)].count(EditState.LIVE) == 1
    assert any("ran out" in e.cause for e in _histories(site, {item.event_id for item in reported}))


def test_a_broker_that_is_away_is_told_once_and_nothing_is_lost(
    running: Running, broker: EmbeddedBroker
) -> None:
    site, daemon = running
    before, during, after = (news(name, 2, skip=skip) for name, skip in (("b", 50), ("d", 52), ("a", 54)))
    site.publish([item.record for item in before])
    _wait_live(site, [item.event_id for item in before])

    os.kill(broker.pid, signal.SIGSTOP)
    time.sleep(SILENT_SECONDS)
    assert site.answers([before[0].prompt]) == [before[0].value]
    os.kill(broker.pid, signal.SIGCONT)
    site.publish([item.record for item in during])
    _wait_live(site, [item.event_id for item in during])

    os.kill(broker.pid, signal.SIGKILL)
    broker.stop()
    eventually(lambda: daemon.logged("the Kafka broker is away"), "the dead broker is noticed")
    broker.start()
    site.publish([item.record for item in after])
    _wait_live(site, [item.event_id for item in after])
    assert daemon.logged("the Kafka broker is back")
    assert "consume" not in {line["died"] for line in daemon.logged("role ended")}


def test_a_stopped_daemon_ends_its_batch_commits_and_goes_on_after_a_restart(site: Site) -> None:
    reported = news("stopped", 8, skip=60)
    with site.daemon() as daemon:
        site.publish([item.record for item in reported])
        eventually(lambda: site.ledger.audit.counts()[EditState.APPLYING] > 0, "a batch is worked on")
        started = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - started < 30
        assert daemon.roles() == {}
    assert site.ledger.audit.counts()[EditState.APPLYING] == 0
    taken = site.consumed()

    more = news("after", 2, skip=70)
    site.publish([item.record for item in more])
    with site.daemon() as again:
        _wait_live(site, [item.event_id for item in (*reported, *more)])
        # Every offset was committed: nothing came a second time.
        assert sum(line["redelivered"] for line in again.logged("took records")) == 0
        assert site.consumed() == len(reported) + len(more) >= taken + len(more)
        site.wait_served()
        assert site.answers([item.prompt for item in reported]) == [item.value for item in reported]
        assert again.stop() == 0
    site.require_sound(consumed=len(reported) + len(more))
    errors = [line for line in site.log() if line.get("level") in ("error", "critical")]
    assert errors == []


def test_the_log_is_json_and_names_the_events_and_batches_that_it_is_about(running: Running) -> None:
    site, _ = running
    log = site.log()
    assert all({"event", "level", "timestamp", "role"} <= line.keys() for line in log)
    assert all(line["batch_id"] > 0 for line in log if line["event"] == "generation published")
    taken = [event_id for line in log if line["event"] == "took records" for event_id in line["event_ids"]]
    assert {edit.event_id for edit in site.ledger.generations.live_edits()} <= set(taken)


def _wait_live(site: Site, event_ids: list[str]) -> None:
    eventually(lambda: set(event_ids) <= site.live_events(), f"live: {event_ids}")
    site.wait_served()


def _histories(site: Site, event_ids: set[str]) -> list[HistoryEntry]:
    edits = [edit for edit in site.ledger.generations.live_edits() if edit.event_id in event_ids]
    return [entry for edit in edits for entry in site.ledger.audit.history(edit.id)]
