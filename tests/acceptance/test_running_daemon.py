"""One daemon under way: asked over HTTP and by command, its worker killed, its broker taken away, stopped and started."""

import json
import os
import signal
import time

from acceptance_support import Daemon, House, news
from prometheus_client.parser import text_string_to_metric_families
from waiting import eventually

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

Running = tuple[House, Daemon]


def test_an_edited_fact_is_answered_over_http_and_every_command_tells_of_it(running: Running) -> None:
    house, _ = running
    (told,) = news("asked", 1)
    house.publish([told.record])
    _wait_live(house, [told.event_id])

    (answer,) = house.post("/v1/generate", {"prompts": [told.prompt]})["answers"]
    assert answer["text"] == told.value
    completion = house.post("/v1/completions", {"prompt": told.prompt, "model": "base", "max_tokens": 16})
    assert completion["choices"][0]["text"] == f" {told.value}"
    assert json.loads(house.get("/healthz")) == {"status": "alive"}
    assert json.loads(house.get("/readyz"))["status"] == "ready"

    (fact,) = house.upkeep("facts", "--subject", told.subject)["facts"]
    assert (fact["state"], fact["event_id"], fact["edit_id"]) == (
        "live",
        told.event_id,
        answer["edit_id"],
    )
    assert [step["to"] for step in fact["history"]] == ["pending", "planned", "applying", "live"]
    status = house.upkeep("status")
    assert status["generation"]["number"] == house.head()
    assert status["edits"]["live"] >= 1
    asked = house.upkeep("ask", told.prompt)
    assert asked["edited"] == told.value != asked["base"]
    assert house.upkeep("check")["passed"]

    families = {family.name: family for family in text_string_to_metric_families(house.get("/metrics"))}
    assert families.keys() >= METRICS
    assert {"scen", "none"} >= {
        s.labels["editor"] for s in families["upkeep_edit_batch_duration_seconds"].samples
    }
    accepted = [
        s.value for s in families["upkeep_fact_events"].samples if s.labels.get("outcome") == "accepted"
    ]
    assert accepted == [house.outcomes()["accepted"]]


def test_the_batch_lane_waits_for_its_plan_and_apply_works_it_off(running: Running) -> None:
    house, _ = running
    told = news("batched", 3, skip=10, priority="batch")
    house.publish([item.record for item in told])
    eventually(lambda: house.ledger.audit.counts()[EditState.PENDING] == 3, "three edits are pending")

    dry = house.upkeep("plan", "--dry-run")
    assert not dry["stored"]
    assert sorted(i for batch in dry["plan"]["batches"] for i in batch["edit_ids"]) == sorted(
        edit.id for edit in house.ledger.plans.pending(None, 10)
    )
    house.upkeep("apply")

    _wait_live(house, [item.event_id for item in told])
    assert house.answers([item.prompt for item in told]) == [item.value for item in told]


def test_a_rollback_gives_exactly_the_answers_of_before(running: Running) -> None:
    house, _ = running
    first, second = news("kept", 2, skip=20), news("undone", 2, skip=22)
    prompts = [item.prompt for item in first + second]
    house.publish([item.record for item in first])
    _wait_live(house, [item.event_id for item in first])
    before, generation = house.answers(prompts), house.head()
    house.publish([item.record for item in second])
    _wait_live(house, [item.event_id for item in second])
    assert house.answers(prompts) == [item.value for item in first + second]

    one = next(edit for edit in house.ledger.generations.live_edits() if edit.event_id == second[0].event_id)
    house.upkeep("rollback", "--edit", one.id, "--yes")
    house.wait_served()
    assert house.answers(prompts) == [*before[:3], second[1].value]

    house.upkeep("rollback", "--to-generation", str(generation), "--cause", "a test", "--yes")
    house.wait_served()
    assert house.answers(prompts) == before
    house.upkeep("rollback", "--to-generation", "0", "--yes")
    house.wait_served()
    assert house.answers(prompts) == house.answers(prompts, base=True)


