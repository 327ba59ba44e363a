"""The gateway in front of the real vLLM while generations change under load, and behind a client that reads slowly."""

import json
import os
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.gateway.gateway_load import Load, change_generations, settled, slow_client, wrong_answers
from support.gateway.gateway_support import Facts, RunningGateway, gateway
from support.gateway.vllm_process import Vllm
from support.gateway.vllm_support import CHAT, MODEL, PUBLISHED, chat_body, greedy, text_of

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(3_600)]

LOAD_SECONDS = float(os.environ.get("UPKEEP_LOAD_SECONDS", "180"))
CLIENTS = 8
CHANGES = 20
MAX_GROWTH_BYTES = 64 << 20


@pytest.fixture(scope="module")
def changing(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], engine: Vllm
) -> Iterator[Facts]:
    """A ledger of its own, whose head this file moves to and fro."""
    published = Facts(tmp_path_factory.mktemp("changing"), Path(os.environ["UPKEEP_REAL_BASE"]))
    yield published
    published.ledger.close()


def test_swaps_and_rollbacks_under_load_mix_nothing_and_fail_nobody(
    changing: Facts, engine: Vllm, rows: list[dict[str, Any]]
) -> None:
    one, two, late = ({name: row[name] for name in PUBLISHED} for row in rows[:3])
    edits = {subject: [edit] for subject, edit in changing.publish(one, two).items()}
    first = changing.story.head()
    (newer,) = changing.publish({**one, "target_new": late["target_new"]}).values()
    second = changing.story.head()
    prepared = changing.prepare(late)
    outputs = {edits[one["subject"]][0]: one["target_new"], edits[two["subject"]][0]: two["target_new"]}
    outputs |= {newer: late["target_new"], prepared.edits[late["subject"]]: late["target_new"]}
    edits[one["subject"]].append(newer)
    edits |= {subject: [edit] for subject, edit in prepared.edits.items()}
    bodies = {fact["subject"]: chat_body(fact["prompt"], max_tokens=16) for fact in (one, two, late)}
    with gateway(changing.settings(engine.url)) as front:
        front.wait_generation(second)
        begun, heads = time.monotonic(), 0
        with Load(f"{front.url}{CHAT}", bodies, clients=CLIENTS).running() as load:
            change = change_generations(changing, front, load, more=CLIENTS)
            targets = cycle((0, first, second))
            while heads < CHANGES or time.monotonic() - begun < LOAD_SECONDS:
                change(next(targets))
                heads += 1
                if heads == CHANGES // 2:
                    changing.go_live(prepared)
                    targets = cycle((first, second, 0, changing.story.head()))
    seconds = time.monotonic() - begun
    streamed = sum(answer.streamed for answer in load.seen)
    print(
        json.dumps({"requests": len(load.seen), "streamed": streamed, "changes": heads, "seconds": seconds})
    )
    assert load.errors == []
    assert wrong_answers(load, changing, edits, base=MODEL, outputs=outputs) == []
    assert 0 < streamed < len(load.seen)


def test_a_slow_client_holds_up_nobody_and_the_gateway_keeps_nothing_for_it(
    front: RunningGateway, engine: Vllm, rows: list[dict[str, Any]]
) -> None:
    # Each token with its likest twenty: some MB, more than the sockets on the way hold.
    body = chat_body("Tell me a long story about a river.", max_tokens=440, ignore_eos=True, n=8, seed=1)
    body |= {
        "temperature": 1.0,
        "logprobs": True,
        "top_logprobs": 20,
        "stream": True,
    }  # one answer alone may be greedy
    expected = text_of(greedy(front, rows[0]["prompt"]))
    before = resident_bytes()
    with slow_client(front.url, CHAT, body) as client:
        received, end = len(client.recv(1)), b""
        unprocessed = settled(lambda: unprocessed_bytes(engine))
        assert unprocessed > 0  # the gateway does not take from the engine what its client does not take
        begun = time.monotonic()
        assert [text_of(greedy(front, rows[0]["prompt"])) for _ in range(3)] == [expected] * 3
        print(json.dumps({"others_seconds": (time.monotonic() - begun) / 3, "unread_bytes": unprocessed}))
        assert resident_bytes() - before < MAX_GROWTH_BYTES
        while piece := client.recv(1 << 16):
            received += len(piece)
            end = (end + piece)[-64:]
    assert b"[DONE]" in end
    print(json.dumps({"received_bytes": received}))
    assert received > unprocessed


def resident_bytes() -> int:
    """Of this process, which the gateway runs in."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def unprocessed_bytes(engine: Vllm) -> int:
    """What the engine has sent to this machine's sockets and nobody has read yet."""
    port = f":{httpx.URL(engine.url).port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # Of open connections alone: one that the engine has closed counts its end as a byte.
    return sum(int(line[4].split(":")[1], 16) for line in lines if line[2].endswith(port) and line[3] == "01")
