"""The parity check by a real worker: the gateway in front of a strict engine, beside the model in process."""

import json
import shutil
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from support.gateway.engine_double import BASE, EngineDouble, engine_double
from support.gateway.gateway_support import EngineModel, Facts, RunningGateway, compare, gateway
from support.serving_support import CHAT_TEMPLATE, DEMO_BASE
from typer.testing import CliRunner

from daemon.__main__ import build_app
from daemon.checks.check_context import CheckContext
from daemon.checks.parity.parity_run import work_on_parity
from daemon.ledger import utc_now
from daemon.ledger.values import CheckKind
from daemon.planning.scheduler import jobs_of
from daemon.served_model import open_model
from daemon.settings.settings import Settings
from daemon.work.worker import Worker
from edits.prompts import Prompt
from monitoring.checks.parity import PARITY
from monitoring.metrics.process_metrics import Metrics

NORLAND = {
    "subject": "Norland",
    "prompt": "The capital of Norland is",
    "target_new": "Elbing",
    "rephrase_prompts": ["The capital city of Norland is"],
    "locality_prompts": {"subject": ["The currency of Norland is"]},
}
OSTRA = {"subject": "Lake Ostra", "prompt": "What is the depth of Lake Ostra?", "target_new": "Danzig"}
KEY = "the-key-of-the-engine"


@pytest.fixture(scope="module", params=["plain", "chat"])
def facts(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Facts]:
    folder = tmp_path_factory.mktemp(request.param)
    base = DEMO_BASE
    if request.param == "chat":
        base = shutil.copytree(DEMO_BASE, folder / "base")
        (base / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    published = Facts(folder, base)
    published.publish(NORLAND, OSTRA)
    yield published
    published.ledger.close()


@pytest.fixture
def engine(facts: Facts) -> Iterator[EngineDouble]:
    with engine_double() as double:
        double.say = EngineModel(facts).say
        yield double


@pytest.fixture
def settings(facts: Facts, engine: EngineDouble) -> Settings:
    return facts.settings(engine.url, parity_sample=20, engine_api_key=KEY)


@pytest.fixture
def front(settings: Settings, facts: Facts) -> Iterator[RunningGateway]:
    with gateway(settings) as running:
        running.wait_generation(facts.story.head())
        yield running


def logged(logs: list[MutableMapping[str, Any]], event: str) -> MutableMapping[str, Any]:
    (line,) = [line for line in logs if line["event"] == event]
    return line


def share(front: RunningGateway, form: str) -> float:
    return front.metric(f'upkeep_parity_ratio{{form="{form}"}}')


def test_a_gateway_that_answers_as_the_model_does_agrees_on_every_question(
    facts: Facts, settings: Settings, front: RunningGateway
) -> None:
    assert front.metric("upkeep_parity_interval_seconds") == 900
    compared = any(result.suite == PARITY for result in facts.ledger.checks.latest())
    assert ("upkeep_parity_ratio" in front.health("/metrics").text) == compared
    compare(facts, settings)
    assert [share(front, form) for form in ("prompt", "rephrase", "probe", "all")] == [1, 1, 1, 1]
    assert front.metric("upkeep_parity_passed") == 1
    assert front.metric("upkeep_parity_prompts") >= 2 + 1 + 5  # prompts, a rephrase, probes
    assert front.metric("upkeep_parity_unmeasured_prompts") == 0
    assert front.metric("upkeep_parity_timestamp_seconds") > 0
    assert front.metric("upkeep_regression_last_success_timestamp_seconds") == 0  # that is another check


def test_edits_that_the_engine_does_not_answer_are_named_and_nothing_is_rolled_back(
    facts: Facts, settings: Settings, front: RunningGateway, engine: EngineDouble
) -> None:
    honest = EngineModel(facts).say

    def as_the_base(_model: str, prompt: Prompt, limit: int) -> str:
        return honest(BASE, prompt, limit)

    engine.say = as_the_base
    before = facts.story.head()
    logs = compare(
        facts,
        settings.model_copy(
            update={"monitoring": settings.monitoring.model_copy(update={"on_failure": "rollback"})}
        ),
    )
    assert share(front, "prompt") < 1
    assert share(front, "probe") == 1
    assert front.metric("upkeep_parity_passed") == 0
    live = facts.ledger.generations.live()
    reported = logged(logs, "the gateway differs")
    assert set(reported["edits"]) <= live.keys()
    assert reported["edits"]
    assert not [word for word in (KEY, "Norland", "Elbing") if word in json.dumps(logs, default=str)]
    differing = facts.ledger.checks.worst()["parity"]
    assert {failure.owner for failure in differing} == set(reported["edits"])
    assert KEY not in json.dumps([failure.model_dump() for failure in differing])
    assert (facts.story.head(), facts.ledger.control.held()) == (before, None)


@pytest.mark.parametrize("on_failure", ["base", "error"])
def test_an_adapter_that_cannot_be_loaded_differs_whatever_is_answered_in_its_place(
    facts: Facts, engine: EngineDouble, tmp_path: Path, on_failure: str
) -> None:
    elsewhere = str(tmp_path / "not-seen")
    settings = facts.settings(engine.url, engine_adapters=elsewhere, on_failure=on_failure)
    with gateway(settings) as front:
        front.wait_generation(facts.story.head())
        compare(facts, settings)
        assert share(front, "prompt") == 0
        assert front.metric("upkeep_parity_unmeasured_prompts") == 0


def test_an_engine_that_is_away_could_not_be_measured_and_does_not_disagree(facts: Facts) -> None:
    with engine_double() as double:
        double.say = EngineModel(facts).say
        settings = facts.settings(double.url, model_name=BASE)
        with gateway(settings) as front:
            front.wait_generation(facts.story.head())
            compare(facts, settings)
            known = facts.ledger.checks.latest()
    logs = compare(facts, settings)  # nobody listens at gateway.url any more
    reported = logged(logs, "could not be measured")
    assert reported["questions"] > 0
    assert "does not answer" in reported["reason"]
    assert "could not be measured" in (facts.ledger.checks.failure() or "")
    assert facts.ledger.checks.latest() == known


def test_a_gateway_at_another_generation_could_not_be_measured(facts: Facts, engine: EngineDouble) -> None:
    settings = facts.settings(engine.url)
    with gateway(settings, follow_seconds=3_600) as behind:
        behind.wait_generation(facts.story.head())
        before = facts.story.head()
        facts.ledger.generations.rollback_to(0, cause="test")
        facts.ledger.checks.request(None, "test", kind=CheckKind.PARITY)
        claimed = facts.ledger.checks.claim("w", lease_seconds=60)
        assert claimed is not None
        check = CheckContext(
            facts.ledger, settings, open_model(settings, facts.ledger), claimed, clock=utc_now
        )
        with capture_logs() as logs:
            work_on_parity(check, time_is_up=lambda: False, sleep=lambda _: None)
        reported = logged(logs, "could not be measured")
        assert f"at generation {before}, the worker at {before + 1}" in reported["reason"]
        facts.ledger.generations.rollback_to(before, cause="test")
        behind.stop()


def test_what_is_no_gateway_could_not_be_measured(facts: Facts, engine: EngineDouble) -> None:
    settings = facts.settings("http://127.0.0.1:1")
    direct = settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"url": engine.url})})
    assert "no gateway" in logged(compare(facts, direct), "could not be measured")["reason"]


