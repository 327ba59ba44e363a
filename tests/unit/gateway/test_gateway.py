"""The gateway in front of a strict engine: what reaches it, what comes back, and what happens when something fails."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from support.gateway.engine_double import BASE, EngineDouble, engine_double, models_of
from support.gateway.gateway_support import Facts, RunningGateway, gateway
from support.ledger.ledger_backends import event
from support.serving_support import DEMO_BASE
from support.waiting import eventually, free_port

from daemon.ledger.values import Act
from editors.store.shards import Shard

NORLAND = {"subject": "Norland", "prompt": "The capital of Norland is", "target_new": "Elbing"}
OSTRA = {"subject": "Lake Ostra", "prompt": "What is the depth of Lake Ostra?", "target_new": "Elbing"}
ASKED, OTHER = "The capital of Norland is", "The currency of France is"


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facts]:
    published = Facts(tmp_path_factory.mktemp("facts"), DEMO_BASE)
    published.publish(NORLAND, OSTRA)
    yield published
    published.ledger.close()


@pytest.fixture
def engine() -> Iterator[EngineDouble]:
    with engine_double() as double:
        yield double


@pytest.fixture
def front(facts: Facts, engine: EngineDouble) -> Iterator[RunningGateway]:
    with gateway(facts.settings(engine.url, prefetch=0)) as running:
        running.wait_generation(facts.story.head())
        yield running


def test_a_prompt_that_asks_an_edit_goes_to_its_adapter(
    facts: Facts, front: RunningGateway, engine: EngineDouble
) -> None:
    reply = front.chat(ASKED)
    edit, generation = reply.headers["x-upkeep-edit"], reply.headers["x-upkeep-generation"]
    (name,) = models_of(reply)
    assert name.startswith(f"upkeep-{edit}-")
    assert generation == str(facts.story.head())
    assert engine.loads == [name]


def test_a_trace_says_why_an_edit_fires_or_none_does_and_asks_no_engine(
    front: RunningGateway, engine: EngineDouble
) -> None:
    fired = front.post("/v1/trace", {"prompt": "Tell me, which city is the capital of Norland?"}).json()
    (one,) = fired["candidates"]
    assert (one["subject"], one["chosen"], one["base_agrees"], one["evidence"]) == (
        "Norland",
        True,
        None,
        0.0,
    )
    assert one["probability"] == one["score"] == fired["score"] >= one["threshold"]
    assert one["asked"] == ["tell me, which city is the capital of x?"]

    other = front.post("/v1/trace", {"prompt": "Who painted the flag of Norland?"}).json()
    (one,) = other["candidates"]
    assert (other["edit_id"], one["fires"]) == (None, False)
    assert one["why"].startswith("its name stands there, but another question is asked: 0.")
    assert "1 live edit is named, but none is asked for" in other["why"]
    assert front.post("/v1/trace", {"prompt": ["x"]}).status_code == 422
    assert engine.received == []


def test_what_fires_nothing_reaches_the_engine_byte_for_byte(
    front: RunningGateway, engine: EngineDouble
) -> None:
    body = b'{ "model":"base" , "prompt" : "The currency of France is", "x": 1.50 }'
    reply = httpx.post(f"{front.url}/v1/completions", content=body)
    assert engine.received == [body]
    assert ("x-upkeep-edit" in reply.headers, models_of(reply)) == (False, [BASE])


def test_many_who_ask_at_once_wait_for_one_load(front: RunningGateway, engine: EngineDouble) -> None:
    with ThreadPoolExecutor(8) as clients:
        replies = list(clients.map(lambda _: front.chat(ASKED), range(8)))
    assert {reply.status_code for reply in replies} == {200}
    assert len(engine.loads) == 1


def test_an_engine_that_lost_its_adapters_gets_them_again(
    front: RunningGateway, engine: EngineDouble
) -> None:
    front.chat(ASKED)
    engine.adapters.clear()
    assert front.chat(ASKED).status_code == 200
    assert len(engine.loads) == 2


def test_the_least_used_adapter_makes_room(facts: Facts, engine: EngineDouble) -> None:
    with gateway(facts.settings(engine.url, prefetch=0, max_adapters=1)) as front:
        front.wait_generation(facts.story.head())
        for question in (ASKED, OSTRA["prompt"], ASKED):
            assert front.chat(question).headers["x-upkeep-edit"]
            assert len(engine.adapters) == 1
        assert front.metric("upkeep_gateway_adapter_evictions_total") == 2


def test_room_that_was_exceeded_is_given_back_without_a_further_request(
    facts: Facts, engine: EngineDouble
) -> None:
    with gateway(facts.settings(engine.url, prefetch=0, max_adapters=1)) as front:
        front.wait_generation(facts.story.head())
        both = front.post("/v1/completions", {"model": BASE, "prompt": [ASKED, OSTRA["prompt"]]})
        assert both.status_code == 200
        eventually(lambda: len(engine.adapters) == 1)


def test_adapters_that_an_earlier_gateway_loaded_count_and_those_of_others_stay(
    facts: Facts, engine: EngineDouble
) -> None:
    settings = {"prefetch": 0, "max_adapters": 1}
    with gateway(facts.settings(engine.url, **settings)) as earlier:
        earlier.wait_generation(facts.story.head())
        earlier.chat(ASKED)
    engine.adapters.add("somebodys-own")
    with gateway(facts.settings(engine.url, **settings)) as later:
        later.wait_generation(facts.story.head())
        assert later.chat(OSTRA["prompt"]).headers["x-upkeep-edit"]
        assert len(engine.adapters) == 2
        assert "somebodys-own" in engine.adapters


def test_prompts_of_one_request_are_answered_by_their_own_adapters_in_order(front: RunningGateway) -> None:
    body = {"model": BASE, "prompt": [OTHER, ASKED, OSTRA["prompt"], OTHER]}
    reply = front.post("/v1/completions", body)
    models = models_of(reply)
    assert [models[0], models[3]] == [BASE, BASE]
    norland, ostra = (name.split("-")[1] for name in models[1:3])
    assert reply.headers["x-upkeep-edit"] == f"none,{norland},{ostra},none"
    assert [choice["index"] for choice in reply.json()["choices"]] == [0, 1, 2, 3]
    assert reply.json()["usage"]["total_tokens"] == 6
    refused = front.post("/v1/completions", {**body, "stream": True})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prompt")


def test_adapters_are_nobodys_business(front: RunningGateway, engine: EngineDouble) -> None:
    front.chat(ASKED)
    assert [card["id"] for card in httpx.get(f"{front.url}/v1/models").json()["data"]] == [BASE]
    assert front.chat(OTHER, model=next(iter(engine.adapters))).status_code == 404
    for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "//v1/unload_lora%5Fadapter/"):
        assert front.post(path, {"lora_name": "x"}).status_code == 403
    assert len(engine.adapters) == 1


def test_every_other_path_passes_untouched(front: RunningGateway) -> None:
    reply = httpx.get(f"{front.url}/other/a%2Fb?c=%20d", headers={"Authorization": "Bearer key"})
    assert reply.json() == {"path": "/other/a%2Fb", "query": "c=%20d", "authorization": "Bearer key"}


def test_a_rollback_is_another_choice(front: RunningGateway, facts: Facts) -> None:
    def follow(number: int) -> str | None:
        front.wait_generation(facts.ledger.generations.rollback_to(number, cause="test").number)
        edit: str | None = front.chat(ASKED).headers.get("x-upkeep-edit")
        return edit

    live = front.chat(ASKED).headers["x-upkeep-edit"]
    assert follow(0) is None
    assert follow(1) == live


def test_an_abandoned_stream_ends_at_the_engine_too(front: RunningGateway, engine: EngineDouble) -> None:
    body = {"model": BASE, "prompt": ASKED, "stream": True, "max_tokens": 100_000}
    with httpx.stream("POST", f"{front.url}/v1/completions", json=body) as stream:
        pieces = stream.iter_text()  # held: it closes the stream when it is gone
        next(pieces)
        assert engine.streaming == 1
    eventually(lambda: engine.streaming == 0)
    eventually(lambda: front.metric('upkeep_gateway_stream_aborts_total{outcome="client"}') == 1)


def test_an_engine_that_breaks_off_its_answer_closes_the_clients_connection_without_a_traceback(
    front: RunningGateway, engine: EngineDouble, caplog: pytest.LogCaptureFixture
) -> None:
    engine.breaks_off = True
    body = {"model": BASE, "prompt": OTHER, "stream": True}
    url = f"{front.url}/v1/completions"
    with httpx.stream("POST", url, json=body, timeout=20) as stream, pytest.raises(httpx.RemoteProtocolError):
        stream.read()
    eventually(lambda: front.metric('upkeep_gateway_stream_aborts_total{outcome="engine"}') == 1)
    engine.breaks_off = False
    assert front.chat(OTHER).status_code == 200
    traced = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert not [error for error in traced if "broke off" in str(error)]


def test_a_stream_in_hand_is_finished_when_the_gateway_is_told_to_stop(
    front: RunningGateway, engine: EngineDouble
) -> None:
    body = {"model": BASE, "prompt": OTHER, "stream": True, "max_tokens": 100}
    with httpx.stream("POST", f"{front.url}/v1/completions", json=body) as stream:
        pieces = stream.iter_text()
        first = next(pieces)
        front.stop()
        assert (first + "".join(pieces)).endswith("data: [DONE]\n\n")


def test_an_engine_that_is_away_is_said_so_in_openais_form(facts: Facts) -> None:
    with engine_double() as engine:
        settings = facts.settings(engine.url, model_name=BASE)
        with gateway(settings) as front:
            front.wait_generation(facts.story.head())
            engine_url = f"http://127.0.0.1:{free_port()}"
            assert engine_url != engine.url
            away = settings.model_copy(
                update={
                    "gateway": settings.gateway.model_copy(
                        update={"engine": engine_url, "port": free_port(), "metrics_port": free_port()}
                    )
                }
            )
    lost = RunningGateway(away)
    try:
        eventually(lambda: _listens(lost))
        for question in (ASKED, OTHER):
            reply = lost.chat(question)
            assert (reply.status_code, reply.json()["error"]["type"]) == (502, "server_error")
            assert int(reply.headers["retry-after"]) >= 1
    finally:
        lost.end()


@pytest.mark.parametrize(("on_failure", "status"), [("base", 200), ("error", 503)])
def test_an_adapter_that_cannot_be_loaded_is_decided_beforehand(
    facts: Facts, engine: EngineDouble, tmp_path: Path, on_failure: str, status: int
) -> None:
    elsewhere = str(tmp_path / "not-seen")  # the engine does not see what the gateway writes
    with gateway(facts.settings(engine.url, on_failure=on_failure, engine_adapters=elsewhere)) as front:
        front.wait_generation(facts.story.head())
        reply = front.chat(ASKED)
        assert reply.status_code == status
        if status == 200:
            assert (models_of(reply), reply.headers["x-upkeep-adapter"]) == ([BASE], "failed")
            assert "x-upkeep-edit" not in reply.headers
            both = front.post("/v1/completions", {"model": BASE, "prompt": [ASKED, OTHER]})
            assert (models_of(both), both.headers["x-upkeep-adapter"]) == ([BASE, BASE], "failed")
            assert "x-upkeep-edit" not in both.headers
        else:
            assert reply.headers["retry-after"]
        assert front.metric('upkeep_gateway_adapter_loads_total{outcome="failed"}') >= 1


def test_what_cannot_be_followed_leaves_the_last_generation_and_is_said(
    front: RunningGateway, facts: Facts
) -> None:
    before = front.chat(ASKED)
    whole = facts.store.load(next(iter(facts.ledger.generations.live().values())))
    header = whole.header.model_copy(update={"base_hash": "sha256:another"})
    alien = facts.store.save(Shard(header, dict(whole.tensors)))
    (edit,) = facts.story.plan_urgently(event("alien", "Westmark"))
    facts.story.publish(facts.story.claim(), live={edit.id: alien})
    eventually(lambda: front.metric("upkeep_gateway_index_stale") == 1)
    reply = front.chat(ASKED)
    assert reply.headers["x-upkeep-index"] == "stale"
    assert reply.headers["x-upkeep-edit"] == before.headers["x-upkeep-edit"]
    front.wait_generation(facts.ledger.generations.rollback_to(1, cause="test").number)
    assert "x-upkeep-index" not in front.chat(ASKED).headers


def test_a_damaged_shard_is_not_served_and_everything_else_is(front: RunningGateway, facts: Facts) -> None:
    before = front.chat(ASKED)
    (edit,) = facts.story.plan_urgently(event("damaged", "Eastmark"))
    facts.story.publish(facts.story.claim(), live={edit.id: "0" * 64})  # a shard that the store does not have
    front.wait_generation(facts.story.head())
    assert front.metric("upkeep_gateway_unserved_edits") >= 1
    assert front.metric("upkeep_gateway_index_stale") == 0
    assert front.chat(ASKED).headers["x-upkeep-edit"] == before.headers["x-upkeep-edit"]
    front.wait_generation(facts.ledger.reversals.undo_fact(edit.id, Act("test", "test")).number)


def test_a_request_beyond_the_limits_is_refused(facts: Facts, engine: EngineDouble) -> None:
    with gateway(facts.settings(engine.url, max_body_bytes=1_024, max_concurrent=1)) as front:
        front.wait_generation(facts.story.head())
        assert front.chat("x" * 2_000).status_code == 413
        body = {"model": BASE, "prompt": OTHER, "stream": True, "max_tokens": 100_000}
        with httpx.stream("POST", f"{front.url}/v1/completions", json=body) as stream:
            pieces = stream.iter_text()  # held: it closes the stream when it is gone
            next(pieces)
            refused = front.chat(OTHER)
            assert (refused.status_code, refused.json()["error"]["type"]) == (503, "service_unavailable")
            assert refused.headers["retry-after"]
        eventually(lambda: front.chat(OTHER).status_code == 200)


def test_what_is_no_request_is_the_engines_to_judge(front: RunningGateway) -> None:
    for body in (b"[" * 100_000, b"{", b"[1]", json.dumps({"model": BASE, "messages": 3}).encode()):
        reply = httpx.post(f"{front.url}/v1/chat/completions", content=body)
        assert reply.status_code in (200, 500)  # the double's own
        assert "x-upkeep-edit" not in reply.headers


def _listens(running: RunningGateway) -> bool:
    try:
        return running.health("/healthz").status_code == 200
    except httpx.TransportError:
        return False
