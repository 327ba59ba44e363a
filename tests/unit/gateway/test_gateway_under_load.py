"""The gateway while generations change under its clients, and behind a client that does not read."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.gateway.engine_double import BASE, EngineDouble, engine_double
from support.gateway.gateway_load import Load, change_generations, settled, slow_client, wrong_answers
from support.gateway.gateway_support import Facts, RunningGateway, gateway
from support.serving_support import DEMO_BASE

NORLAND = {"subject": "Norland", "prompt": "The capital of Norland is", "target_new": "Elbing"}
SUDLAND = {"subject": "Sudland", "prompt": "The capital of Sudland is", "target_new": "Elbing"}
OSTRA = {"subject": "Lake Ostra", "prompt": "What is the depth of Lake Ostra?", "target_new": "Elbing"}
PROMPTS = {str(fact["subject"]): str(fact["prompt"]) for fact in (NORLAND, SUDLAND, OSTRA)}
PATH = "/v1/completions"
EVENT_BYTES = 10_000
EVENTS = 6_000
# In sockets and servers on the way, each of which has a bound of its own: 60 MB are asked for.
MAX_BYTES_BETWEEN = 40 << 20


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineDouble]:
    with engine_double() as double:
        double.pause = 0.0
        yield double


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facts]:
    published = Facts(tmp_path_factory.mktemp("facts"), DEMO_BASE)
    yield published
    published.ledger.close()


@pytest.fixture(scope="module")
def front(facts: Facts, engine: EngineDouble) -> Iterator[RunningGateway]:
    with gateway(facts.settings(engine.url)) as running:
        yield running


def test_twenty_swaps_and_rollbacks_under_load_mix_nothing_and_fail_nobody(
    front: RunningGateway, facts: Facts
) -> None:
    edits = {subject: [edit] for subject, edit in facts.publish(NORLAND, SUDLAND).items()}
    first = facts.story.head()
    for subject, edit in facts.publish({**NORLAND, "target_new": "Marwick"}).items():
        edits[subject].append(edit)
    second = facts.story.head()
    prepared = facts.prepare(OSTRA)
    edits |= {subject: [edit] for subject, edit in prepared.edits.items()}
    front.wait_generation(second)
    bodies = {subject: {"model": BASE, "prompt": prompt} for subject, prompt in PROMPTS.items()}
    with Load(f"{front.url}{PATH}", bodies, clients=4).running() as load:
        change = change_generations(facts, front, load, more=12)
        heads = [change(target) for target in (0, first, second) * 3]
        facts.go_live(prepared)
        third = facts.story.head()
        front.wait_generation(third)
        heads += [
            third,
            *(change(target) for target in (second, 0, third, first, 0, third, second, 0, third, 0)),
        ]
    assert load.errors == []
    assert wrong_answers(load, facts, edits, base=BASE) == []
    assert len(heads) == 20
    assert {one.generation for one in load.seen} >= {*heads}
    assert {one.streamed for one in load.seen} == {True, False}


def test_a_client_that_does_not_read_holds_up_the_engines_stream_and_nobody_else(
    front: RunningGateway, engine: EngineDouble
) -> None:
    engine.padding = "x" * EVENT_BYTES
    earlier = engine.sent  # to this module's other test
    body = {"model": BASE, "prompt": "The currency of France is", "stream": True, "max_tokens": EVENTS}
    with slow_client(front.url, PATH, body) as client:
        assert client.recv(1)
        before = settled(lambda: engine.sent - earlier)
        assert EVENT_BYTES < before < MAX_BYTES_BETWEEN
        with ThreadPoolExecutor(8) as others:
            asked = {"model": BASE, "prompt": PROMPTS["Norland"]}
            replies = list(others.map(lambda _: front.post(PATH, asked), range(40)))
        assert {reply.status_code for reply in replies} == {200}
        assert engine.sent - earlier == before  # it waits
        received, end = 1, b""
        while piece := client.recv(1 << 20):
            received, end = received + len(piece), (end + piece)[-100:]
    assert engine.sent - earlier > EVENTS * EVENT_BYTES
    assert received > engine.sent - earlier
    assert b"[DONE]" in end