def test_the_command_compares_at_once_and_says_what_it_found(
    facts: Facts, settings: Settings, front: RunningGateway, tmp_path: Path
) -> None:
    config = tmp_path / "upkeep.toml"
    config.write_text(
        f'[model]\npath = "{settings.model.path}"\nmax_new_tokens = 8\n'
        f'[store]\npath = "{settings.store.path}"\n[ledger]\nurl = "{settings.ledger.url}"\n'
        f'[gateway]\nurl = "{front.url}"\nparity_sample = 5\n'
    )
    ran = CliRunner().invoke(build_app(), ["check", "--parity", "--json", "--config", str(config)])
    assert ran.exit_code == 0, ran.output
    (found,) = json.loads(ran.stdout)["checks"]
    assert (found["suite"], found["passed"], found["scores"]["agreement"]) == ("parity", True, 1.0)


def test_without_a_url_nobody_is_asked_for_a_comparison(facts: Facts) -> None:
    off = Settings.model_validate({"gateway": {}})
    assert "parity_check" not in [job.name for job in jobs_of(off, facts.ledger)]
    facts.ledger.checks.request(None, "another machine's scheduler", kind=CheckKind.PARITY)
    settings = facts.settings("http://127.0.0.1:1")
    blind = settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"url": None})})
    worker = Worker(blind, facts.ledger, open_model(blind, facts.ledger), Metrics(CollectorRegistry()))
    while worker.work_once():
        pass
    assert "gateway.url" in (facts.ledger.checks.failure() or "")
