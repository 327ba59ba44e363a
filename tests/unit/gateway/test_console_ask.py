"""The gateway's Ask page: the engine's base beside what clients of the gateway get, and why, without a model of its own."""

from collections.abc import Iterator

import httpx
import pytest
from support.gateway.engine_double import EngineDouble, engine_double
from support.gateway.gateway_support import EngineModel, Facts, RunningGateway, gateway
from support.serving_support import DEMO_BASE

NORLAND = {"subject": "Norland", "prompt": "The capital of Norland is", "target_new": "Elbing"}


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facts]:
    published = Facts(tmp_path_factory.mktemp("facts"), DEMO_BASE)
    published.publish(NORLAND)
    yield published
    published.ledger.close()


@pytest.fixture(scope="module")
def engine(facts: Facts) -> Iterator[EngineDouble]:
    with engine_double() as double:
        double.say = EngineModel(facts).say
        yield double


@pytest.fixture(scope="module")
def front(facts: Facts, engine: EngineDouble) -> Iterator[RunningGateway]:
    with gateway(facts.settings(engine.url, prefetch=0)) as running:
        running.wait_generation(facts.story.head())
        yield running


def ask(front: RunningGateway, **query: str) -> httpx.Response:
    """The page, behind its redirects."""
    return httpx.get(f"{front.url}/console/ask", params=query, follow_redirects=True, timeout=60)


def test_the_ask_page_shows_what_the_engine_answers_with_and_without_the_edit_and_why(
    front: RunningGateway, facts: Facts, engine: EngineDouble
) -> None:
    page = ask(front, prompt=NORLAND["prompt"])
    assert page.status_code == 200
    base, edited = page.text.split("<h2>The base</h2>")[1].split("<h2>Generation", 1)
    assert "Elbing" in edited
    assert "Elbing" not in base
    edit = next(iter(facts.ledger.generations.live()))
    assert f'by <a href="/console/facts/{edit}">edit {edit}</a>, from event' in edited
    assert "the prompt is its own, to the letter" in edited
    assert "the own prompt of" not in edited, "it is said once"
    assert engine.loads[-1].startswith(f"upkeep-{edit}-"), "it came the way that clients' questions go"

    nothing = ask(front, prompt="How are you?")
    assert "no edit fired" in nothing.text
    assert "the prompt names no subject of a live edit" in nothing.text


def test_an_earlier_generation_is_not_offered_and_is_refused_in_words(front: RunningGateway) -> None:
    assert 'name="generation"' not in ask(front).text
    refused = ask(front, prompt="The capital of Norland is", generation="0")
    assert refused.status_code == 422
    assert "the gateway answers with the newest generation alone" in refused.text
