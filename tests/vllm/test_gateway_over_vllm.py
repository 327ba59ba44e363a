"""The gateway in front of the real vLLM with a real chat model (`make test-vllm`)."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from support.gateway.gateway_support import Facts, RunningGateway, compare, gateway
from support.gateway.vllm_process import Vllm
from support.gateway.vllm_support import CHAT, DATA, MODEL, chat_body, greedy, running_requests, text_of
from support.waiting import eventually

from daemon.evaluation.facts_file import EvaluationFact
from daemon.evaluation.in_context import with_fact
from edits.judging import is_stated
from edits.prompts import Conversation, asked_in_chat

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(3_600)]

CLIENTS = 8


def ask_all(running: RunningGateway, questions: Sequence[str]) -> list[httpx.Response]:
    """All questions in chat, by some clients at a time, greedily."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        return list(clients.map(lambda q: greedy(running, q), questions))


def ask_with_the_fact_written(
    engine: Vllm, rows: Sequence[dict[str, Any]], questions: Sequence[str]
) -> list[httpx.Response]:
    """The honest alternative: no gateway, each question with its own fact as a system message, found by nobody's index."""

    def asked(row: dict[str, Any], question: str) -> httpx.Response:
        written = with_fact(asked_in_chat(question), EvaluationFact.model_validate(row), system=True)
        assert isinstance(written, Conversation)
        messages = [{"role": message.role, "content": message.content} for message in written.messages]
        body = chat_body(question, max_tokens=24) | {"messages": messages}
        return httpx.post(f"{engine.url}{CHAT}", json=body, timeout=120)

    with ThreadPoolExecutor(CLIENTS) as clients:
        return list(clients.map(asked, rows, questions))


def share_right(replies: Sequence[httpx.Response], rows: Sequence[dict[str, Any]]) -> float:
    right = [is_stated(text_of(reply), row["target_new"]) for reply, row in zip(replies, rows, strict=True)]
    return sum(right) / len(right)


def test_fifty_facts_are_answered_in_chat_as_reliably_as_in_process(
    front: RunningGateway, engine: Vllm, rows: list[dict[str, Any]]
) -> None:
    own, rephrased = ([row["prompt"] for row in rows], [row["rephrase_prompts"][0] for row in rows])
    edited = [share_right(ask_all(front, asked), rows) for asked in (own, rephrased)]
    written = [
        share_right(ask_with_the_fact_written(engine, rows, asked), rows) for asked in (own, rephrased)
    ]
    names = ("reliability", "generality")
    print(
        json.dumps(
            {**dict(zip(names, edited, strict=True)), "in_context": dict(zip(names, written, strict=True))}
        )
    )
    assert edited[0] >= 0.97
    assert edited[1] >= 0.88


def test_what_fires_nothing_is_answered_as_the_engine_answers_it(front: RunningGateway, engine: Vllm) -> None:
    prompts = [json.loads(line)["prompt"] for line in (DATA / "far.jsonl").read_text().splitlines()][:200]
    assert len(prompts) == 200

    def same(prompt: str) -> bool:
        body = {"model": MODEL, "prompt": prompt, "temperature": 0, "max_tokens": 8, "seed": 1}
        through, direct = (
            httpx.post(f"{url}/v1/completions", json=body, timeout=120) for url in (front.url, engine.url)
        )
        assert "x-upkeep-edit" not in through.headers
        mine, theirs = through.json(), direct.json()
        return all(mine[name] == theirs[name] for name in mine.keys() - {"id", "created"})

    assert [prompt for prompt in prompts if not same(prompt)] == []


def test_the_parity_check_finds_that_the_gateway_answers_as_the_model_in_process(
    front: RunningGateway, facts: Facts
) -> None:
    compare(facts, front.settings)
    scores = {
        form: front.metric(f'upkeep_parity_ratio{{form="{form}"}}') for form in ("prompt", "probe", "all")
    }
    print(json.dumps({"parity": scores, "compared": front.metric("upkeep_parity_prompts")}))
    assert front.metric("upkeep_parity_passed") == 1
    assert scores["prompt"] >= 0.95


def test_an_adapter_that_somebody_unloads_is_loaded_again(
    front: RunningGateway, engine: Vllm, rows: list[dict[str, Any]]
) -> None:
    before = text_of(greedy(front, rows[0]["prompt"]))
    for name in engine.adapters():
        engine.unload(name)
    assert text_of(greedy(front, rows[0]["prompt"])) == before


def test_two_gateways_beside_one_engine_with_little_room_agree(
    facts: Facts, engine: Vllm, rows: list[dict[str, Any]]
) -> None:
    settings = [facts.settings(engine.url, max_adapters=3) for _ in range(2)]
    questions = [row["prompt"] for row in rows[:8]] * 2
    with gateway(settings[0]) as one, gateway(settings[1]) as other:
        for running in (one, other):
            running.wait_generation(1)
        with ThreadPoolExecutor(2) as pool:
            answers = list(
                pool.map(lambda running: [text_of(r) for r in ask_all(running, questions)], (one, other))
            )
        assert answers[0] == answers[1]
        assert one.metric("upkeep_gateway_adapter_evictions_total") > 0


def test_a_rollback_is_another_choice(
    front: RunningGateway, facts: Facts, rows: list[dict[str, Any]]
) -> None:
    asked = rows[0]["prompt"]
    live = greedy(front, asked)
    assert live.headers["x-upkeep-edit"]
    back = facts.ledger.generations.rollback_to(0, cause="test").number
    front.wait_generation(back)
    assert "x-upkeep-edit" not in greedy(front, asked).headers
    again = facts.ledger.generations.rollback_to(1, cause="test").number
    front.wait_generation(again)
    assert text_of(greedy(front, asked)) == text_of(live)


def test_an_abandoned_stream_ends_at_the_engine_too(
    front: RunningGateway, engine: Vllm, rows: list[dict[str, Any]]
) -> None:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Tell me a long story about a river."}],
        "stream": True,
        "max_tokens": 400,
        "ignore_eos": True,
    }
    with httpx.stream("POST", f"{front.url}/v1/chat/completions", json=body, timeout=60) as stream:
        next(stream.iter_text())
    eventually(lambda: running_requests(engine) == 0, seconds=10)
    assert front.metric('upkeep_gateway_stream_aborts_total{outcome="client"}') == 1


def test_an_engine_that_was_killed_is_said_to_be_away_and_served_again_when_it_is_back(
    front: RunningGateway, engine: Vllm, rows: list[dict[str, Any]]
) -> None:
    before = text_of(greedy(front, rows[0]["prompt"]))
    engine.kill()
    away = greedy(front, rows[0]["prompt"])
    assert away.status_code == 502
    assert away.headers["retry-after"]
    assert away.json()["error"]["type"] == "server_error"
    engine.start()
    assert text_of(greedy(front, rows[0]["prompt"])) == before