def test_a_worker_killed_in_a_batch_is_replaced_and_the_batch_goes_live_once(running: Running) -> None:
    house, daemon = running
    told = news("taken-over", 8, skip=30)
    house.publish([item.record for item in told])
    eventually(lambda: house.ledger.audit.counts()[EditState.APPLYING] > 0, "a batch is worked on")
    killed = daemon.roles()["worker"]
    os.kill(killed, signal.SIGKILL)

    _wait_live(house, [item.event_id for item in told])
    assert house.answers([item.prompt for item in told]) == [item.value for item in told]
    assert daemon.roles()["worker"] != killed
    (ended,) = (line for line in daemon.said("role ended") if line["died"] == "worker")
    assert ended["how"] == "killed by SIGKILL"
    for edit in house.ledger.audit.facts(None, EditState.LIVE, 100, 0):
        assert [e.to_state for e in house.ledger.audit.history(edit.id)].count(EditState.LIVE) == 1
    assert any("ran out" in e.cause for e in _histories(house, {item.event_id for item in told}))


def test_a_broker_that_is_away_is_told_once_and_nothing_is_lost(
    running: Running, broker: EmbeddedBroker
) -> None:
    house, daemon = running
    before, during, after = (news(name, 2, skip=skip) for name, skip in (("b", 50), ("d", 52), ("a", 54)))
    house.publish([item.record for item in before])
    _wait_live(house, [item.event_id for item in before])

    os.kill(broker.pid, signal.SIGSTOP)
    time.sleep(SILENT_SECONDS)
    assert house.answers([before[0].prompt]) == [before[0].value]
    os.kill(broker.pid, signal.SIGCONT)
    house.publish([item.record for item in during])
    _wait_live(house, [item.event_id for item in during])

    os.kill(broker.pid, signal.SIGKILL)
    broker.stop()
    eventually(lambda: daemon.said("the Kafka broker is away"), "the dead broker is noticed")
    broker.start()
    house.publish([item.record for item in after])
    _wait_live(house, [item.event_id for item in after])
    assert daemon.said("the Kafka broker is back")
    assert "consume" not in {line["died"] for line in daemon.said("role ended")}


def test_a_stopped_daemon_ends_its_batch_commits_and_goes_on_after_a_restart(running: Running) -> None:
    house, daemon = running
    told = news("stopped", 8, skip=60)
    house.publish([item.record for item in told])
    eventually(lambda: house.ledger.audit.counts()[EditState.APPLYING] > 0, "a batch is worked on")
    started = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - started < 30
    assert daemon.roles() == {}
    assert house.ledger.audit.counts()[EditState.APPLYING] == 0
    taken = house.consumed()

    more = news("after", 2, skip=70)
    house.publish([item.record for item in more])
    with house.daemon() as again:
        _wait_live(house, [item.event_id for item in (*told, *more)])
        # Every offset was committed: nothing came a second time.
        assert sum(line["redelivered"] for line in again.said("took records")) == 0
        assert house.consumed() == taken + len(more)
        house.wait_served()
        assert house.answers([item.prompt for item in told]) == [item.value for item in told]
        assert again.stop() == 0
    house.require_sound(consumed=taken + len(more))
    errors = [line for line in house.log() if line.get("level") in ("error", "critical")]
    assert errors == []


def test_the_log_is_json_and_names_the_events_and_batches_that_it_is_about(running: Running) -> None:
    house, _ = running
    log = house.log()
    assert all({"event", "level", "timestamp", "role"} <= line.keys() for line in log)
    assert all(line["batch_id"] > 0 for line in log if line["event"] == "generation published")
    taken = [event_id for line in log if line["event"] == "took records" for event_id in line["event_ids"]]
    assert {edit.event_id for edit in house.ledger.generations.live_edits()} <= set(taken)


def _wait_live(house: House, event_ids: list[str]) -> None:
    eventually(lambda: set(event_ids) <= house.live_events(), f"live: {event_ids}")
    house.wait_served()


def _histories(house: House, event_ids: set[str]) -> list[HistoryEntry]:
    edits = [edit for edit in house.ledger.generations.live_edits() if edit.event_id in event_ids]
    return [entry for edit in edits for entry in house.ledger.audit.history(edit.id)]
